"""Each row of the tables in spec/verda.md sections 3.3 and 3.4, as the SDK sees it and on the wire."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from verda.inference_client import AsyncStatus

from batchflow.callrecords import new_call
from batchflow.deployments.retention import Retention
from batchflow.engines.local.engine import LocalEngine
from batchflow.settings import Settings
from batchflow.store.deployments import JobDeployments
from batchflow.store.directory import DirectoryStore
from tests.acceptance.command import HANG_S, until
from tests.acceptance.verda.kit import Deployed, Verda, completed, wait_for

DAY_S = 86_400
BINARY = bytes(range(256)) * 5000


@pytest.fixture(scope="module")
def deployed(verda: Verda) -> Iterator[Deployed]:
    with verda.deployed("rows", replicas=4) as opened:
        yield opened


def not_found(deployed: Deployed, id: str) -> bool:
    answer = deployed.fetch("result", id)
    return (answer.status, answer.json()) == (404, {"code": "not_found", "message": "result not found"})


def failed(deployed: Deployed, id: str, error: str) -> bool:
    """The answer about a call that ended badly and left no reply."""
    answer = deployed.fetch("result", id)
    assert deployed.execution(id).result() == {"code": "server_error", "message": error}
    return (answer.status, answer.json()) == (500, {"code": "server_error", "message": error})


def test_initialized(deployed: Deployed) -> None:
    """A call whose request is not stored yet, or never will be."""
    records = JobDeployments(DirectoryStore(Path(deployed.verda.gateway.store))).find("rows")
    assert records is not None
    assert records.register("cut-off", new_call(time.time_ns()))
    execution = deployed.execution("cut-off")
    assert execution.status_json() == {"Id": "cut-off", "Status": "Initialized", "Error": None}
    assert execution.status() is AsyncStatus.Initialized
    assert not_found(deployed, "cut-off")


def test_queue_inference_completed(deployed: Deployed) -> None:
    deployed.verda.jobs.pause("rows")
    execution = deployed.run("gate?name=three", {"n": 3}, id="three")
    assert execution.status_json() == {"Id": "three", "Status": "Queue", "Error": None}
    assert not_found(deployed, "three")
    deployed.verda.jobs.resume("rows")
    assert wait_for(execution, "Inference") == {"Id": "three", "Status": "Inference", "Error": None}
    assert not_found(deployed, "three")
    deployed.open("three")
    assert wait_for(execution, "Completed") == {"Id": "three", "Status": "Completed", "Error": None}
    assert execution.result() == execution.result() == {"n": 3}  # as often as one likes


def test_a_replica_that_is_not_ready_yet_leaves_its_call_in_the_queue(verda: Verda) -> None:
    with verda.deployed("getting-ready", start="unhealthy") as deployed:
        execution = deployed.run("job")
        until(lambda: deployed.notes("up"), "the replica")
        assert execution.status_json()["Status"] == "Queue"


def test_a_result_of_nobody(deployed: Deployed) -> None:
    assert not_found(deployed, "nobody")


def test_a_call_is_kept_for_a_day_after_its_end(verda: Verda) -> None:
    """Retention with a clock that is ahead looks through the gateway's own store."""
    store, ahead_s = Path(verda.gateway.store), float(DAY_S - 100)
    engine = LocalEngine(Settings(engine="local", store=str(store), local_dir=str(store / "local")), os.environ)
    retention = Retention(JobDeployments(DirectoryStore(store)), engine, lambda: time.time() + ahead_s)
    with verda.deployed("forgetful") as deployed:
        execution = deployed.run("echo", {"n": 1}, id="mine")
        assert completed(execution) is None
        records = JobDeployments(DirectoryStore(store)).find("forgetful")
        assert records is not None
        until(lambda: not records.running(), "a free slot")
        assert not retention.remove_old("forgetful", time.monotonic() + HANG_S)
        assert (execution.status_json()["Status"], execution.result()) == ("Completed", {"n": 1})
        ahead_s += 200
        assert not retention.remove_old("forgetful", time.monotonic() + HANG_S)
        assert deployed.fetch("status", "mine").status == 404
        assert not_found(deployed, "mine")
        assert completed(deployed.run("echo", {"n": 2}, id="mine")) is None  # the id is free
        assert deployed.execution("mine").result() == {"n": 2}


@pytest.mark.parametrize(
    ("what", "headers", "status", "code"),
    [
        ("status", {"X-Inference-Id": "nobody"}, 404, "not_found"),
        ("status", {}, 400, "invalid_request"),
        ("status", {"X-Inference-Id": "white space"}, 400, "invalid_request"),
        ("result", {"X-Inference-Id": "nobody"}, 404, "not_found"),
        ("result", {}, 400, "invalid_request"),
    ],
)
def test_what_is_no_call(deployed: Deployed, what: str, headers: dict[str, str], status: int, code: str) -> None:
    answer = deployed.verda.gateway.request("GET", f"/{what}/rows", headers=headers)
    assert (answer.status, answer.json()["code"], set(answer.json())) == (status, code, {"code", "message"})


def test_another_method_is_refused(deployed: Deployed) -> None:
    answer = deployed.verda.gateway.request("POST", "/status/rows", headers={"X-Inference-Id": "nobody"})
    assert (answer.status, answer.headers["Allow"], set(answer.json())) == (405, "GET, HEAD", {"code", "message"})


@pytest.mark.parametrize(
    ("status", "content_type", "body", "error"),
    [
        (200, "application/json", b'{"a": 1}', None),
        (200, "application/json; charset=utf-8", b'{"a": 1}', None),
        (201, "image/png", BINARY, None),
        (302, "text/html", b"<p>", None),
        (404, "application/problem+json", b"{}", "container replied with HTTP 404"),
        (500, "text/plain; charset=latin-1", b"\xe4", "container replied with HTTP 500"),
        (299, "application/json", b"", None),
    ],
)
def test_a_reply_is_replayed(deployed: Deployed, status: int, content_type: str, body: bytes, error: str | None) -> None:
    id = f"replay-{status}-{len(content_type)}"
    assert deployed.request("POST", f"/reply?status={status}&type={quote(content_type)}", body, X_Inference_Id=id).status == 202
    assert completed(deployed.execution(id)) == error
    answer = deployed.fetch("result", id)
    assert (answer.status, answer.type, answer.body) == (status, content_type, body)
    head = deployed.fetch("result", id, method="HEAD")
    assert (head.status, head.type, head.headers["Content-Length"], head.body) == (status, content_type, str(len(body)), b"")


def test_a_status_code_above_599_is_replayed_as_599(deployed: Deployed) -> None:
    execution = deployed.run("reply?status=700&type=text/plain", {"a": 1})
    assert completed(execution) == "container replied with HTTP 700"
    answer = deployed.fetch("result", execution.id)
    assert (answer.status, answer.type, answer.body) == (599, "text/plain", b'{"a": 1}')


@pytest.mark.parametrize("count", [0, 5])
def test_a_reply_without_a_type_is_plain_text(deployed: Deployed, count: int) -> None:
    execution = deployed.run(f"typeless?bytes={count}")
    assert completed(execution) is None
    assert execution.result() == {"result": "x" * count}
    assert deployed.fetch("result", execution.id).type == "text/plain"


def test_a_reply_without_a_body(deployed: Deployed) -> None:
    execution = deployed.run("reply?status=204&type=text/plain")
    assert completed(execution) is None
    answer = deployed.fetch("result", execution.id)
    assert (answer.status, answer.type, answer.body) == (204, "text/plain", b"")


def test_an_end_without_a_reply(deployed: Deployed) -> None:
    good, bad = deployed.run("exit?code=0"), deployed.run("exit?code=3")
    assert completed(good) is None
    answer = deployed.fetch("result", good.id)
    assert (answer.status, answer.type, answer.body) == (200, "text/plain", b"")
    assert good.result() == {"result": ""}
    assert completed(bad) == "process exited with code 3"
    assert failed(deployed, bad.id, "process exited with code 3")


def test_purged(deployed: Deployed) -> None:
    deployed.verda.jobs.pause("rows")
    execution = deployed.run("job")
    deployed.verda.jobs.purge_queue("rows")
    deployed.verda.jobs.resume("rows")
    assert completed(execution) == "purged from queue"
    assert failed(deployed, execution.id, "purged from queue")


def test_expired(verda: Verda) -> None:
    with verda.deployed("impatient", replicas=1, ttl_s=2) as deployed:
        verda.jobs.pause("impatient")
        execution = deployed.run("job")
        assert completed(execution) == "expired in queue after 2s"
        assert failed(deployed, execution.id, "expired in queue after 2s")
        verda.jobs.resume("impatient")
        assert deployed.began() == []


def test_the_time_to_live_is_of_waiting_only(verda: Verda) -> None:
    with verda.deployed("slow", ttl_s=1) as deployed:
        assert completed(deployed.run("job?duration=3")) is None


def test_the_deadline_with_and_without_a_reply(verda: Verda) -> None:
    with verda.deployed("limited", replicas=2, deadline_s=8) as deployed:
        working, lingering = deployed.run("gate?name=never"), deployed.run("linger", {"kept": True})
        assert completed(lingering) is None
        assert completed(working) == "deadline of 8s exceeded"
        assert failed(deployed, working.id, "deadline of 8s exceeded")
        assert lingering.result() == {"kept": True}


def test_a_reply_that_is_too_large_is_an_error(verda: Verda) -> None:
    """64 MiB and a byte; what was too much is not stored."""
    with verda.deployed("gigantic") as deployed:
        execution = deployed.run(f"typeless?bytes={64 * 2**20 + 1}")
        error = completed(execution)
        assert error == "container replied with more than 67108864 bytes"
        assert failed(deployed, execution.id, error)
        large = deployed.run(f"typeless?bytes={64 * 2**20}")
        assert completed(large) is None
        assert len(deployed.fetch("result", large.id).body) == 64 * 2**20


def test_the_answers_have_the_types_that_the_sdk_compares_exactly(deployed: Deployed) -> None:
    execution = deployed.run("echo", {"a": "b"})
    assert completed(execution) is None
    assert deployed.fetch("status", execution.id).type == "application/json"
    assert json.loads(deployed.fetch("result", execution.id).body) == execution.result() == {"a": "b"}
