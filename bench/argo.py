"""A job on Argo against a workflow of the same shape that does nothing, from the object's creation to its end, by Argo's own times."""

from __future__ import annotations

import copy
import json
import statistics
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import batchflow
from batchflow import contract
from bench.cluster import IMAGE, Namespace, namespace
from bench.figures import AtMost, Figure, ratios
from bench.harness import BenchError, Plan, interleaved, run
from bench.start import batchflow as command

__all__ = ["argo"]

API = "empty"
BATCHES = 100
WORKERS = 2
JOB_S = 300
POLL_S = 1.0
SERVER = (Path(__file__).parent / "instant.py").read_text(encoding="utf-8")


def argo(plan: Plan) -> Iterator[Figure]:
    """Also what `submit --watch` takes beyond the workflow: the client's own start, upload and last look."""
    with namespace() as where, plan.sample_folder() as folder:
        _write_job(folder)
        manifest = _nothing(folder, where)
        took = interleaved({"job": lambda: _job_s(folder, where), "nothing": lambda: _nothing_s(manifest, where)}, plan.rounds)
    jobs = [workflow_s for workflow_s, _ in took["job"]]
    sides = f"{statistics.median(jobs):.0f} s against {statistics.median(took['nothing']):.0f} s"
    yield Figure(
        f"a job of {BATCHES} batches on Argo against a workflow that does nothing", ratios(jobs, took["nothing"]), "×", AtMost(1.3), sides
    )
    yield Figure("submit --watch beyond its workflow", [watch_s - workflow_s for workflow_s, watch_s in took["job"]], "s")


def _write_job(folder: Path) -> None:
    container = {"name": "handler", "image": IMAGE, "command": ["python3", "-c", SERVER], "compute": {"cpu": "100m"}}
    (folder / "cortex.yaml").write_text(json.dumps([{"name": API, "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}]))
    items = {"items": [0] * BATCHES, "batch_size": 1}
    (folder / "job.yaml").write_text(json.dumps({"api": {"file": "cortex.yaml"}, "workers": WORKERS, "item_list": items}))


def _job_s(folder: Path, where: Namespace) -> tuple[float, float]:
    """Of the workflow, and of the whole command."""
    ended = run(command("submit", "job.yaml", "--watch", "-o", "json"), env=where.env, cwd=folder, timeout_s=JOB_S, reports=False)
    latest = json.loads(where.kubectl("get", "workflows", "-l", contract.LABEL_API, "-o", "json"))["items"]
    newest = max(latest, key=lambda one: str(one["metadata"]["creationTimestamp"]))
    return _ended_s(newest), ended.at - ended.began


def _nothing(folder: Path, where: Namespace) -> dict[str, Any]:
    """The job's own workflow, but that each container only does what its shape needs, and that no label says it is a job."""
    manifest: dict[str, Any] = copy.deepcopy(batchflow.compile(batchflow.load(folder / "job.yaml")).to_dict())
    output = f"{contract.OUTPUT_DIR}/{contract.OUTPUT_WORKERS}"
    enqueue = f"mkdir -p {contract.OUTPUT_DIR} && echo {WORKERS} > {output}"
    # Blocked: the first process of a container does not get a signal that it neither handles nor blocks.
    wait = "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, [s.SIGTERM]); s.sigwait([s.SIGTERM])"
    waits = ["python3", "-c", wait]
    for template in manifest["spec"]["templates"]:
        if "container" in template:
            template["container"]["image"] = IMAGE
            template["container"]["command"] = ["sh", "-c", enqueue if template["name"] == contract.STEP_ENQUEUE else "true"]
        for container in template.get("initContainers", ()):
            container["image"] = IMAGE
            container["command"] = waits if container.get("restartPolicy") else ["true"]
    manifest["metadata"] = {"namespace": where.name}
    manifest["spec"]["podMetadata"] = {}
    return manifest


def _nothing_s(manifest: dict[str, Any], where: Namespace) -> float:
    name = f"nothing-{uuid.uuid4().hex[:8]}"
    named = {**manifest, "metadata": {**manifest["metadata"], "name": name}}
    where.kubectl("create", "-f", "-", stdin=json.dumps(named))
    deadline = time.monotonic() + JOB_S
    while time.monotonic() < deadline:
        workflow = where.workflow(name)
        if workflow.get("status", {}).get("finishedAt"):
            return _ended_s(workflow)
        time.sleep(POLL_S)
    raise BenchError(f"{name}: no end within {JOB_S} s")


def _ended_s(workflow: dict[str, Any]) -> float:
    status = workflow["status"]
    if status["phase"] != "Succeeded":
        raise BenchError(f"{workflow['metadata']['name']}: {status['phase']}: {status.get('message', '')}")
    return (
        datetime.fromisoformat(status["finishedAt"]) - datetime.fromisoformat(workflow["metadata"]["creationTimestamp"])
    ).total_seconds()
