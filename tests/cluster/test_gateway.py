"""The HTTP API in the cluster, as `batchflow install --gateway` puts it there."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest

from batchflow import contract
from tests.acceptance.command import Json, until
from tests.cluster.gateway import Gateway, forwarded, ready
from tests.cluster.installation import credentials, namespace, secret
from tests.cluster.kit import Cluster, Job, items

AT_ONCE = ("--wait=false", "--grace-period=0", "--force")
REFRESHED_S = 240  # Kubernetes brings a changed Secret to a pod within about a minute
IN_HAND = 2  # submissions at the same time
BALLAST = "x" * 3_000_000


@pytest.fixture
def gateway(cluster: Cluster) -> Iterator[Gateway]:
    with forwarded(cluster) as opened:
        yield opened


def deploy(gateway: Gateway, job: Job) -> None:
    """Its api, with its project, as Cortex's command line did it."""
    project = BytesIO()
    with zipfile.ZipFile(project, "w") as archive:
        archive.write(job.project / "handler.py", "handler.py")
    files = {"config": (job.project / "cortex.yaml").read_bytes(), "project.zip": project.getvalue()}
    boundary = uuid.uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files.items()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = gateway.call("POST", "/deploy?configFileName=cortex.yaml", body + f"--{boundary}--\r\n".encode(), headers=headers)
    assert answer.status == 200, answer
    assert [result.get("error") or "" for result in answer.json()] == [""], answer


def posted(gateway: Gateway, job: Job, **headers: str) -> Job:
    """The job, submitted."""
    job.id = gateway.submit(job.api, job.submission, **headers)["job_id"]
    return job


def test_a_job_from_its_deployment_to_its_end_and_one_that_is_stopped(cluster: Cluster, gateway: Gateway, tmp_path: Path) -> None:
    assert gateway.call("GET", "/healthz", token="").status == 200
    for token in ("", "0" * 32):
        answer = gateway.call("GET", "/get", token=token)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")

    job = Job(cluster, tmp_path, "posted", items=items(5), batch_size=2, workers=2)
    held = Job(cluster, tmp_path, "held", items=items(4, gate="held"))
    for one in (job, held):
        deploy(gateway, one)
    by_tls = gateway.call("GET", "/get", headers={"X-Forwarded-Proto": "https"}).json()
    address = gateway.url.replace("http://", "https://")
    assert {one["endpoint"] for one in by_tls} >= {f"{address}/posted", f"{address}/held"}
    dry = gateway.call("POST", "/posted?dryRun=true", job.submission)
    assert (dry.status, dry.body) == (200, b"validations passed")
    assert not job.terminal.run("get", "posted", "-o", "json").json()[0]["batch_job_statuses"], "a dry run made a job"

    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = gateway.submit("posted", job.submission, **key)
    assert gateway.submit("posted", job.submission, **key) == first
    job.id = first["job_id"]
    posted(gateway, held).held_up("held", ended=2, begun=1)
    stopped = gateway.call("DELETE", f"/held?jobID={held.id}")
    assert (stopped.status, stopped.json()) == (200, {"message": f"stopped job {held.id}"})
    status = held.ended()
    assert (status["status"], status["batch_metrics"]["succeeded"]) == ("stopped", 2), status

    status = job.finished()
    answer = gateway.call("GET", f"/posted?jobID={job.id}").json()
    assert answer["job_status"] == status
    assert answer["metrics"]["succeeded"] == 3
    workflows = cluster.objects("workflows", f"{contract.LABEL_API}=posted")
    assert [one["metadata"]["name"] for one in workflows] == [job.workflow], "the repeat made another job"


@pytest.mark.extended
def test_many_batches_of_several_jobs_at_once(cluster: Cluster, gateway: Gateway, tmp_path: Path) -> None:
    jobs = [Job(cluster, tmp_path, f"many-{n}", items=items(6000), batch_size=20, workers=2) for n in range(3)]
    for job in jobs:
        deploy(gateway, job)
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(lambda job: posted(gateway, job), jobs))
    for job in jobs:
        status = job.finished(limit_s=900)
        assert (status["total_batch_count"], status["metrics"]["succeeded"], status["metrics"]["failed"]) == (300, 300, 0), status
        assert gateway.job_status(job.api, job.id) == status


@pytest.mark.extended
def test_cortexs_client_in_a_worker(cluster: Cluster, gateway: Gateway, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "pipeline", items=[{"n": 0, "do": "client", "api": "stage"}], batchflow={"cortex_client": True})
    plain = Job(cluster, tmp_path, "plain", items=items(1))
    for one in (job, plain):
        deploy(gateway, one)
        posted(gateway, one)
    job.finished()
    [told] = job.notes("client")
    assert told.payload == {"deployed": "stage", "job": True, "listed": True, "gone": "resources.api_not_deployed"}
    assert not cluster.objects("workflows", f"{contract.LABEL_API}=stage")
    plain.finished()
    assert not {contract.ENV_TOKEN, contract.ENV_GATEWAY_URL} & {name for note in plain.notes() for name in note.env}


@pytest.mark.extended
def test_a_gateway_killed_while_it_submits_leaves_one_job_for_each_key(cluster: Cluster, tmp_path: Path) -> None:
    """Clients submit one job after the other until the connection breaks, then send each once more."""
    job = Job(cluster, tmp_path, "keyed", items=items(1), config={"ballast": BALLAST})
    with forwarded(cluster) as gateway:
        deploy(gateway, job)
        pod = ready(cluster)
        with ThreadPoolExecutor(IN_HAND) as pool:
            answered = [pool.submit(until_it_breaks, gateway, job) for _ in range(IN_HAND)]
            stored = f"{cluster.namespace}/jobs/keyed/"
            until(lambda: cluster.s3.list_objects_v2(Bucket=cluster.bucket, Prefix=stored).get("Contents"), "a first object in the store")
            cluster.kubectl("delete", "pod", pod, *AT_ONCE)
    submitted = {key: job_id for future in answered for key, job_id in future.result().items()}
    cut_off = [key for key, job_id in submitted.items() if not job_id]
    assert cut_off
    with forwarded(cluster) as gateway:
        repeated = {key: gateway.submit("keyed", job.submission, **{"Idempotency-Key": key})["job_id"] for key in submitted}
        assert len(set(repeated.values())) == len(submitted)
        assert {key: repeated[key] for key in submitted if key not in cut_off} == {k: v for k, v in submitted.items() if v}
        for job_id in repeated.values():
            assert job.terminal.ended("keyed", job_id)["status"] == "succeeded"
        listed = gateway.call("GET", "/get/keyed").json()[0]["batch_job_statuses"]
        assert {one["job_id"] for one in listed} == set(repeated.values())
        workflows = cluster.objects("workflows", f"{contract.LABEL_API}=keyed")
        assert sorted(one["metadata"]["labels"][contract.LABEL_JOB] for one in workflows) == sorted(repeated.values())
        assert gateway.call("DELETE", "/delete/keyed").json() == {"message": "deleting keyed"}
    assert not cluster.s3.list_objects_v2(Bucket=cluster.bucket, Prefix=stored).get("Contents")


def until_it_breaks(gateway: Gateway, job: Job) -> dict[str, str]:
    """The id of the job for each key; "" for the one that was not answered."""
    submitted: dict[str, str] = {}
    for number in count():
        key = f"{uuid.uuid4().hex}-{number}"
        submitted[key] = ""
        try:
            submitted[key] = gateway.submit(job.api, job.submission, **{"Idempotency-Key": key})["job_id"]
        except (OSError, HTTPException):
            break
    return submitted


@pytest.mark.extended
def test_a_token_sees_its_own_namespace_as_long_as_the_secret_has_it(
    cluster: Cluster, services: Cluster, step_image: str, gateway: Gateway, tmp_path: Path
) -> None:
    own = posted_here(cluster, gateway, tmp_path)
    (tmp_path / "other").mkdir()
    with namespace(services, step_image, tmp_path / "other") as other:
        give_tokens(cluster, {cluster.token: cluster.namespace, other.token: other.namespace})
        wait_for_status(gateway, other.token, 503, "until that namespace lets the gateway in")
        account = f"{cluster.namespace}:{contract.GATEWAY}"
        other.kubectl("create", "rolebinding", "neighbour", "--role", "batchflow-user", "--serviceaccount", account)
        wait_for_status(gateway, other.token, 200, "as a tenant of its own")

        neighbour = Gateway(gateway.url, other.token)
        assert neighbour.call("GET", "/get").json() == []
        for method, path in (("GET", "/own?jobID="), ("DELETE", "/own?jobID="), ("GET", "/batch/own?jobID=")):
            answer = neighbour.call(method, path + own.id)
            assert answer.status in (400, 404) and own.id not in answer.body.decode(), answer
        theirs = Job(other, tmp_path / "other", "own", items=items(2))
        deploy(neighbour, theirs)
        posted(neighbour, theirs).finished()
        assert gateway.call("GET", f"/own?jobID={theirs.id}").status == 400
        assert not other.objects("workflows", f"{contract.LABEL_JOB}={own.id}")

        give_tokens(cluster, {cluster.token: cluster.namespace})
        wait_for_status(gateway, other.token, 401, "once its token is gone")
    assert gateway.call("GET", "/get").status == 200


def posted_here(cluster: Cluster, gateway: Gateway, folder: Path) -> Job:
    job = Job(cluster, folder, "own", items=items(1))
    deploy(gateway, job)
    return posted(gateway, job)


def give_tokens(cluster: Cluster, tokens: Mapping[str, str]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret(contract.GATEWAY, credentials(tokens))))


def wait_for_status(gateway: Gateway, token: str, status: int, when: str) -> None:
    seen: list[Json] = []

    def answered() -> bool:
        answer = gateway.call("GET", "/get", token=token)
        seen[:] = [{"status": answer.status, "body": answer.body.decode()}]
        return answer.status == status

    until(answered, f"{status} {when}", lambda: seen, limit_s=REFRESHED_S, pause_s=1.0)
