"""Finalize over a real queue, store and server: accounting, what is left, the hook."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.dequeuer import work_off
from batchflow.errors import Unreachable
from batchflow.finalizer.finalize import finalize
from batchflow.finalizer.hook import ask_hook
from batchflow.queues.protocol import Depth
from batchflow.records import FAILED, SUCCEEDED, Counters, HookAnswer, Outcome
from batchflow.store.jobs import JobRecords
from tests.contract.work_kit import JOB, Job, Outage, Request, handler
from tests.unit import raw_server

NOBODY = 1


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    job.settings = replace(job.settings, visibility_s=1, heartbeat_s=0.3)
    yield job
    job.close()


def worked(job: Job, outcomes: int, *, ready: bool = True) -> None:
    """As if a worker had been there."""
    job.records.save_counters(Counters("worker-0", 1, contract.STEP_WORK, "done", ready=1.0 if ready else None))
    if outcomes:
        job.records.create_outcomes("worker-0", 0, [Outcome(i, FAILED if i == 1 else SUCCEEDED, 1, 0.1) for i in range(outcomes)])


def run(job: Job, port: int, *, has_hook: bool = True) -> int:
    assignment = job.assignment(port, step=contract.STEP_FINALIZE)
    api = replace(assignment.api, has_hook=has_hook)
    return finalize(
        job.records,
        api,
        total=job.total,
        port=port,
        work_off=lambda accounting: work_off(assignment, job.queue, lambda: job.dead_letters, job.stop, accounting),
        stop=job.stop,
        settings=job.settings,
    )


@pytest.mark.parametrize(
    ("status", "ok", "code", "error"),
    [
        (200, True, contract.EXIT_OK, ""),
        (404, True, contract.EXIT_OK, ""),
        (500, False, contract.EXIT_HOOK_FAILED, "status 500: ValueError: no summary"),
        (204, False, contract.EXIT_HOOK_FAILED, "status 204"),
    ],
)
def test_the_hooks_answer_is_recorded_whatever_it_is(job: Job, status: int, ok: bool, code: int, error: str) -> None:
    job.total = 2
    worked(job, 2)
    with handler(lambda _: (status, b"ValueError: no summary\nmore" if status == 500 else b"")) as server:
        assert run(job, server.port) == code
    assert job.records.hook() == HookAnswer(1, status, ok, error)
    (request,) = server.requests
    assert (request.path, request.body) == (contract.HOOK_PATH, contract.HOOK_BODY)
    assert request.headers[contract.HEADER_JOB] == JOB.job_id


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(302, b"GET", b""), (303, b"GET", b""), (307, b"POST", contract.HOOK_BODY), (308, b"POST", contract.HOOK_BODY)],
)
@pytest.mark.parametrize(
    ("final", "ok", "error"), [(200, True, ""), (404, True, ""), (204, False, "status 204 from http://127.0.0.1:{0}/done")]
)
def test_a_redirected_hook_counts_by_its_final_status(status: int, method: bytes, body: bytes, final: int, ok: bool, error: str) -> None:
    got: list[bytes] = []
    replies = [f"HTTP/1.1 {code} x\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n".encode() for code in (status, final)]
    with raw_server.server(raw_server.answers(*replies, got=got)) as port:
        answer = ask_hook(JOB, port, timeout_s=20, grace_s=1, stop=threading.Event())
    assert answer == HookAnswer(1, final, ok, error.format(port))
    assert got[1].startswith(method + b" /done HTTP/1.1\r\n") and got[1].endswith(b"\r\n\r\n" + body)


def test_a_hook_that_hangs_has_answered_badly(job: Job) -> None:
    job.total = 1
    worked(job, 1)
    job.additions = replace(job.additions, batch_timeout_s=1)
    over = threading.Event()
    with handler(lambda _: over.wait(60) and 200) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchflow.contract.SIGTERM_FOLLOWS_S", 0.1)
        assert run(job, server.port) == contract.EXIT_HOOK_FAILED
        over.set()
    assert job.records.hook() == HookAnswer(1, 0, ok=False, error="no answer within 1 s")


def test_a_hook_that_breaks_the_connection_has_answered_badly(job: Job) -> None:
    job.total = 1
    worked(job, 1)
    with handler(lambda _: None) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchflow.contract.SIGTERM_FOLLOWS_S", 0.1)
        assert run(job, server.port) == contract.EXIT_HOOK_FAILED
    hook = job.records.hook()
    assert hook is not None and hook.error.startswith("the connection broke")


@pytest.mark.parametrize(("ok", "code"), [(True, contract.EXIT_OK), (False, contract.EXIT_HOOK_FAILED)])
def test_a_hook_that_has_answered_is_not_asked_again(job: Job, ok: bool, code: int) -> None:
    job.total = 1
    worked(job, 1)
    job.records.save_hook(HookAnswer(1, 200 if ok else 500, ok))
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == code
    assert server.requests == []


def test_what_is_left_is_worked_off_before_the_hook(job: Job) -> None:
    job.enqueue(25)
    worked(job, 3)
    for _ in range(3):  # those three were deleted
        job.queue.delete([d for d in job.queue.receive(10, 0, 0) if int(d.message.group) < 3])
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == contract.EXIT_OK
    assert server.requests[-1].path == contract.HOOK_PATH
    assert all(job.outcomes().values())
    hook = job.records.hook()
    assert hook is not None and hook.ok
    assert job.records.store.get(f"{job.records.prefix}counters/worker-1.json") is not None


def test_batches_of_a_lost_worker_are_waited_for(job: Job) -> None:
    job.enqueue(1)
    worked(job, 0)
    assert len(job.queue.receive(1, 0, 3)) == 1
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == contract.EXIT_OK
    assert [request.path for request in server.requests] == ["/", contract.HOOK_PATH]


def test_a_batch_that_is_nowhere_does_not_hang_the_job_and_the_hook_is_not_due(job: Job) -> None:
    job.total = 3
    worked(job, 2)
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == contract.EXIT_OK
    assert server.requests == []
    assert job.records.hook() is None


def test_without_a_hook_it_only_accounts(job: Job) -> None:
    job.enqueue(2)
    worked(job, 1)
    assert run(job, NOBODY, has_hook=False) == contract.EXIT_OK
    assert job.queue.depth() == Depth(2, 0)


def test_a_handler_that_no_worker_reached_is_not_waited_for(job: Job) -> None:
    job.enqueue(1)
    worked(job, 0, ready=False)
    assert run(job, NOBODY) == contract.EXIT_HANDLER_DOWN
    assert [counters.pod for counters in job.records.counters()] == ["worker-0"]  # else finalize would have its own by now


def test_the_hook_is_posted_though_the_counters_of_those_who_reached_the_handler_were_lost(job: Job) -> None:
    job.total = 1
    worked(job, 1, ready=False)
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == contract.EXIT_OK
    assert job.records.hook() is not None


def test_a_run_that_had_nothing_left_to_handle_posts_the_hook(job: Job) -> None:
    job.total = 1
    job.records.create_outcomes("worker-of-run-1", 0, [Outcome(0, SUCCEEDED, 1, 0.1)])
    with handler(lambda _: 200) as server:
        assert run(job, server.port) == contract.EXIT_OK
    assert job.records.hook() is not None


def test_a_handler_that_does_not_come_up_ends_it(job: Job) -> None:
    job.total = 1
    worked(job, 1)
    job.additions = replace(job.additions, start_timeout_s=1)
    assert run(job, NOBODY) == contract.EXIT_HANDLER_DOWN
    assert job.records.hook() is None


def test_stopped_during_the_hook_its_answer_is_not_known(job: Job) -> None:
    job.total = 1
    worked(job, 1)
    job.settings = replace(job.settings, grace_s=1)
    over = threading.Event()

    def behave(_: Request) -> int:
        job.stop.set()
        over.wait(60)
        return 200

    with handler(behave) as server:
        assert run(job, server.port) == contract.EXIT_TERMINATED
        over.set()
    assert job.records.hook() is None


def test_a_hook_that_answers_within_the_grace_period_is_recorded(job: Job) -> None:
    job.total = 1
    worked(job, 1)

    def behave(_: Request) -> int:
        job.stop.set()
        threading.Event().wait(0.3)
        return 200

    with handler(behave) as server:
        assert run(job, server.port) == contract.EXIT_OK
    hook = job.records.hook()
    assert hook is not None and hook.ok


def test_a_store_that_stays_away_is_tried_again_later(job: Job) -> None:
    job.total = 1
    worked(job, 1)
    job.settings = replace(job.settings, retry_s=0.3)
    store = Outage(job.records.store, ["list"], Unreachable("the store is away"))
    store.down = True
    job.records = JobRecords(store, JOB)  # type: ignore[arg-type]
    assert run(job, NOBODY) == contract.EXIT_TRY_AGAIN
    assert store.refused > 1
