"""`batchflow step courier` as a process: started again wherever it was killed, it never sends a request twice."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.callrecords import REPLY_LOST, Reply
from batchflow.store.deployments import CallRecords
from batchflow.store.open import open_store
from tests.acceptance.command import HANG_S, Result, Terminal, terminal, until
from tests.contract.work_kit import Handler, Request, handler
from tests.unit.stored_calls import started_call


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Terminal]:
    with terminal(tmp_path) as opened:
        yield opened


@pytest.fixture
def records(at: Terminal) -> CallRecords:
    return started_call(open_store(str(at.store)), b"request")


def environ(records: CallRecords, app: Handler) -> dict[str, str]:
    return {
        contract.ENV_VERSION: contract.VERSION,
        contract.ENV_DEPLOYMENT: records.ref.deployment,
        contract.ENV_DEPLOYMENT_ID: records.ref.deployment_id,
        contract.ENV_CALL: records.ref.call,
        contract.ENV_REPLICA_PORT: str(app.port),
        contract.ENV_HEALTH_PORT: str(app.port),
        contract.ENV_HEALTH_PATH: "/health",
        contract.ENV_MAX_REPLY_BYTES: "1000000",
    }


def start(at: Terminal, records: CallRecords, app: Handler, **changes: str) -> subprocess.Popen[str]:
    return at.start("step", "courier", **{**environ(records, app), **changes})


def until_recorded(records: CallRecords, name: str) -> None:
    until(lambda: name in records.names(), name, records.names)


def until_started(process: subprocess.Popen[str]) -> None:
    """Until SIGTERM asks it to leave, instead of killing it: from then on it does not look at the signal but when it wants to."""

    def blocks_sigterm() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
        return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)

    until(blocks_sigterm, "the courier's start")


def told(at: Terminal, process: subprocess.Popen[str], number: int, *, code: int) -> Result:
    process.send_signal(number)
    return at.wait(process, code=code)


def deliveries(app: Handler) -> list[bytes]:
    return [asked.body for asked in app.requests if asked.path != "/health"]


def test_it_carries_a_call_and_stays_until_it_is_asked_to_leave(at: Terminal, records: CallRecords) -> None:
    with handler(lambda asked: 200 if asked.path == "/health" else (500, b"reply")) as app:
        process = start(at, records, app)
        until_recorded(records, "ended.json")
        assert process.poll() is None
        told(at, process, signal.SIGTERM, code=contract.EXIT_OK)
        assert deliveries(app) == [b"request"]
    ending = records.ending()
    assert ending is not None and ending.error == "container replied with HTTP 500"
    assert records.reply() == Reply(500, "", 5)


def test_killed_between_delivery_and_reply_it_never_sends_again(at: Terminal, records: CallRecords) -> None:
    asked, gone = threading.Event(), threading.Event()

    def behave(request: Request) -> int | tuple[int, bytes]:
        if request.path == "/health":
            return 200
        asked.set()
        gone.wait(HANG_S)
        return 200, b"for nobody"

    with handler(behave) as app:
        first = start(at, records, app)
        assert asked.wait(HANG_S)
        told(at, first, signal.SIGKILL, code=-signal.SIGKILL)
        second = start(at, records, app)
        gone.set()
        until_started(second)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(2)
        told(at, second, signal.SIGTERM, code=contract.EXIT_OK)
        assert deliveries(app) == [b"request"]
    ending = records.ending()
    assert (records.reply(), ending and ending.error) == (None, REPLY_LOST)


def test_killed_after_the_reply_it_ends_the_call(at: Terminal, records: CallRecords) -> None:
    with handler(lambda _: (200, b"")) as app:
        first = start(at, records, app)
        until_recorded(records, "reply.json")
        told(at, first, signal.SIGKILL, code=-signal.SIGKILL)
        second = start(at, records, app)
        until_recorded(records, "ended.json")
        told(at, second, signal.SIGTERM, code=contract.EXIT_OK)
        assert deliveries(app) == [b"request"]
    ending = records.ending()
    assert ending is not None and ending.error == ""


def test_killed_before_delivery_it_delivers(at: Terminal, records: CallRecords) -> None:
    ready = threading.Event()
    with handler(lambda asked: 200 if asked.path != "/health" or ready.is_set() else 503) as app:
        first = start(at, records, app)
        until(lambda: app.requests, "a health check")
        told(at, first, signal.SIGKILL, code=-signal.SIGKILL)
        ready.set()
        second = start(at, records, app)
        until_recorded(records, "ended.json")
        told(at, second, signal.SIGTERM, code=contract.EXIT_OK)
        assert deliveries(app) == [b"request"]


def test_of_two_at_once_one_delivers(at: Terminal, records: CallRecords) -> None:
    with handler(lambda _: 200) as app:
        both = [start(at, records, app) for _ in range(2)]
        until_recorded(records, "ended.json")
        for process in both:
            until_started(process)
            told(at, process, signal.SIGTERM, code=contract.EXIT_OK)
        assert deliveries(app) == [b"request"]


def test_asked_to_leave_while_the_replica_works_it_saves_what_comes_in_its_grace_period(at: Terminal, records: CallRecords) -> None:
    asked, answer = threading.Event(), threading.Event()

    def behave(request: Request) -> int | tuple[int, bytes]:
        if request.path == "/health":
            return 200
        asked.set()
        answer.wait(HANG_S)
        return 200, b"late"

    with handler(behave) as app:
        process = start(at, records, app, BATCHFLOW_GRACE_S="100")
        assert asked.wait(HANG_S)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        answer.set()
        at.wait(process, code=contract.EXIT_OK)
    assert records.reply() == Reply(200, "", 4)
    assert records.ending() is None


def test_asked_to_leave_it_gives_up_a_reply_that_does_not_come(at: Terminal, records: CallRecords) -> None:
    asked, over = threading.Event(), threading.Event()

    def behave(request: Request) -> int:
        if request.path != "/health":
            asked.set()
            over.wait(HANG_S)
        return 200

    with handler(behave) as app:
        process = start(at, records, app, BATCHFLOW_GRACE_S="1")
        assert asked.wait(HANG_S)
        told(at, process, signal.SIGTERM, code=contract.EXIT_OK)
        over.set()
    assert (records.reply(), records.ending()) == (None, None)


@pytest.mark.parametrize("name", [contract.ENV_CALL, contract.ENV_REPLICA_PORT, contract.ENV_VERSION, contract.ENV_MAX_REPLY_BYTES])
def test_what_its_workflow_must_tell_it_is_named(name: str, at: Terminal, records: CallRecords) -> None:
    with handler(lambda _: 200) as app:
        result = at.wait(start(at, records, app, **{name: ""}), code=contract.EXIT_BAD_INPUT)
    assert f"batchflow step courier: {name}: is not set" in result.err


def test_a_workflow_of_another_version_is_refused(at: Terminal, records: CallRecords) -> None:
    with handler(lambda _: 200) as app:
        result = at.wait(start(at, records, app, **{contract.ENV_VERSION: "99.0"}), code=contract.EXIT_BAD_INPUT)
    assert "compiled by batchflow 99.0" in result.err


def test_without_its_store_it_says_so_and_is_to_be_started_again(at: Terminal, records: CallRecords) -> None:
    at.store.rename(at.folder / "elsewhere")
    at.store.symlink_to("store")
    with handler(lambda _: 200) as app:
        result = at.wait(start(at, records, app, BATCHFLOW_RETRY_S="0"), code=contract.EXIT_TRY_AGAIN)
    assert "batchflow step courier:" in result.err and str(at.store) in result.err
    assert deliveries(app) == []
