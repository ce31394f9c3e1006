"""The loop when something goes away: the worker itself, the store, the queue, and batches that take their workers with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow import contract
from batchflow.dequeuer.holding import MAX_HELD
from batchflow.errors import Unreachable
from batchflow.queues.protocol import Depth, Queue
from batchflow.records import FAILED, SUCCEEDED, batch_message
from batchflow.store.jobs import JobRecords
from tests.contract.work_kit import ALL, JOB, Handler, Job, Outage, Request, handler, in_background, until

PROCESS = Path(__file__).with_name("work_process.py")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.close()


def test_sigterm_finishes_what_is_in_the_handler_and_gives_the_rest_back(job: Job) -> None:
    job.enqueue(20)
    release = threading.Event()

    def behave(request: Request) -> int:
        if len(server.requests) == 5:
            job.stop.set()
            release.wait(1)
        return 200

    with handler(behave) as server:
        assert job.work(server.port) == contract.EXIT_TERMINATED
    assert len(server.requests) == 5
    assert sorted(len(outcomes) for outcomes in job.outcomes().values()) == [0] * 15 + [1] * 5
    assert job.queue.depth() == Depth(15, 0)
    assert job.counters().finished == 5


def test_sigterm_gives_back_what_does_not_finish_within_the_grace_period(job: Job) -> None:
    job.enqueue(2)
    job.settings = replace(job.settings, grace_s=1)
    release = threading.Event()

    def behave(_: Request) -> int:
        job.stop.set()
        release.wait(60)
        return 200

    with handler(behave) as server:
        assert job.work(server.port) == contract.EXIT_TERMINATED
        release.set()
    assert job.outcomes() == {0: [], 1: []}
    assert job.queue.depth() == Depth(2, 0)
    assert sorted(d.receive_count for d in job.queue.receive(ALL, 0, 60)) == [1, 2]


def test_sigterm_while_waiting_for_the_handler_ends_the_worker(job: Job) -> None:
    job.enqueue(1)
    job.stop.set()
    assert job.work(1) == contract.EXIT_TERMINATED
    assert job.queue.depth() == Depth(1, 0)


def test_a_stopped_job_goes_on_where_it_was(job: Job) -> None:
    job.enqueue(30)
    with handler(lambda _: job.stop.set() or 200 if len(server.requests) == 7 else 200) as server:
        assert job.work(server.port) == contract.EXIT_TERMINATED
        job.stop.clear()
        assert job.work(server.port) == contract.EXIT_OK
    assert len(server.requests) == 30
    assert all(o.outcome == SUCCEEDED for o in job.only_outcomes())


def flaky_store(job: Job, *calls: str) -> Outage:
    store = Outage(job.records.store, calls, Unreachable("the store is away"))
    job.records = JobRecords(store, JOB)  # type: ignore[arg-type]
    return store


def test_a_store_that_is_away_for_a_while_loses_nothing_and_stops_receiving(job: Job) -> None:
    job.enqueue(100)
    store = flaky_store(job, "put", "create", "list")
    pause = threading.Event()

    def behave(_: Request) -> int:
        if len(server.requests) == 10:
            store.down = True
        pause.wait(0.05)
        return 200

    with handler(behave) as server, in_background(lambda: job.work(server.port)) as codes:
        until(lambda: store.refused >= 3, "the store is asked")
        handled = len(server.requests)
        assert job.queue.depth().visible > 0
        pause.wait(1.5)
        assert len(server.requests) <= handled + MAX_HELD
        store.down = False
    assert codes == [contract.EXIT_OK]
    assert all((o.outcome, o.attempts) == (SUCCEEDED, 1) for o in job.only_outcomes())


def test_a_store_that_stays_away_ends_the_worker_which_deletes_nothing(job: Job) -> None:
    job.enqueue(5)
    job.settings = replace(job.settings, retry_s=0.5)
    store = flaky_store(job, "put", "create", "list")
    with handler(lambda _: 200) as server:
        store.down = True
        assert job.work(server.port) == contract.EXIT_TRY_AGAIN
    store.down = False
    assert job.outcomes() == {index: [] for index in range(5)}
    assert job.queue.depth() == Depth(5, 0)


@pytest.mark.parametrize("call", ["receive", "delete", "depth"])
def test_a_queue_that_is_away_for_a_while_loses_nothing(job: Job, call: str) -> None:
    job.enqueue(12)
    job.settings = replace(job.settings, visibility_s=2)  # so long a worker whose receive failed stays
    queue = Outage(job.queue, [call], Unreachable("the queue is away"))
    queue.down = True
    job.queue = queue  # type: ignore[assignment]
    with handler(lambda _: 200) as server, in_background(lambda: job.work(server.port)) as codes:
        until(lambda: queue.refused >= 3, "the queue is asked")
        queue.down = False
    assert codes == [contract.EXIT_OK]
    assert all((o.outcome, o.attempts) == (SUCCEEDED, 1) for o in job.only_outcomes())
    assert job.queue.depth() == Depth(0, 0)


def test_a_queue_that_stays_away_ends_the_worker(job: Job) -> None:
    job.enqueue(1)
    job.settings = replace(job.settings, retry_s=0.3)
    queue = Outage(job.queue, ["receive"], Unreachable("the queue is away"))
    queue.down = True
    job.queue = queue  # type: ignore[assignment]
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_TRY_AGAIN
    assert (job.counters().state, job.counters().error) == ("failed", "the queue is away")


def test_an_error_of_our_own_ends_the_worker_in_order_and_is_not_swallowed(job: Job) -> None:
    job.enqueue(30)
    queue = Outage(job.queue, ["delete"], ZeroDivisionError("a bug"))
    queue.down = True
    job.queue = queue  # type: ignore[assignment]
    with handler(lambda _: 200) as server, pytest.raises(ZeroDivisionError):
        job.work(server.port)
    assert job.counters().state == "failed"
    assert job.queue.depth() == Depth(30, 0)


def lose(job: Job, times: int) -> None:
    """As if that many workers had received every message and died."""
    for _ in range(times):
        job.queue.extend(job.queue.receive(ALL, 0, 60), 0)


def test_from_its_third_receive_a_batch_is_handled_alone_after_a_mark(job: Job) -> None:
    job.enqueue(6)
    job.additions = replace(job.additions, max_concurrency=3)
    lose(job, 2)
    pause = threading.Event()
    with handler(lambda _: 200 if not pause.wait(0.05) else 500) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert server.most_at_once == 1
    assert len(list(job.records.store.list(f"{job.records.prefix}starts/"))) == 6
    assert all(o.outcome == SUCCEEDED for o in job.only_outcomes())


def test_up_to_its_second_receive_a_batch_has_no_mark(job: Job) -> None:
    job.enqueue(2)
    lose(job, 1)
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert list(job.records.store.list(f"{job.records.prefix}starts/")) == []


@pytest.mark.parametrize(("marks", "handled"), [(9, True), (10, False)])
@pytest.mark.parametrize("dead_letters", [False, True])
def test_ten_marks_without_an_outcome_are_final(job: Job, marks: int, handled: bool, dead_letters: bool) -> None:
    job.enqueue(1)
    lose(job, 2)
    for mark in range(marks):
        job.records.mark_start(0, f"lost-{mark}", 3)
    with handler(lambda _: 200) as server:
        assert job.work(server.port, max_receive_count=5 if dead_letters else None) == contract.EXIT_OK
    outcome = job.only_outcomes()[0]
    assert len(server.requests) == handled
    assert (outcome.outcome, outcome.error) == ((SUCCEEDED, "") if handled else (FAILED, "lost its worker 10 times"))
    assert outcome.attempts == handled
    dead = job.dead_letters.receive(ALL, 0, 60)
    assert [d.message.attributes["reason"] for d in dead] == ["lost its worker 10 times"] * (dead_letters and not handled)


@pytest.mark.parametrize("replaced", [False, True])
def test_only_a_worker_that_replaces_a_lost_pod_waits_for_what_is_in_flight(job: Job, replaced: bool) -> None:
    job.enqueue(1)
    job.settings = replace(job.settings, visibility_s=1)
    held = job.queue.receive(1, 0, 60)
    with handler(lambda _: 200) as server, in_background(lambda: job.work(server.port, replaced=replaced)) as codes:
        if replaced:
            threading.Event().wait(3)
            assert not codes
            job.queue.extend(held, 0)
        else:
            until(lambda: bool(codes), "the worker leaves")
    assert codes == [contract.EXIT_OK]
    assert len(server.requests) == replaced


class NothingSeen:
    """A real queue whose depth lags, as SQS's may: it shows nothing at all."""

    def __init__(self, real: Queue) -> None:
        self._real = real

    def depth(self) -> Depth:
        return Depth(0, 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_worker_that_replaces_a_lost_pod_gets_its_batch_though_the_depth_does_not_show_it(job: Job) -> None:
    job.enqueue(1)
    job.settings = replace(job.settings, visibility_s=3)
    job.queue.receive(1, 0, 3)  # by the pod that was lost
    job.queue = NothingSeen(job.queue)  # type: ignore[assignment]
    with handler(lambda _: 200) as server:
        assert job.work(server.port, replaced=True) == contract.EXIT_OK
    assert server.attempts() == {0: 1}
    assert job.only_outcomes()[0].outcome == SUCCEEDED


def test_the_time_that_a_replacing_worker_handled_a_batch_was_no_quiet_time(job: Job) -> None:
    job.enqueue(2)
    job.settings = replace(job.settings, visibility_s=3)
    real = job.queue
    held = real.receive(ALL, 0, 60)
    real.extend(held[:1], 2)
    job.queue = NothingSeen(real)  # type: ignore[assignment]

    def behave(request: Request) -> int:
        if request.index == 0:
            threading.Event().wait(3)
            real.extend(held[1:], 2)
        return 200

    with handler(behave) as server:
        assert job.work(server.port, replaced=True) == contract.EXIT_OK
    assert server.attempts() == {0: 1, 1: 1}


def start_worker(job: Job, port: int, pod: str) -> subprocess.Popen[bytes]:
    arguments = [str(job.root), str(port), str(job.total), pod]
    return subprocess.Popen([sys.executable, PROCESS, *arguments], env={**os.environ, "PYTHONPATH": str(PROCESS.parents[2])})


def test_a_worker_killed_in_the_middle_loses_nothing(job: Job) -> None:
    job.enqueue(200)
    pause = threading.Event()
    with handler(lambda _: 200 if not pause.wait(0.01) else 500) as server:
        first = start_worker(job, server.port, "first")
        until(lambda: len(server.requests) > 40, "the first worker works")
        first.send_signal(signal.SIGKILL)
        assert first.wait(30) == -signal.SIGKILL
        assert start_worker(job, server.port, "second").wait(120) == contract.EXIT_OK
    outcomes = job.outcomes()
    assert all(found for found in outcomes.values())
    assert all((o.outcome, o.attempts) == (SUCCEEDED, 1) for found in outcomes.values() for o in found)
    assert job.queue.depth() == Depth(0, 0)


HANDLER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class One(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        if self.rfile.read(int(self.headers["Content-Length"])) == b"[3]":
            os._exit(137)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *args): pass
ThreadingHTTPServer.allow_reuse_address = True
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), One).serve_forever()
"""


def test_processes_of_one_pod_name_do_not_overwrite_each_others_outcomes(job: Job) -> None:
    """Argo makes a pod that was deleted early anew under the same name."""
    job.total = 4
    with handler(lambda _: 200) as server:
        for index in range(job.total):
            assert not job.queue.send([batch_message(JOB, index, 1, f"[{index}]")])
            assert job.records.has_counters("same") == (index > 0)
            assert job.work(server.port, pod="same") == contract.EXIT_OK
    assert [outcome.index for outcome in job.only_outcomes()] == [0, 1, 2, 3]


def test_a_batch_that_kills_the_handler_fails_and_the_others_do_not(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchflow.contract.SIGTERM_FOLLOWS_S", 0.1)
    job.enqueue(8)
    with handler(lambda _: 200) as free:
        port = free.port
    over = threading.Event()
    deaths = []

    def kubelet() -> None:
        while not over.is_set():
            process = subprocess.Popen([sys.executable, "-c", HANDLER, str(port)])
            while process.poll() is None and not over.wait(0.05):
                pass
            if process.poll() is None:
                process.kill()
            deaths.append(process.wait())

    thread = threading.Thread(target=kubelet)
    thread.start()
    try:
        assert job.work(port, max_receive_count=2) == contract.EXIT_OK
    finally:
        over.set()
        thread.join(30)
    outcomes = job.only_outcomes()
    assert [o.outcome for o in outcomes] == [SUCCEEDED] * 3 + [FAILED] + [SUCCEEDED] * 4
    assert outcomes[3].attempts == 2
    # A try over a kept connection may not have counted, hence at most twice as many.
    assert 2 <= deaths.count(137) <= 4


def test_two_workers_share_slow_batches(job: Job) -> None:
    job.enqueue(6)
    pause = threading.Event()
    slow = lambda _: 200 if not pause.wait(2.2) else 500  # noqa: E731
    with handler(slow) as one, handler(slow) as other, in_background(lambda: job.work(one.port)) as codes:
        assert job.work(other.port) == contract.EXIT_OK
    assert codes == [contract.EXIT_OK]
    assert abs(len(one.requests) - len(other.requests)) <= 2
    assert len(job.only_outcomes()) == 6


def test_what_waits_behind_an_unexpectedly_long_batch_is_given_back(job: Job) -> None:
    job.enqueue(40)
    release = threading.Event()

    def behave(_: Request) -> int:
        if len(server.requests) == 20:
            release.wait(60)
        return 200

    server = Handler(behave)
    try:
        with in_background(lambda: job.work(server.port)) as codes:
            until(lambda: len(server.requests) == 20 and job.queue.depth().in_flight == 1, "only the long one is held")
            release.set()
    finally:
        server.close()
    assert codes == [contract.EXIT_OK]
    assert len(job.only_outcomes()) == 40
