"""The process exited with 0, and there is no reply: a good end only if its courier says that there was none."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from batchflow.callrecords import NOT_ACCEPTED, REPLY_LOST, Ending, incomplete_error
from batchflow.courier import courier as module
from batchflow.deployments.calls import Calls, Result
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Observation
from batchflow.errors import Unreachable
from batchflow.store.deployments import CallRecords, DeploymentRecords
from batchflow.store.open import open_store
from batchflow.store.protocol import Store
from tests.acceptance.command import until
from tests.contract.work_kit import handler
from tests.unit.raw_server import Connection, request, server
from tests.unit.stored_calls import Unreliable, courier, started_call

NEVER_S = 3600.0
ENDED_FIRST = incomplete_error("the connection ended first")
TIMES = {"startedAt": "2026-11-22T19:50:00Z", "finishedAt": "2026-11-22T19:51:00Z"}


class Cluster:
    """An engine whose replica has exited with 0."""

    def observe(self, name: str) -> Observation:
        main = {"name": "main", "state": {"terminated": {"exitCode": 0, **TIMES}}}
        pod = {"metadata": {"name": "replica-1"}, "status": {"phase": "Succeeded", "containerStatuses": [main]}}
        return Observation({"spec": {}, "status": {"phase": "Succeeded"}}, [pod])

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        return b""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def judged(call: CallRecords) -> tuple[str, Result]:
    """The error and the result of a call once the scheduler has seen that its replica is gone."""
    call = CallRecords(open_store(call.store.url), call.ref)
    records = DeploymentRecords(call.store, call.ref.deployment, call.ref.deployment_id)
    cluster = Cluster()
    watcher = Watcher(cluster, time.time)  # type: ignore[arg-type] # all that it asks is there
    watcher.watch(records, call, is_terminating=False)
    ending = call.ending()
    assert isinstance(ending, Ending)
    records.register("my-id", call.ref.call)
    return ending.error, Calls(records).result("my-id")[0]


def failed(error: str) -> tuple[str, Result]:
    return error, Result(500, "application/json", error=error)


GOOD = ("", Result(200, "text/plain"))


def after(answer: bytes) -> Connection:
    def connection(accepted: socket.socket) -> None:
        request(accepted)
        accepted.sendall(answer)

    return connection


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", GOOD),
        (b"H", failed(ENDED_FIRST)),
        (b"HTTP/1.1 200 OK\r\nContent-", failed(ENDED_FIRST)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", failed(ENDED_FIRST)),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nrep", failed(ENDED_FIRST)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre", failed(ENDED_FIRST)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", failed(ENDED_FIRST)),
        (b"no HTTP\r\n\r\n", failed(incomplete_error("BadStatusLine"))),
    ],
)
def test_a_reply_that_was_cut_off_is_no_success(answer: bytes, told: tuple[str, Result], store: Store) -> None:
    records = started_call(store, b"request")
    with server(after(answer)) as port, courier(records, port) as at_work:
        at_work.until_recorded("unanswered.json")
        at_work.leave()  # it exits at once, so that the scheduler is the one to judge
    assert judged(records) == told


def test_a_replica_that_closes_and_exits_before_a_byte_was_sent_has_accepted_nothing(tmp_path: Path) -> None:
    unreliable = Unreliable(tmp_path)
    records = started_call(unreliable)  # type: ignore[arg-type]
    closed = threading.Event()

    def fails(method: str, key: str) -> bool:
        """Not at all; but a delivery is not noted before the connection is closed."""
        return method == "create" and key.endswith("delivered.json") and not closed.wait(20)

    def close(accepted: socket.socket) -> None:
        accepted.shutdown(socket.SHUT_RDWR)
        closed.set()

    unreliable.fails = fails
    with server(close) as port, courier(records, port) as at_work:
        at_work.until_recorded("delivered.json")
        at_work.leave()
    assert at_work.error is None
    assert judged(records) == failed(NOT_ACCEPTED)


@pytest.mark.parametrize("written", ["/reply", "/reply.json", "/unanswered.json"])
def test_what_a_courier_could_not_store_is_no_success(written: str, tmp_path: Path) -> None:
    unreliable = Unreliable(tmp_path)
    records = started_call(unreliable)  # type: ignore[arg-type]
    unreliable.fails = lambda method, key: method in ("put", "put_file") and key.endswith(written)
    answer = b"" if "unanswered" in written else b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nGOOD"
    with server(after(answer)) as port, courier(records, port) as at_work:
        until(lambda: unreliable.failed, "a try")
        at_work.shutdown.over.set()
        at_work.leave()
    assert isinstance(at_work.error, Unreachable)
    assert judged(records) == failed(REPLY_LOST)


def test_a_courier_that_was_killed_with_the_reply_leaves_no_success(store: Store) -> None:
    records = started_call(store)
    records.deliver("of one that ran out of memory")
    assert judged(records) == failed(REPLY_LOST)


def test_a_reply_that_is_stored_is_what_counts(store: Store) -> None:
    records = started_call(store)
    with handler(lambda _: (200, b"good")) as app, courier(records, app.port) as at_work:
        at_work.until_recorded("reply.json")
        at_work.leave()
    assert judged(records) == ("", Result(200, "text/plain", 4))


@pytest.mark.parametrize(("said", "error"), [("", None), (ENDED_FIRST, ENDED_FIRST)])
def test_a_courier_that_is_started_again_keeps_to_what_the_one_before_said(
    said: str, error: str | None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXIT_FOLLOWS_S", 0.0)
    records = started_call(store)
    records.deliver("the one before")
    records.save_unanswered(said)
    with handler(lambda _: 200) as app, courier(records, app.port) as at_work:
        if error:
            at_work.until_recorded("ended.json")
        at_work.thread.join(0.3)
        at_work.leave()
    ending = records.ending()
    assert (ending and ending.error, app.requests) == (error, [])


def test_after_a_reply_that_was_cut_off_an_exit_code_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_FOLLOWS_S", NEVER_S)
    records = started_call(store)
    with server(after(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as port, courier(records, port) as at_work:
        at_work.until_recorded("unanswered.json")
        at_work.leave()
    assert (records.ending(), records.unanswered()) == (None, ENDED_FIRST)
