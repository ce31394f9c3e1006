"""The committer: writes outcomes, many at a time, then deletes their messages; in threads of its own."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Condition
from typing import Final

from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.held import Held
from batchflow.errors import Unreachable
from batchflow.queues.protocol import MAX_ENTRIES, Delivery, Queue
from batchflow.records import Outcome
from batchflow.retry import Retry

__all__ = ["Committer", "Settled"]

# Group commit: whichever comes first.
COMMIT_EVERY_S: Final = 1.0
COMMIT_BATCHES: Final = 1000
# Sooner than that if the store is fast: when a whole delete call has come together, and writing takes no more than this share of the
# time: every 5 ms if a write takes 1 ms, some five times a second on S3. What is not deleted is in flight; SQS limits its number (quota
# "in-flight messages"), and it makes some servers slow (ElasticMQ: 500 batches/s with 10 messages undeleted, 35 with 200).
WRITES_SHARE: Final = 0.25
# Deletes in flight: at 10 ms a call, one thread would bound a worker to 1,000 batches/s.
DELETERS: Final = 2


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
        self._writer = f"{assignment.pod}-{uuid.uuid4().hex[:12]}"
        self._queue = queue
        self._held = held
        self._retry = retry
        self._committed = committed
        self._changed = Condition()
        self._settled: list[Settled] = []
        self._written: deque[Delivery] = deque()
        self._pending = 0  # settled, and not yet deleted
        self._flushes = False
        self._closed = False
        self._all_written = False
        self._writes = 0
        self._next_write = 0.0  # not before that, in monotonic seconds, unless there is enough
        self._store_down = False

    def settle(self, settled: Settled) -> None:
        with self._changed:
            self._settled.append(settled)
            self._pending += 1
            if len(self._settled) in (1, MAX_ENTRIES, COMMIT_BATCHES):
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
        """Let the threads end after they have committed what is pending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def write_outcomes(self) -> None:
        """A thread: runs until `close`. Raises Unreachable when the store has been out of reach for too long."""
        try:
            while group := self._gather():
                outcomes = [settled.outcome for settled in group if settled.outcome is not None]
                if outcomes:
                    self._retry(partial(self._write, outcomes))
                    self._writes += 1
                    self._committed(outcomes)
                with self._changed:
                    self._written.extend(settled.delivery for settled in group)
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._all_written = True
                self._changed.notify_all()

    def delete_messages(self) -> None:
        """A thread, of which there may be several: runs until all is written and deleted. Raises Unreachable as above, of the queue."""
        while deliveries := self._take_written():
            self._retry(partial(self._queue.delete, deliveries))
            self._held.deleted(deliveries)
            with self._changed:
                self._pending -= len(deliveries)
                self._changed.notify_all()

    def _gather(self) -> list[Settled]:
        """What to write together; nothing only after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled or self._closed)
            self._wait_for_settled(MAX_ENTRIES, COMMIT_EVERY_S)
            self._wait_for_settled(COMMIT_BATCHES, min(COMMIT_EVERY_S, self._next_write - time.monotonic()))
            group, self._settled = self._settled[:COMMIT_BATCHES], self._settled[COMMIT_BATCHES:]
            self._flushes = False
            return group

    def _wait_for_settled(self, enough: int, timeout_s: float) -> None:
        self._changed.wait_for(lambda: len(self._settled) >= enough or self._flushes or self._closed, max(0.0, timeout_s))

    def _take_written(self) -> list[Delivery]:
        """What to delete in one call; nothing only at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._written or self._all_written)
            return [self._written.popleft() for _ in range(min(len(self._written), MAX_ENTRIES))]

    def _write(self, outcomes: list[Outcome]) -> None:
        """A repeat writes the same object, so a write whose answer was lost counts once."""
        started = time.monotonic()
        try:
            self._assignment.records.create_outcomes(self._writer, self._writes, outcomes)
        except Unreachable:
            self._store_down = True
            raise
        ended = time.monotonic()
        self._next_write = ended + (ended - started) / WRITES_SHARE
        self._store_down = False
