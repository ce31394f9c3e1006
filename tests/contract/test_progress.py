"""What workers tell Argo, against the outcomes that are recorded: on every queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.dequeuer import progress
from batchflow.queues.protocol import Queue
from tests.contract.work_kit import Job, Request, handler, in_background, until

TOTAL = 200
PAUSES = (20, 90, 130, 180, 199)  # batches that are done


@pytest.fixture
def job(tmp_path: Path, queue: Queue) -> Iterator[Job]:
    job = Job(tmp_path)
    job.queue.close()
    job.queue = queue
    yield job
    job.dead_letters.close()


class Gate:
    """Lets a number of requests pass; the others wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._passed = self._allowed = 0

    def open(self, allowed: int) -> None:
        with self._changed:
            self._allowed = allowed
            self._changed.notify_all()

    def __call__(self, _: Request) -> int:
        with self._changed:
            assert self._changed.wait_for(lambda: self._passed < self._allowed, 60)
            self._passed += 1
            return 200


def test_the_sum_of_all_workers_is_the_jobs_progress_however_unequal_they_are(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for interval in ("SAVE_EVERY_S", "ASK_EVERY_S", "ASK_EVERY_S_PER_WORKER"):
        monkeypatch.setattr(progress, interval, 0.05)
    job.enqueue(TOTAL)

    def recorded() -> int:
        return sum(bool(outcomes) for outcomes in job.outcomes().values())

    def told() -> tuple[int, int]:
        lines = [path.read_text().split() for path in job.root.glob("mnt-*/progress")]
        pods = [line[-1].split("/") for line in lines if line]  # a file is empty for a moment while it is written
        return sum(int(done) for done, _ in pods), sum(int(whole) for _, whole in pods)

    def close(expected: int) -> bool:
        done, whole = told()
        return abs(done - expected) <= 0.05 * TOTAL and abs(whole - TOTAL) <= 0.05 * TOTAL

    fast, slow = Gate(), Gate()
    with ExitStack() as stack:
        servers = [stack.enter_context(handler(gate)) for gate in (fast, slow)]
        codes = [stack.enter_context(in_background(lambda server=server: job.work(server.port, workers=2))) for server in servers]
        for done in PAUSES:
            fast.open(done)
            until(lambda done=done: recorded() == done, f"{done} outcomes")
            until(lambda done=done: close(done), f"progress of {done}")
        fast.open(TOTAL)
        slow.open(TOTAL)
    assert codes == [[contract.EXIT_OK], [contract.EXIT_OK]]
    done, whole = told()
    assert done == whole
