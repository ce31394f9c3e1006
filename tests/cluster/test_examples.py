"""The examples, unchanged, as a user runs them: install, deploy, submit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.command import Json, terminal
from tests.cluster.gateway import forwarded
from tests.cluster.installation import build, inference_key, secret
from tests.cluster.kit import JOB_S, Cluster, run

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS_IMAGE = "batchflow.local/digits:test"
SERVER_IMAGE = "registry.example/any-server:0.1"  # as its cortex.yaml has it
LONG_JOB_IMAGE = "registry.example/long-job:0.1"  # as its deployment.yaml has it
ITEMS = 360  # of any-server, as its README says
# What differs between two runs of the same job.
OF_ITS_RUN = {"job_id", "sqs_url", "created_time", "start_time", "end_time"}
MEASURED = {"avg_time_per_batch", "average_time_per_batch"}


def test_digits(cluster: Cluster, tmp_path: Path) -> None:
    """Every image is classified; and the local engine says the same of the same job."""
    results = f"digits-{cluster.namespace}"
    values = {
        **{name: value for name, value in cluster.environ.items() if name.startswith("AWS_")},
        "DIGITS_RESULTS": f"s3://{cluster.bucket}/{results}",
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret("digits-s3", values)))
    build(DIGITS_IMAGE, str(EXAMPLES / "digits"))
    shell = cluster.shell(tmp_path, BATCHFLOW_HANDLER_IMAGE=DIGITS_IMAGE)
    shell.run("deploy", EXAMPLES / "digits" / "cortex.yaml")
    watched = shell.start("submit", deployed(EXAMPLES / "digits" / "job.yaml", tmp_path), "--workers", "3", "--watch", "-o", "json")
    here = on_this_machine(EXAMPLES / "digits" / "job.yaml", tmp_path / "local")
    status = shell.wait(watched, limit_s=JOB_S).json()["job_status"]
    assert status["status"] == "succeeded", status
    assert comparable(status) == comparable(here)

    images = sorted(path.relative_to(EXAMPLES).as_posix() for path in (EXAMPLES / "digits" / "images").rglob("*.png"))
    found = [line for key in keys(cluster, f"{results}/{status['job_id']}/batches/") for line in json_lines(cluster, key)]
    assert len(found) == len(images)
    assert sorted("/".join(one["path"].split("/")[-2:]) for one in found) == sorted("/".join(path.split("/")[-2:]) for path in images)
    assert all(one["label"] == int(one["path"].split("/")[-2]) for one in found)
    (summary,) = json_lines(cluster, f"{results}/{status['job_id']}/summary.json")
    assert summary["images"] == len(images)
    assert summary["accuracy"] > 0.95
    assert not any(status["job_id"] in url for url in cluster.queues())


def test_any_server(cluster: Cluster, tmp_path: Path) -> None:
    """Two containers of one's own in a pod, and no batch before the readiness probe says that both have done their part."""
    build(SERVER_IMAGE, str(EXAMPLES / "any-server"))
    shell = cluster.shell(tmp_path)
    watched = shell.start("submit", EXAMPLES / "any-server" / "job.yaml", "--watch", "-o", "json")
    status = shell.wait(watched, limit_s=JOB_S).json()["job_status"]
    assert status["status"] == "succeeded", status
    lines = [line.partition(" | ")[2] for line in shell.logs("any-server", status["job_id"], "--container", "server")]
    assert sum(int(line.split(" ")[0]) for line in lines if "items add up to" in line) == ITEMS, lines
    assert sum("is complete" in line for line in lines) == 1, lines
    assert shell.logs("any-server", status["job_id"], "--worker", "0", "--container", "calibration")


@pytest.mark.extended
def test_long_job(cluster: Cluster, tmp_path: Path) -> None:
    """Its client prints each status, and the result."""
    build(LONG_JOB_IMAGE, str(EXAMPLES / "long-job"))
    cluster.shell(tmp_path).run("deploy", EXAMPLES / "long-job" / "deployment.yaml")
    with forwarded(cluster) as gateway:
        environ = {
            "VERDA_BASE_URL": f"{gateway.url}/v1",
            "VERDA_CLIENT_ID": cluster.namespace,
            "VERDA_CLIENT_SECRET": cluster.token,
            "VERDA_INFERENCE_KEY": inference_key(cluster.token),
        }
        told = run(sys.executable, EXAMPLES / "long-job" / "client.py", "--duration", "3", timeout_s=JOB_S, environ=environ)
    _, queue, inference, ended, result = told.split("\n", 4)
    assert (queue, inference, ended) == ("Queue", "Inference", "Completed"), told
    assert json.loads(result)["success"] is True


def on_this_machine(file: Path, folder: Path) -> Json:
    """The final status of the same job, run by the local engine."""
    folder.mkdir()
    with terminal(folder) as local:
        watched = local.start("submit", file, "--workers", "3", "--watch", "-o", "json")
        return dict(local.wait(watched, limit_s=JOB_S).json()["job_status"])


def deployed(file: Path, folder: Path) -> Path:
    """That job, from anywhere: it names its deployed api, and its paths are absolute."""
    job = yaml.safe_load(file.read_text())
    job["api"] = file.parent.name
    job["file_path_lister"]["s3_paths"] = [f"{file.parent / path}/" for path in job["file_path_lister"]["s3_paths"]]
    (folder / "job.yaml").write_text(json.dumps(job))
    return folder / "job.yaml"


def comparable(status: Json) -> Json:
    """A final status without what no two runs share."""
    metrics = {name: {k: v for k, v in status[name].items() if k not in MEASURED} for name in ("metrics", "batch_metrics")}
    return {**{name: value for name, value in status.items() if name not in OF_ITS_RUN}, **metrics}


def keys(cluster: Cluster, prefix: str) -> Iterator[str]:
    for page in cluster.s3.get_paginator("list_objects_v2").paginate(Bucket=cluster.bucket, Prefix=prefix):
        yield from (one["Key"] for one in page.get("Contents", []))


def json_lines(cluster: Cluster, key: str) -> list[Json]:
    data = cluster.s3.get_object(Bucket=cluster.bucket, Key=key)["Body"].read()
    return [json.loads(line) for line in data.splitlines()]
