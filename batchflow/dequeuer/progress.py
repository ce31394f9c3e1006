"""How far this worker is: its counters, saved every 2 s for live status, and Argo's progress file."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sized
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Final

from batchflow.errors import Unreachable
from batchflow.records import SUCCEEDED, Counters, Outcome
from batchflow.store.jobs import JobRecords

__all__ = ["DONE", "FAILED", "LEAVING", "READY", "WAITING", "Progress"]

log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 2.0

# `Counters.state`
WAITING: Final = "waiting"
READY: Final = "ready"
LEAVING: Final = "leaving"
DONE: Final = "done"
FAILED: Final = "failed"


class Progress:
    """The worker's counters. Best effort: nothing depends on them but what people see.

    Args:
        records: where they are saved.
        pod: this worker.
        step: the step it belongs to: work, or finalize.
        share: how many batches this worker would do if all did the same; the M of Argo's `N/M`, as long as N is below it.
        file: Argo's progress file, or None.
        hand: what the worker has in hand; its length is shown.
    """

    def __init__(self, records: JobRecords, pod: str, step: str, *, share: int, file: Path | None, hand: Sized) -> None:
        self._records = records
        self._share = share
        self._file = file
        self._hand = hand
        self._lock = Lock()
        self._counters = Counters(pod=pod, run=records.job.run, step=step, state=WAITING, started=time.time())

    @property
    def counters(self) -> Counters:
        return self._counters

    def waiting_for(self, what: str) -> None:
        """What the worker waits for; "": for nothing any more, the handler is ready."""
        with self._lock:
            ready = self._counters.ready if what or self._counters.ready else time.time()
            self._counters = replace(self._counters, state=WAITING if what else READY, error=what, ready=ready)

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
        self.save()
        while not ended.wait(SAVE_EVERY_S):
            self.save()

    def save(self) -> None:
        with self._lock:
            self._counters = counters = replace(self._counters, updated=time.time(), in_hand=len(self._hand))
        try:
            self._records.save_counters(counters)
            if self._file is not None:
                self._file.write_text(f"{counters.finished}/{max(counters.finished, self._share, 1)}\n")
        except (Unreachable, OSError) as error:
            log.warning("could not save the counters", extra={"error": str(error)})
