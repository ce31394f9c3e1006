"""How far things are: this worker's counters, saved every 2 s for live status; and the job's progress, for Argo."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Event, Lock
from typing import Final

from batchflow.dequeuer.assignment import Assignment
from batchflow.errors import BatchflowError, Unreachable
from batchflow.queues.protocol import Depth
from batchflow.records import SUCCEEDED, Counters, Outcome

__all__ = ["DONE", "FAILED", "LEAVING", "READY", "WAITING", "JobProgress", "Progress"]

_log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 2.0
# How often each worker asks how much is left in the queue: 150 workers or fewer ask it five times a second in all, 1,000 thirty times.
ASK_EVERY_S: Final = 2.0
ASK_EVERY_S_PER_WORKER: Final = 0.2
ASK_AT_LEAST_EVERY_S: Final = 30.0
# A queue's numbers are approximate: by so much of the job they may go down without meaning anything.
JITTER: Final = 0.02

# `Counters.state`
WAITING: Final = "waiting"
READY: Final = "ready"
LEAVING: Final = "leaving"
DONE: Final = "done"
FAILED: Final = "failed"


class Progress:
    """The worker's counters. Best effort, but for the first: nothing else depends on them but what people see."""

    def __init__(self, assignment: Assignment, depth: Callable[[], Depth]) -> None:
        """`depth`: the queue's; only the saving thread calls it."""
        self._assignment = assignment
        self._job = JobProgress(assignment, depth)
        self._lock = Lock()
        self._news = Event()  # worth saving at once
        run = assignment.records.job.run
        self._counters = Counters(pod=assignment.pod, run=run, step=assignment.step, state=WAITING, started=time.time())

    @property
    def counters(self) -> Counters:
        return self._counters

    def waiting_for(self, what: str) -> None:
        """What the worker waits for; "": for nothing any more, the handler is ready."""
        with self._lock:
            ready = self._counters.ready if what or self._counters.ready else time.time()
            self._counters = replace(self._counters, state=WAITING if what else READY, error=what, ready=ready)
        if not what:
            self.wake()

    def wake(self) -> None:
        """Have the saving thread save now, or see that it is to end."""
        self._news.set()

    def state(self, state: str, error: str = "") -> None:
        with self._lock:
            self._counters = replace(self._counters, state=state, error=error)

    def failed_attempt(self) -> None:
        with self._lock:
            self._counters = replace(self._counters, failed=self._counters.failed + 1)

    def finished(self, outcomes: Iterable[Outcome]) -> None:
        """Their outcomes are in the store."""
        outcomes = list(outcomes)
        seconds = [outcome.seconds for outcome in outcomes if outcome.outcome == SUCCEEDED]
        with self._lock:
            self._counters = replace(
                self._counters,
                succeeded=self._counters.succeeded + len(seconds),
                finished=self._counters.finished + len(outcomes),
                seconds=self._counters.seconds + math.fsum(seconds),
            )

    def announce(self) -> None:
        """Save the counters for the first time: a pod made anew under this one's name knows by them that it is one. Raises Unreachable."""
        self._assignment.records.save_counters(self._counters)

    def save_regularly(self, ended: Event) -> None:
        """The saving thread: runs until `ended` is set."""
        while not ended.is_set():
            self._save_counters()
            self._job.ask_if_due()
            self._tell_argo()
            self._news.wait(SAVE_EVERY_S)
            self._news.clear()

    def save(self) -> None:
        self._save_counters()
        self._tell_argo()

    def _save_counters(self) -> None:
        with self._lock:
            self._counters = counters = replace(self._counters, updated=time.time())
        try:
            self._assignment.records.save_counters(counters)
        except Unreachable as error:
            _log.warning("could not save the counters", extra={"error": str(error)})

    def _tell_argo(self) -> None:
        if self._assignment.progress_file is None:
            return
        try:
            self._assignment.progress_file.write_text(f"{self._job.text(self._counters)}\n")
        except OSError as error:
            _log.warning("could not write the progress file", extra={"error": str(error)})


class JobProgress:
    """What this worker tells Argo, which adds up the `N/M` of all pods: its share of what is done of the job, by whichever worker.

    So the sum is right however unequal the workers are. Batches that earlier runs handled count as done.
    """

    def __init__(self, assignment: Assignment, depth: Callable[[], Depth], clock: Callable[[], float] = time.monotonic) -> None:
        self._assignment = assignment
        self._depth = depth
        self._clock = clock
        self._ask_at = clock()
        self._done = 0  # batches of the job, as the queue said last

    def ask_if_due(self) -> None:
        """Ask the queue how much is left, unless that was done a short while ago; a queue that does not answer changes nothing."""
        total = self._assignment.total
        if self._clock() < self._ask_at or not self._assignment.share(total):
            return
        try:
            self._done = batches_done(self._done, total, self._depth())
        except BatchflowError as error:
            _log.warning("could not ask the queue how much is left", extra={"error": str(error)})
        self._ask_at = self._clock() + ask_every_s(self._assignment.workers)

    def text(self, own: Counters) -> str:
        """`N/M`, 0 ≤ N ≤ M and M > 0; N is M only once this worker is done."""
        whole = max(1, self._assignment.share(self._assignment.total))
        if own.state == DONE:
            return f"{whole}/{whole}"
        return f"{min(self._assignment.share(max(self._done, own.finished)), whole - 1)}/{whole}"


def batches_done(before: int, total: int, depth: Depth) -> int:
    """How many batches are taken as done, after `before`: those that are not in the queue.

    Right after the enqueuer, SQS may know of too few messages (for a minute, says GetQueueAttributes). Therefore a number that goes down
    by more than JITTER is believed: better to go back once than to stay wrong.
    """
    done = min(max(0, total - depth.visible - depth.in_flight), total)
    return before if before - total * JITTER <= done <= before else done


def ask_every_s(workers: int) -> float:
    """How long each of so many workers waits between two questions."""
    return min(max(ASK_EVERY_S, workers * ASK_EVERY_S_PER_WORKER), ASK_AT_LEAST_EVERY_S)
