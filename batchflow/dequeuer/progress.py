"""How far this worker is: its counters, saved every 2 s for live status, and Argo's progress file."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from threading import Event, Lock
from typing import Final

from batchflow.dequeuer.assignment import Assignment
from batchflow.errors import Unreachable
from batchflow.records import SUCCEEDED, Counters, Outcome

__all__ = ["DONE", "FAILED", "LEAVING", "READY", "WAITING", "Progress"]

_log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 2.0

# `Counters.state`
WAITING: Final = "waiting"
READY: Final = "ready"
LEAVING: Final = "leaving"
DONE: Final = "done"
FAILED: Final = "failed"


class Progress:
    """The worker's counters. Best effort: nothing depends on them but what people see."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
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

    def save_regularly(self, ended: Event) -> None:
        """The saving thread: runs until `ended` is set."""
        while not ended.is_set():
            self.save()
            self._news.wait(SAVE_EVERY_S)
            self._news.clear()

    def save(self) -> None:
        with self._lock:
            self._counters = counters = replace(self._counters, updated=time.time())
        try:
            self._assignment.records.save_counters(counters)
            if self._assignment.progress_file is not None:
                # Argo wants N/M with 0 ≤ N ≤ M and M > 0.
                most = max(counters.finished, self._assignment.share, 1)
                self._assignment.progress_file.write_text(f"{counters.finished}/{most}\n")
        except (Unreachable, OSError) as error:
            _log.warning("could not save the counters", extra={"error": str(error)})
