"""A deployment's calls as clients see them, on a store in a folder."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from batchflow.callrecords import CallRequest, Ending, Fate, JobDeploymentRecord, Reply
from batchflow.deployments.calls import Arrivals, Calls, Result, result_of, status_of
from batchflow.errors import Conflict, NotFound, Unreachable
from batchflow.store.deployments import CallRecords, DeploymentRecords, JobDeployments
from batchflow.store.directory import DirectoryStore

WAIT_KEY = "/waiting/"


def request(id: str = "mine", body: bytes = b"body", **fields: Any) -> CallRequest:
    return CallRequest(id=id, method="POST", target="/job", headers=[], body_bytes=len(body), deadline_s=60, ttl_s=10, **fields)


class BreakingStore(DirectoryStore):
    """Refuses writes of keys that contain `broken`; with `written`, after it has written them."""

    broken = ""
    written = False

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        is_broken = bool(self.broken) and self.broken in key
        if not is_broken or self.written:
            super().put_file(key, file, size_bytes)
        if is_broken:
            raise Unreachable("the store is out of reach", where=key)


@pytest.fixture
def store(tmp_path: Path) -> BreakingStore:
    return BreakingStore(tmp_path)


@pytest.fixture
def records(store: BreakingStore) -> DeploymentRecords:
    found = JobDeployments(store).create("long-job", JobDeploymentRecord({}, "2026-01-01T00:00:00.000Z"))
    assert found is not None
    return found


def enter(records: DeploymentRecords, id: str = "mine", body: bytes = b"body") -> CallRecords:
    call = Arrivals().next()
    Calls(records).enter(call, request(id, body), io.BytesIO(body))
    return records.call(call)


def finish(call: CallRecords, error: str = "", reply: Reply | None = None, body: bytes = b"") -> None:
    call.decide(Fate())
    if reply:
        call.save_reply(reply, io.BytesIO(body))
    call.end(Ending(error, time.time()))


def test_a_call_that_is_entered_waits_with_all_that_is_needed_to_make_it(records: DeploymentRecords) -> None:
    call = enter(records)
    [waiting] = records.waiting()
    assert (waiting.call, records.call_of("mine")) == (call.ref.call, call.ref.call)
    assert 0 <= waiting.expires - (call.ref.arrived_ns / 10**9 + 10) < 1
    assert call.request() == request()
    body = call.body()
    assert body is not None
    with body:
        assert body.read() == b"body"
    assert Calls(records).status("mine") == ("Queue", None)


def test_calls_of_a_process_are_named_in_order_even_if_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = Arrivals()
    clock = iter([5_000, 5_000, 4_000, 9_000])
    monkeypatch.setattr(time, "time_ns", lambda: 10**18 + next(clock))
    names = [arrivals.next() for _ in range(4)]
    assert names == sorted(names)
    assert [name.partition("-")[0][-4:] for name in names] == ["5000", "5001", "5002", "9000"]


def test_an_id_that_is_kept_is_refused_and_leaves_nothing(records: DeploymentRecords) -> None:
    first = enter(records)
    with pytest.raises(Conflict):
        enter(records)
    assert list(records.calls()) == [first.ref.call]
    assert [waiting.call for waiting in records.waiting()] == [first.ref.call]
    finish(first)
    with pytest.raises(Conflict):
        enter(records)
    records.unregister(first.ref.call)
    enter(records)


def test_a_deployment_that_is_being_deleted_takes_no_calls(records: DeploymentRecords) -> None:
    records.set_flag("terminating", True)
    with pytest.raises(NotFound):
        enter(records)
    assert list(records.calls()) == []


@pytest.mark.parametrize("broken", ["registered.json", "/body", "request.json", WAIT_KEY])
@pytest.mark.parametrize("written", [False, True])
def test_a_failure_on_the_way_leaves_nothing(store: BreakingStore, records: DeploymentRecords, broken: str, written: bool) -> None:
    store.broken, store.written = broken, written
    with pytest.raises(Unreachable):
        enter(records)
    store.broken = ""
    assert list(store.list(records.prefix)) == [records.prefix + "deployment.json"]
    enter(records)


def test_a_body_that_breaks_off_leaves_nothing(records: DeploymentRecords) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ValueError("it has no more")

    with pytest.raises(ValueError, match="it has no more"):
        Calls(records).enter(Arrivals().next(), request(), Broken())
    assert list(records.calls()) == []
    enter(records)


def test_a_call_that_was_started_though_its_entry_seemed_to_fail_is_accepted(store: BreakingStore, records: DeploymentRecords) -> None:
    call = Arrivals().next()
    records.call(call).decide(Fate())  # as a scheduler does that sees it wait
    store.broken, store.written = WAIT_KEY, True
    Calls(records).enter(call, request(), io.BytesIO(b"body"))
    assert records.call_of("mine") == call


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["registered.json"], "Initialized"),
        (["registered.json", "body"], "Initialized"),
        (["registered.json", "body", "request.json"], "Queue"),
        (["request.json", "fate.json", "submitted"], "Queue"),
        (["request.json", "fate.json", "submitted", "delivered.json"], "Inference"),
        (["request.json", "delivered.json", "reply.json"], "Inference"),
        (["request.json", "delivered.json", "ended.json"], "Completed"),
        (["request.json", "fate.json", "ended.json"], "Completed"),
    ],
)
def test_the_status_by_the_records_that_are_there(names: list[str], status: str) -> None:
    assert status_of(names) == status


@pytest.mark.parametrize(
    ("ending", "reply", "result"),
    [
        (None, None, None),
        (None, Reply(200, "application/json", 5), None),
        (Ending("", 1.0), Reply(200, "application/json", 5), Result(200, "application/json", 5)),
        (Ending("container replied with HTTP 500", 1.0), Reply(500, "text/html", 5), Result(500, "text/html", 5)),
        (Ending("deadline of 9s exceeded", 1.0), Reply(200, "", 5), Result(200, "text/plain", 5)),
        (Ending("", 1.0), Reply(204, "", 0), Result(204, "text/plain")),
        (Ending("", 1.0), None, Result(200, "text/plain")),
        (Ending("process exited with code 1", 1.0), None, Result(500, "application/json", 0, "process exited with code 1")),
        (Ending("purged from queue", 1.0), None, Result(500, "application/json", 0, "purged from queue")),
    ],
)
def test_the_result(ending: Ending | None, reply: Reply | None, result: Result | None) -> None:
    assert result_of(ending, reply) == result


def test_status_and_result_of_what_is_not_there(records: DeploymentRecords) -> None:
    for ask in (Calls(records).status, Calls(records).stop):
        with pytest.raises(NotFound, match='"nobody" not found'):
            ask("nobody")
    enter(records)
    for id in ("nobody", "mine"):
        with pytest.raises(NotFound, match=r"^result not found$"):
            Calls(records).result(id)


def test_status_and_result_of_a_call_that_ended(records: DeploymentRecords) -> None:
    finish(enter(records), "container replied with HTTP 404", Reply(404, "text/x", 4), b"gone")
    assert Calls(records).status("mine") == ("Completed", "container replied with HTTP 404")
    result, body = Calls(records).result("mine")
    assert result == Result(404, "text/x", 4)
    assert body is not None
    with body:
        assert body.read() == b"gone"


def test_a_call_that_waits_is_stopped_at_once(records: DeploymentRecords) -> None:
    enter(records)
    assert Calls(records).stop("mine")
    assert Calls(records).status("mine") == ("Completed", "stopped")
    assert list(records.waiting()) == []
    assert not Calls(records).stop("mine")


def test_a_call_that_was_started_is_asked_to_stop(records: DeploymentRecords) -> None:
    call = enter(records)
    call.decide(Fate())
    assert Calls(records).stop("mine")
    assert call.stop_reason() == "stopped"
    assert Calls(records).status("mine") == ("Queue", None)
    finish(call)
    records.release(call.ref.call)
    assert not Calls(records).stop("mine")


def test_a_purge_drops_those_that_wait_and_none_that_was_started(records: DeploymentRecords) -> None:
    calls = [enter(records, f"call-{number}") for number in range(30)]
    for call in calls[:3]:
        call.decide(Fate())
    Calls(records).purge()
    statuses = [Calls(records).status(f"call-{number}") for number in range(30)]
    assert statuses == [("Queue", None)] * 3 + [("Completed", "purged from queue")] * 27
    assert [waiting.call for waiting in records.waiting()] == [call.ref.call for call in calls[:3]]


class RemovingStore(DirectoryStore):
    """`removes` a call just before its `moment`-th request."""

    moment = 0
    removes: Callable[[], None] | None = None

    def get(self, key: str) -> bytes | None:
        self._ask()
        return super().get(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._ask()
        return super().list(prefix)

    def open(self, key: str) -> BinaryIO | None:
        self._ask()
        return super().open(key)

    def _ask(self) -> None:
        self.moment -= 1
        if self.moment == 0 and self.removes is not None:
            self.removes()


@pytest.mark.parametrize("by", ["call", "deployment"])
@pytest.mark.parametrize("reply", [None, Reply(200, "application/json", 4)])
@pytest.mark.parametrize("moment", range(1, 7))
def test_what_is_removed_while_it_is_asked_for_is_whole_or_not_there(by: str, reply: Reply | None, moment: int, tmp_path: Path) -> None:
    plain = JobDeployments(DirectoryStore(tmp_path))
    records = plain.create("long-job", JobDeploymentRecord({}, "2026-01-01T00:00:00.000Z"))
    assert records is not None
    for ask in (Calls.status, Calls.result):
        call = enter(records, f"id of {ask.__name__}")
        finish(call, reply=reply, body=b"body")
        store = RemovingStore(tmp_path)
        store.removes = records.delete_calls if by == "deployment" else partial(records.unregister, call.ref.call)
        store.moment = moment
        try:
            answer = ask(Calls(DeploymentRecords(store, "long-job", records.deployment_id)), f"id of {ask.__name__}")
        except NotFound:
            continue
        if ask is Calls.status:
            assert answer == ("Completed", None)
        elif reply is None:
            assert answer == (Result(200, "text/plain"), None)
            assert store.moment >= 0, "it was removed before all was asked for"
        else:
            assert answer[0] == Result(200, "application/json", 4)


@pytest.mark.parametrize("finished", [False, True])
def test_an_id_that_stands_for_another_call_meanwhile_gives_nothing_of_the_first(finished: bool, tmp_path: Path) -> None:
    plain = JobDeployments(DirectoryStore(tmp_path))
    records = plain.create("long-job", JobDeploymentRecord({}, "2026-01-01T00:00:00.000Z"))
    assert records is not None
    call = enter(records)
    if finished:
        finish(call)
    store = RemovingStore(tmp_path)

    def replace() -> None:
        records.unregister(call.ref.call)
        enter(records)

    store.removes, store.moment = replace, 2  # after the id was looked up
    for ask in (Calls.status, Calls.result):
        with pytest.raises(NotFound):
            ask(Calls(DeploymentRecords(store, "long-job", records.deployment_id)), "mine")
        call = records.call(str(records.call_of("mine")))
        store.moment = 2
