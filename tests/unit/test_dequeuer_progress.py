from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.progress import DONE, FAILED, READY, JobProgress, ask_every_s, batches_done
from batchflow.errors import Unreachable
from batchflow.queues.protocol import Depth
from batchflow.records import Counters, JobRef
from batchflow.settings import Settings
from batchflow.spec.model import Api
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords

EMPTY = Depth(0, 0)


def assignment(root: Path, **changes: object) -> Assignment:
    plain = Assignment(
        records=JobRecords(DirectoryStore(root), JobRef("squares", "6ffffffffffffff0")),
        api=Api("squares", "/squares"),
        pod="worker-1",
        step=contract.STEP_WORK,
        port=1,
        total=100,
        workers=4,
        max_receive_count=None,
        mnt=root,
        progress_file=root / "progress",
        settings=Settings(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def counters(finished: int = 0, state: str = READY) -> Counters:
    return Counters("worker-1", 1, contract.STEP_WORK, state, finished=finished)


class Queue:
    """Answers with `depth`, or not at all if that is None; counts the questions."""

    def __init__(self, depth: Depth | None) -> None:
        self.depth = depth
        self.asked = 0

    def __call__(self) -> Depth:
        self.asked += 1
        if self.depth is None:
            raise Unreachable("the queue is out of reach")
        return self.depth


@pytest.mark.parametrize(
    ("before", "total", "depth", "done"),
    [
        (0, 100, Depth(100, 0), 0),
        (0, 100, Depth(60, 10), 30),
        (30, 100, Depth(10, 5), 85),
        (30, 100, Depth(70, 2), 30),  # jitter does not take it back
        (30, 100, Depth(70, 3), 27),  # an error does
        (100, 100, Depth(100, 0), 0),
        (50, 100, EMPTY, 100),
        (0, 100, Depth(150, 1), 0),  # a batch may be in the queue twice
        (0, 0, EMPTY, 0),
    ],
)
def test_done_is_what_is_not_in_the_queue(before: int, total: int, depth: Depth, done: int) -> None:
    assert batches_done(before, total, depth) == done


@pytest.mark.parametrize(("workers", "every_s"), [(1, 2), (10, 2), (50, 10), (150, 30), (1000, 30)])
def test_many_workers_ask_less_often(workers: int, every_s: float) -> None:
    assert ask_every_s(workers) == every_s


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("per_worker", [20, 33.4, 1000])
def test_shares_add_up_to_the_whole(tmp_path: Path, workers: int, per_worker: float) -> None:
    total = int(workers * per_worker)
    pods = [assignment(tmp_path, pod=f"squares-work-{n}", workers=workers, total=total) for n in range(workers)]
    for batches in (0, total // 7, total // 2, total - 1, total):
        assert abs(sum(pod.share(batches) for pod in pods) - batches) <= 0.05 * total


@pytest.mark.parametrize("total", [1, 2, 3, 8])
def test_no_more_workers_share_than_there_are_batches(tmp_path: Path, total: int) -> None:
    assert [assignment(tmp_path, pod=f"w{n}", workers=8, total=total).share(total) for n in range(total)] == [1] * total


def test_finalize_has_no_share(tmp_path: Path) -> None:
    queue = Queue(EMPTY)
    progress = JobProgress(assignment(tmp_path, step=contract.STEP_FINALIZE), queue)
    progress.ask_if_due()
    assert queue.asked == 0
    assert [progress.text(counters(3, state)) for state in (READY, DONE)] == ["0/1", "1/1"]


@pytest.mark.parametrize(
    ("depth", "own", "text"),
    [
        (Depth(100, 0), counters(), "0/25"),
        (Depth(30, 10), counters(15), "15/25"),
        (Depth(95, 0), counters(40), "10/25"),  # it has itself handled more than the queue says is done
        (EMPTY, counters(100), "24/25"),  # whole only at the end
        (Depth(50, 0), counters(50, FAILED), "12/25"),
        (Depth(50, 0), counters(50, DONE), "25/25"),
        (None, counters(8), "2/25"),
    ],
)
def test_a_worker_tells_its_share_of_the_whole_jobs_progress(tmp_path: Path, depth: Depth | None, own: Counters, text: str) -> None:
    even = next(f"w{n}" for n in range(99) if assignment(tmp_path, pod=f"w{n}").share(3) == 0)  # rounds down
    progress = JobProgress(assignment(tmp_path, pod=even), Queue(depth))
    progress.ask_if_due()
    assert progress.text(own) == text


@pytest.mark.parametrize("total", [0, 1])
def test_argo_never_gets_a_zero_to_divide_by(tmp_path: Path, total: int) -> None:
    progress = JobProgress(assignment(tmp_path, total=total), Queue(EMPTY))
    progress.ask_if_due()
    assert [progress.text(counters(total, state)) for state in (READY, DONE)] == ["0/1", "1/1"]


def test_the_queue_is_asked_once_in_an_interval_and_no_sooner_after_a_failure(tmp_path: Path) -> None:
    now = [0.0]
    queue = Queue(None)
    progress = JobProgress(assignment(tmp_path, workers=50, total=5000), queue, clock=lambda: now[0])
    seen = []
    for now[0], queue.depth in ((0, Depth(2500, 0)), (9.9, EMPTY), (10, None), (19.9, EMPTY), (20, Depth(499, 1))):
        progress.ask_if_due()
        seen.append((queue.asked, progress.text(counters())))
    assert seen == [(1, "50/100"), (1, "50/100"), (2, "50/100"), (2, "50/100"), (3, "90/100")]
