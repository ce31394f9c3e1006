"""Job deployments in the cluster, through Verda's own SDK: a replica is a pod; and what is left when pods, or the gateway, are lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from verda.exceptions import APIException
from verda.job_deployments import JobDeploymentStatus

from batchflow import contract
from batchflow.callrecords import REPLY_LOST
from tests.acceptance.command import until
from tests.cluster.gateway import forwarded, ready
from tests.cluster.installation import build
from tests.cluster.kit import Cluster, run
from tests.cluster.test_losses import AT_ONCE, on_its_machine
from tests.cluster.verda import (
    DELETION_MS,
    IMAGE,
    REPLICA,
    Verda,
    began,
    completed,
    job_deployment,
    most_at_once,
    notes,
    pod_of,
    pods,
    wait_for,
    workflows,
)

BRIEF_S = 5  # a deadline
TICKS_S = 15  # several of the scheduler's
NO_IMAGE = "batchflow.local/no-such-image:1"


@pytest.fixture(scope="module", autouse=True)
def replica_image() -> None:
    build(IMAGE, str(REPLICA))


@pytest.fixture
def verda(cluster: Cluster) -> Iterator[Verda]:
    with forwarded(cluster) as gateway:
        yield Verda(cluster, gateway)


def test_a_deployment_from_its_creation_to_its_end(cluster: Cluster, verda: Verda, tmp_path: Path) -> None:
    name, jobs = "whole-life", verda.jobs
    with pytest.raises(APIException) as raised:
        jobs.create(job_deployment(cluster, name, secret="pass-word"))
    assert raised.value.code == "invalid_request" and "pass-word" in raised.value.message
    cluster.kubectl("create", "secret", "generic", "pass-word", "--from-literal=value=open sesame")
    created = jobs.create(job_deployment(cluster, name, replicas=1, secret="pass-word"))
    assert [one.created_at for one in jobs.get() if one.name == name] == [created.created_at]
    found = jobs.get_by_name(name)
    assert found == created
    found.scaling.max_replica_count = 2
    assert jobs.update(name, found) == found == jobs.get_by_name(name)

    good = verda.run(name, "job?duration=1", {"some": "data"}, id="my-own-id")
    assert good.id == "my-own-id"
    bad = verda.run(name, "job?failed=true")
    assert (completed(good), completed(bad)) == (None, "container replied with HTTP 500")
    result = good.result()
    assert (result["success"], result["asked"], result["secret"]) == (True, {"some": "data"}, "open sesame")
    answer = verda.fetch("result", name, bad.id)
    assert (answer.status, answer.json()) == (500, {"detail": "the job failed"})
    assert sorted(began(cluster, name)) == sorted([good.id, bad.id])
    for note in cluster.recorder.notes(name):
        assert not [variable for variable in note.env if variable.startswith("AWS_") or "STORE" in variable], note
        assert not note.token, note

    jobs.pause(name)
    waiting = verda.run(name, "job")
    assert jobs.get_status(name) is JobDeploymentStatus.PAUSED
    assert waiting.status_json() == {"Id": waiting.id, "Status": "Queue", "Error": None}
    assert len(workflows(cluster, name)) == 2, "one that waits has none"
    jobs.purge_queue(name)
    assert completed(waiting) == "purged from queue"
    jobs.resume(name)
    assert jobs.get_status(name) is JobDeploymentStatus.RUNNING

    shell = cluster.shell(tmp_path)
    [listed] = shell.run("get", name, "-o", "json").json()
    assert [one["Id"] for one in listed["jobs"]] == [waiting.id, bad.id, good.id]
    until(lambda: shell.run("get", name, "-o", "json").json()[0]["running"] == 0, "free slots", pause_s=1.0)
    shown = shell.run("get", name, good.id, "-o", "json").json()
    assert (shown["Status"], shown["workflow"] in workflows(cluster, name)) == ("Completed", True)
    assert 'replica/main | began "my-own-id"' in shell.run("logs", name, good.id).lines()

    jobs.delete(name, timeout=DELETION_MS)
    with pytest.raises(APIException) as raised:
        jobs.get_by_name(name)
    assert raised.value.code == "not_found"
    assert verda.fetch("status", name, good.id).status == 404
    until(lambda: not workflows(cluster, name) and not pods(cluster, name), "workflows and pods to go", pause_s=1.0)
    assert "Contents" not in cluster.s3.list_objects_v2(Bucket=cluster.bucket, Prefix=f"{cluster.namespace}/deployments/{name}/")


def test_three_jobs_and_two_replicas_while_the_gateway_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    """And what is stored survives the gateway and the pods."""
    name, ids = "narrow", [f"narrow-{number}" for number in range(3)]
    with forwarded(cluster) as gateway:
        verda = Verda(cluster, gateway)
        verda.create(name, replicas=2)
        executions = [verda.run(name, f"gate?name={id}", {"id": id}, id=id) for id in ids]
        for execution in executions[:2]:
            wait_for(execution, "Inference")
        assert executions[2].status_json()["Status"] == "Queue"
        assert len(workflows(cluster, name)) == 2
        cluster.kubectl("delete", "pod", ready(cluster), *AT_ONCE)
    cluster.recorder.open(ids[0])
    until(lambda: notes(cluster, name, "down"), "an end while there is no gateway", pause_s=0.2)
    with forwarded(cluster) as gateway:
        verda = Verda(cluster, gateway)
        wait_for(verda.execution(name, ids[2]), "Inference")
        assert verda.execution(name, ids[1]).status_json()["Status"] == "Inference"
        for id in ids[1:]:
            cluster.recorder.open(id)
        assert [completed(verda.execution(name, id)) for id in ids] == [None] * 3
        assert sorted(began(cluster, name)) == ids, "each was delivered once"
        shell = cluster.shell(tmp_path)
        until(lambda: shell.run("get", name, "-o", "json").json()[0]["running"] == 0, "free slots", pause_s=1.0)
        assert most_at_once(cluster, name) == 2

        cluster.kubectl("delete", "workflows", "-l", f"{contract.LABEL_DEPLOYMENT}={name}")
        until(lambda: not pods(cluster, name), "the pods to go", pause_s=1.0)
        assert [verda.execution(name, id).result()["asked"] for id in ids] == [{"id": id} for id in ids]
        for id in ids:
            assert f'replica/main | began "{id}"' in shell.run("logs", name, id).lines(), "saved logs"


@pytest.mark.extended
def test_a_call_whose_replica_is_lost_is_not_delivered_again(cluster: Cluster, verda: Verda, tmp_path: Path) -> None:
    name = "mortal"
    verda.create(name, replicas=2)
    gently, roughly = (verda.run(name, "gate?name=never", id=id) for id in ("gently", "roughly"))
    for execution in (gently, roughly):
        wait_for(execution, "Inference")
    cluster.kubectl("delete", "pod", pod_of(cluster, name, "gently"), "--wait=false")
    cluster.kubectl("delete", "pod", pod_of(cluster, name, "roughly"), *AT_ONCE)
    assert completed(gently) and completed(roughly)
    assert verda.fetch("result", name, "roughly").status == 500
    # Argo makes a pod anew, under the same name, that it had not yet seen running: that one is stopped.
    shell = cluster.shell(tmp_path)
    until(lambda: shell.run("get", name, "-o", "json").json()[0]["running"] == 0, "free slots", pause_s=1.0)
    assert completed(verda.run(name, "job", id="next")) is None
    assert sorted(began(cluster, name)) == ["gently", "next", "roughly"]
    assert len(workflows(cluster, name)) == 3


@pytest.mark.extended
@on_its_machine
def test_a_courier_that_is_killed_does_not_deliver_again(cluster: Cluster, verda: Verda) -> None:
    """It is started again, and finds in the store what was done."""
    name = "lonely"
    verda.create(name, replicas=1)
    execution = verda.run(name, "gate?name=lonely", id="only")
    wait_for(execution, "Inference")
    [pod] = pods(cluster, name)
    container = courier(pod)["containerID"].split("//")[1]
    run("ctr", "-a", os.environ["CONTAINERD_ADDRESS"], "-n", "k8s.io", "tasks", "kill", "-s", "KILL", container)
    until(lambda: courier(pods(cluster, name)[0])["restartCount"] == 1, "another courier", lambda: pods(cluster, name), pause_s=0.5)
    assert completed(execution) == REPLY_LOST
    cluster.recorder.open("lonely")
    until(lambda: notes(cluster, name, "down"), "the replica's end", pause_s=0.2)
    assert began(cluster, name) == ["only"]


def courier(pod: dict[str, dict[str, list[dict[str, str]]]]) -> dict[str, str]:
    """The status of its container."""
    return next(one for one in pod["status"]["initContainerStatuses"] if one["name"] == contract.STEP_COURIER)


@pytest.mark.extended
def test_a_replica_whose_workflow_is_deleted_keeps_its_slot_as_long_as_it_runs(cluster: Cluster, verda: Verda) -> None:
    name = "orphan"
    verda.create(name, replicas=1)
    first = verda.run(name, "gate?name=orphan", {"kept": True}, id="first")
    wait_for(first, "Inference")
    second = verda.run(name, "job", id="second")
    cluster.kubectl("delete", "workflows", "--cascade=orphan", "-l", f"{contract.LABEL_DEPLOYMENT}={name}")
    time.sleep(TICKS_S)
    assert (first.status_json()["Status"], second.status_json()["Status"]) == ("Inference", "Queue")
    cluster.recorder.open("orphan")
    assert [completed(first), completed(second)] == [None, None]
    assert first.result()["asked"] == {"kept": True}
    assert began(cluster, name) == ["first", "second"]
    assert most_at_once(cluster, name) == 1


@pytest.mark.extended
def test_one_that_runs_and_one_that_waits_are_stopped(cluster: Cluster, verda: Verda, tmp_path: Path) -> None:
    name, shell = "halted", cluster.shell(tmp_path)
    verda.create(name, replicas=1)
    running, waiting = verda.run(name, "gate?name=never", id="running"), verda.run(name, "job", id="waiting")
    wait_for(running, "Inference")
    for execution in (waiting, running):
        shell.run("stop", name, execution.id)
        assert completed(execution) == "stopped"
    assert began(cluster, name) == ["running"]
    assert [note.payload for note in notes(cluster, name, "down")] == [143]


@pytest.mark.extended
def test_deadlines_and_replicas_that_can_not_start(cluster: Cluster, verda: Verda) -> None:
    """All at once, since each takes a while: what keeps a pod from starting may pass, and what ignores SIGTERM gets its grace period."""
    cluster.kubectl("create", "secret", "generic", "fleeting", "--from-literal=value=x")
    verda.create("speechless", overrides=False)
    verda.create("imageless", image=NO_IMAGE)
    verda.create("secretless", secret="fleeting")
    cluster.kubectl("delete", "secret", "fleeting")
    words = {"speechless": "entrypoint_overrides", "imageless": NO_IMAGE, "secretless": '"fleeting" not found'}
    never_started = {name: verda.run(name, "job") for name in words}
    verda.create("brief", replicas=2, deadline_s=BRIEF_S)
    brief = [verda.run("brief", path) for path in ("gate?name=never", "stubborn")]
    assert [completed(execution) for execution in brief] == [f"deadline of {BRIEF_S}s exceeded"] * 2
    assert [note.payload for note in notes(cluster, "brief", "down")] == [143], "the other was killed"
    for name, execution in never_started.items():
        error = completed(execution)
        assert error and error.startswith("replica could not be started: ") and words[name] in error, error
        assert verda.jobs.get_status(name) is JobDeploymentStatus.RUNNING
        assert not began(cluster, name)
