"""Verda's own SDK, unmodified: every operation that it has for job deployments."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from verda.exceptions import APIException
from verda.inference_client import InferenceClientError
from verda.job_deployments import JobDeploymentStatus

from tests.acceptance.command import Terminal, until
from tests.acceptance.gateway.kit import item_list, pod, serving
from tests.acceptance.verda.kit import (
    DELETION_MS,
    KEY,
    OTHER_CLIENT,
    OTHER_KEY,
    OTHER_SECRET,
    Verda,
    completed,
    job_deployment,
    wait_for,
)


def test_a_deployment_from_its_creation_to_its_end(verda: Verda, tmp_path: Path) -> None:
    jobs = verda.jobs
    created = jobs.create(job_deployment("whole-life", tmp_path / "notes"))
    assert (created.name, created.compute.name, created.compute.size) == ("whole-life", "CPUNode", 1)
    assert created.scaling.max_replica_count == 2

    [summary] = jobs.get()
    assert (summary.name, summary.created_at) == ("whole-life", created.created_at)
    assert jobs.get_status("whole-life") is JobDeploymentStatus.RUNNING

    found = jobs.get_by_name("whole-life")
    assert found == created
    found.scaling.max_replica_count = 1
    updated = jobs.update("whole-life", found)
    assert updated == found == jobs.get_by_name("whole-life")
    assert jobs.get_scaling_options("whole-life").max_replica_count == 1

    inference = verda.inference("whole-life")
    execution = inference.run({"some": "data"}, path="job?duration=0.2", headers={"X-Inference-Id": "my-own-id"})
    assert execution.id == "my-own-id"
    assert completed(execution) is None
    assert execution.result()["success"] is True

    jobs.pause("whole-life")
    assert jobs.get_status("whole-life") is JobDeploymentStatus.PAUSED
    waiting = inference.run({}, path="job")
    assert waiting.status_json() == {"Id": waiting.id, "Status": "Queue", "Error": None}
    jobs.purge_queue("whole-life")
    assert completed(waiting) == "purged from queue"
    jobs.resume("whole-life")
    assert jobs.get_status("whole-life") is JobDeploymentStatus.RUNNING
    assert completed(inference.run({}, path="job")) is None

    jobs.delete("whole-life", timeout=DELETION_MS)
    assert jobs.get() == []
    with pytest.raises(APIException) as raised:
        jobs.get_by_name("whole-life")
    assert raised.value.code == "not_found"
    with pytest.raises(APIException) as raised:
        jobs.delete("whole-life")
    assert raised.value.code == "not_found"
    with pytest.raises(InferenceClientError, match="404"):
        inference.run({}, path="job")
    for what in ("status", "result"):
        assert verda.gateway.request("GET", f"/{what}/whole-life", headers={"X-Inference-Id": "my-own-id"}).status == 404


def test_without_credentials_whoever_is_on_this_machine_may_do_all_that(shell: Terminal) -> None:
    with serving(shell) as gateway:
        verda = Verda(gateway, client="anybody", secret="anything", key="any key")
        with verda.deployed("open-to-all", deadline_s=600) as deployed:
            execution = deployed.run("job")
            assert completed(execution) is None
            assert execution.result()["success"] is True


def test_a_token_that_has_expired_is_made_anew(verda: Verda, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the refresh token: the SDK doesn't have the secret any more."""
    client = verda.client
    client._authentication._client_secret = "forgotten"
    expired = client._authentication._expires_at
    monkeypatch.setattr("verda.authentication._authentication.time", SimpleNamespace(time=lambda: expired))
    assert client.job_deployments.get() == []
    assert client._authentication._expires_at == expired + 3600


def test_a_refresh_that_is_refused_is_followed_by_the_secret(verda: Verda, monkeypatch: pytest.MonkeyPatch) -> None:
    client = verda.client
    client._authentication._refresh_token = "nobody's"
    expired = client._authentication._expires_at
    monkeypatch.setattr("verda.authentication._authentication.time", SimpleNamespace(time=lambda: expired))
    assert client.job_deployments.get() == []
    assert client._authentication._expires_at == expired + 3600


def test_another_tenant_sees_nothing_of_a_deployment(verda: Verda) -> None:
    other = Verda(verda.gateway, client=OTHER_CLIENT, secret=OTHER_SECRET, key=OTHER_KEY)
    with verda.deployed("ours") as ours:
        execution = ours.run("job", id="ours-1")
        assert completed(execution) is None
        assert other.jobs.get() == []
        for ask in (other.jobs.get_by_name, other.jobs.get_status, other.jobs.pause, other.jobs.delete, other.jobs.purge_queue):
            with pytest.raises(APIException) as raised:
                ask("ours")
            assert raised.value.code == "not_found"
        ours.verda = Verda(verda.gateway, key=OTHER_KEY)
        assert [ours.fetch(what, "ours-1").status for what in ("status", "result")] == [404, 404]
        assert ours.request("POST", "/job").status == 404
        with other.deployed("theirs") as theirs:  # the same id is another's
            assert completed(theirs.run("job", id="ours-1")) is None
            assert verda.names() == ["ours"]


def test_a_name_is_taken_once(verda: Verda, tmp_path: Path) -> None:
    with verda.deployed("taken"):
        with pytest.raises(APIException) as raised:
            verda.jobs.create(job_deployment("taken", tmp_path / "notes"))
        assert raised.value.code == "conflict"


def test_a_batch_api_and_a_job_deployment_never_share_a_name(shell: Terminal, tmp_path: Path) -> None:
    with serving(shell) as gateway:
        verda = Verda(gateway, key="any key")
        with verda.deployed("one-name", deadline_s=600):
            answer = gateway.deploy(pod("one-name"))
            assert answer.status == 400
            assert 'the name "one-name" is used by a job deployment' in answer.json()["message"]
            answer = gateway.deploy(pod("another", networking={"endpoint": "one-name/below"}))
            assert answer.status == 400
            assert 'networking: the name "one-name" is used by a job deployment' in answer.json()["message"]
        gateway.deploy(pod("one-name")).ok()
        with pytest.raises(APIException, match="is a deployed batch api") as raised:
            verda.jobs.create(job_deployment("one-name", tmp_path / "notes", deadline_s=600))
        assert raised.value.code == "conflict"
        gateway.deploy(pod("another", networking={"endpoint": "first/second"})).ok()
        with pytest.raises(APIException, match='begins the endpoint of the batch api "another"') as raised:
            verda.jobs.create(job_deployment("first", tmp_path / "notes", deadline_s=600))
        assert raised.value.code == "conflict"
        with verda.deployed("second", deadline_s=600):  # no part but the first counts
            assert gateway.post("/first/second?dryRun=true", item_list()).status == 200


def test_a_name_is_free_again_after_a_deletion_and_its_old_calls_are_gone(verda: Verda) -> None:
    with verda.deployed("again") as first:
        assert completed(first.run("job", id="first")) is None
    with verda.deployed("again") as second:
        assert second.fetch("status", "first").status == 404
        assert completed(second.run("job", id="first")) is None


def test_deletion_stops_what_runs_and_takes_no_more(verda: Verda) -> None:
    with verda.deployed("short-lived", replicas=1) as deployed:
        running, waiting = deployed.run("gate?name=never"), deployed.run("job")
        wait_for(running, "Inference")
        verda.jobs.delete("short-lived", timeout=0)  # returns at once
        with pytest.raises(APIException) as raised:
            verda.jobs.delete("short-lived")
        assert raised.value.code == "not_found"
        assert deployed.request("POST", "/job").status == 404
        assert verda.jobs.get_status("short-lived") is JobDeploymentStatus.TERMINATING
        until(lambda: "short-lived" not in verda.names(), "the end of the deletion", verda.gateway.log)
        assert waiting.id not in deployed.began()
        assert len(deployed.notes("down")) == 1
        assert deployed.fetch("status", running.id).status == 404


def test_while_a_deletion_waits_for_a_replica(verda: Verda, tmp_path: Path) -> None:
    """Without `timeout` it waits, too; what has ended can be fetched until it is done, and the name is free only then."""
    with verda.deployed("ending", replicas=1) as deployed, ThreadPoolExecutor(1) as pool:
        ended = deployed.run("echo", {"kept": True})
        assert completed(ended) is None
        stubborn = deployed.run("stubborn")
        wait_for(stubborn, "Inference")
        until(lambda: stubborn.id in deployed.began(), "the replica to have its call")
        deletion = pool.submit(verda.jobs.delete, "ending")
        until(lambda: verda.jobs.get_status("ending") is JobDeploymentStatus.TERMINATING, "the deletion to begin")
        assert ended.status_json() == {"Id": ended.id, "Status": "Completed", "Error": None}
        assert ended.result() == {"kept": True}
        with pytest.raises(APIException, match="is being deleted; try again when that is done") as raised:
            verda.jobs.create(job_deployment("ending", tmp_path / "notes"))
        assert raised.value.code == "conflict"
        assert not deletion.done()
        os.kill(deployed.notes("up")[-1][0], signal.SIGKILL)
        deletion.result()
        assert "ending" not in verda.names()


def test_a_container_keeps_its_name_in_an_update_to_another_image(verda: Verda) -> None:
    """As the SDK does it: it sends the name that it was told before."""
    with verda.deployed("renamed"):
        found = verda.jobs.get_by_name("renamed")
        assert found.containers[0].name == "replica-0"
        found.containers[0].image = "registry.example/other:2"
        found.containers[0].exposed_port = 9000
        updated = verda.jobs.update("renamed", found)
        assert (updated.containers[0].name, updated.containers[0].exposed_port) == ("other-0", 9000)
        with pytest.raises(APIException, match="there is no such container") as raised:
            verda.jobs.update("renamed", found)  # there is none of that name any more
        assert raised.value.code == "invalid_request"


def test_an_update_is_for_replicas_that_start_afterwards(verda: Verda) -> None:
    with verda.deployed("changing", replicas=1) as deployed:
        before = deployed.run("gate?name=go", {"n": 1})
        wait_for(before, "Inference")
        found = verda.jobs.get_by_name("changing")
        found.containers[0].env[1].value_or_reference_to_secret = "crash"
        verda.jobs.update("changing", found)
        deployed.open("go")
        assert completed(before) is None
        assert completed(deployed.run("job")) == "process exited with code 7"


def test_the_key_is_asked_for(verda: Verda) -> None:
    with verda.deployed("guarded"):
        answer = verda.gateway.request("POST", "/guarded/job", token="dc_no-such-key-0123")
        assert (answer.status, answer.json()["code"]) == (401, "unauthorized_request")
        assert verda.gateway.request("POST", "/guarded/job", token="").status == 401
        assert verda.gateway.request("POST", "/guarded/job", token=KEY).status == 202
