"""The committer: writes outcomes, then deletes their messages; many at a time, in a thread of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Final

from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.held import Held
from batchflow.errors import Unreachable
from batchflow.queues.protocol import Delivery, Queue
from batchflow.records import Outcome
from batchflow.retry import Retry

__all__ = ["Committer", "Settled"]

log = logging.getLogger(__name__)

# Group commit: whichever comes first.
COMMIT_EVERY_S: Final = 1.0
COMMIT_BATCHES: Final = 1000
# A store that takes a write in 2 ms gets one every 20 ms, S3 some two a second: the sooner messages are deleted, the fewer are in
# flight, of which SQS allows a number, and which makes other servers slow (ElasticMQ: 500 batches/s with 10 undeleted, 35 with 200).
WRITES_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery that is to be deleted; `outcome` is None if its batch was sent again."""

    delivery: Delivery
    outcome: Outcome | None


class Committer:
    """Outcomes first, then the deletes: a message is never deleted before its batch's outcome is in the store."""

    def __init__(
        self, assignment: Assignment, queue: Queue, held: Held, *, retry: Retry, committed: Callable[[Sequence[Outcome]], None]
    ) -> None:
        self._assignment = assignment
        self._queue = queue
        self._held = held
        self._retry = retry
        self._committed = committed
        self._changed = Condition()
        self._settled: list[Settled] = []
        self._pending = 0
        self._flushes = False
        self._closed = False
        self._flush_number = 0
        self._store_down = False
        self._write_s = COMMIT_EVERY_S * WRITES_SHARE  # how long the last write took

    def settle(self, settled: Settled) -> None:
        with self._changed:
            self._settled.append(settled)
            self._pending += 1
            if len(self._settled) in (1, COMMIT_BATCHES):
                self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Nothing more should be received: the store is down, or slower than the handler."""
        return self._store_down or self._pending > 2 * COMMIT_BATCHES

    def flush(self, timeout_s: float) -> bool:
        """Commit now; True once nothing is pending."""
        with self._changed:
            self._flushes = bool(self._settled)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._pending == 0, timeout_s)

    def close(self) -> None:
        """Let the thread end after it has committed what is pending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self) -> None:
        """The committer's thread: runs until `close`. Raises Unreachable when store or queue have been out of reach for too long."""
        while group := self._gather():
            self._commit(group)
            with self._changed:
                self._pending -= len(group)
                self._changed.notify_all()

    def _gather(self) -> list[Settled]:
        """What to commit together; nothing only after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled or self._closed)
            pause_s = min(COMMIT_EVERY_S, self._write_s / WRITES_SHARE)
            self._changed.wait_for(lambda: len(self._settled) >= COMMIT_BATCHES or self._flushes or self._closed, pause_s)
            group, self._settled = self._settled[:COMMIT_BATCHES], self._settled[COMMIT_BATCHES:]
            self._flushes = False
            return group

    def _commit(self, group: list[Settled]) -> None:
        outcomes = [settled.outcome for settled in group if settled.outcome is not None]
        if outcomes:
            self._retry(lambda: self._write(outcomes))
            self._flush_number += 1
            self._committed(outcomes)
        deliveries = [settled.delivery for settled in group]
        self._retry(lambda: self._queue.delete(deliveries))
        self._held.deleted(deliveries)

    def _write(self, outcomes: list[Outcome]) -> None:
        """A repeat writes the same object, so a write whose answer was lost counts once."""
        started = time.monotonic()
        try:
            self._assignment.records.create_outcomes(self._assignment.pod, self._flush_number, outcomes)
        except Unreachable:
            self._store_down = True
            raise
        self._write_s = time.monotonic() - started
        self._store_down = False
