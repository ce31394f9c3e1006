"""The receiver: the thread that fetches batches before the handler needs them, and decides when the worker leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.attempts import Batch, decode
from batchflow.dequeuer.held import Held
from batchflow.dequeuer.holding import Hand
from batchflow.dequeuer.outcomes import Committer
from batchflow.dequeuer.settling import Settling
from batchflow.errors import Unreachable
from batchflow.queues.protocol import MAX_ENTRIES, Delivery, Depth, Queue
from batchflow.retry import Retry
from batchflow.status.accounting import Accounting

__all__ = ["Leaving", "Receiver"]

POLL_S: Final = 1.0
_PAUSE_S: Final = 0.1


class Leaving:
    """When a worker has nothing more to wait for.

    A worker leaves when nothing is visible: the queue's numbers are approximate, but a long poll asks all of its servers, so two empty
    ones say that nothing can be received, and the depth that nothing waits behind a message of its group that is still in flight. Whoever
    holds what is in flight stays until it is settled, or is replaced.

    Nobody holds what a receive hid whose answer was lost, or what could not be given back. Then the worker is in doubt, and stays until a
    visibility timeout has passed: by then that was visible again, and was received.

    One that replaces a lost pod is there for the lost one's batches, and without a hook nobody after it works them off. They are in
    flight, which on SQS the depth may fail to say for a minute (GetQueueAttributes), so it is not taken at its word: the queue must be
    quiet, nothing received, visible or in flight, for a whole visibility timeout. By then a batch whose holder is lost was visible again
    whatever the depth said, and was received. It costs that much time after a loss, and no batch. Finalize leaves likewise.
    """

    def __init__(self, visibility_s: float, *, patient: bool = False, accounting: Accounting | None = None) -> None:
        """`patient`: the queue must be quiet; else nothing visible is enough.

        With an `accounting` nothing is waited for any more once it misses no batch.
        """
        self._visibility_s = visibility_s
        self._patient = patient
        self._accounting = accounting
        self._quiet_since: float | None = None
        self._doubt_since: float | None = None

    def complete(self) -> bool:
        """Whatever is in the queue, nothing is left to do."""
        return self._accounting is not None and self._accounting.missing == 0

    def received(self) -> None:
        """To be told of every poll that was not empty."""
        self._quiet_since = None

    def in_doubt(self, now: float) -> None:
        """To be told when something may be hidden from now on that nobody holds."""
        self._doubt_since = now
        self._quiet_since = None

    def may_leave(self, depth: Depth, polled_at: float) -> bool:
        """Asked after empty polls, with nothing in hand; the last one, a long one, began at `polled_at`. All times in monotonic seconds.

        Time counts only up to that poll: what became visible later (this process may have been paused) it did not see.
        """
        if not self._patient:
            return depth.visible == 0 and (self._doubt_since is None or polled_at - self._doubt_since >= self._visibility_s)
        if depth.visible or depth.in_flight:
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = polled_at
        return polled_at - self._quiet_since >= self._visibility_s


class Receiver:
    """Keeps the hand filled."""

    def __init__(
        self,
        assignment: Assignment,
        queue: Queue,
        hand: Hand,
        held: Held,
        settling: Settling,
        committer: Committer,
        leaving: Leaving,
        *,
        retry: Retry,
        closing: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assignment = assignment
        self._queue = queue
        self._hand = hand
        self._held = held
        self._settling = settling
        self._committer = committer
        self._leaving = leaving
        self._retry = retry
        self._closing = closing
        self._clock = clock

    def run(self) -> None:
        """The receiver's thread: returns when the worker may leave, or is `closing`.

        Raises Unreachable when the queue has been out of reach for too long.
        """
        empty_polls = 0
        while not self._closing.is_set() and not self._leaving.complete():
            self._give_back(self._hand.surplus())
            if self._committer.behind:
                self._closing.wait(_PAUSE_S)
                continue
            room = self._hand.room(POLL_S)
            if not room:
                continue
            # The last of the empty polls is a long one, begun with nothing in hand and all messages deleted: what slots sent again can
            # be received then. The polls before it don't wait, they would only delay it.
            last = empty_polls > 0 and len(self._hand) == 0 and self._committer.flush(POLL_S)
            polled_at = self._clock()
            deliveries = self._receive(room, POLL_S if last else 0.0)
            if deliveries:
                empty_polls = 0
                self._leaving.received()
                self._accept(deliveries)
                continue
            empty_polls += 1
            if not last:
                self._hand.wait_until_empty(POLL_S)
            elif self._leaving.may_leave(self._retry(self._queue.depth), polled_at):
                return

    def _receive(self, limit: int, wait_s: float) -> list[Delivery]:
        def receive() -> list[Delivery]:
            try:
                return self._queue.receive(min(limit, MAX_ENTRIES), wait_s, self._assignment.settings.visibility_s)
            except Unreachable:
                # Perhaps only the answer was lost.
                self._leaving.in_doubt(self._clock())
                raise

        return self._retry(receive)

    def _give_back(self, batches: Sequence[Batch]) -> None:
        if not self._held.give_back([batch.delivery for batch in batches]):
            self._leaving.in_doubt(self._clock())

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        self._held.add(deliveries)
        batches = []
        for delivery in deliveries:
            found = decode(delivery, self._assignment.records.job, self._assignment.total)
            if isinstance(found, Batch):
                batches.append(found)
            else:
                self._settling.undecodable(found)
        if not self._hand.put(batches):
            self._give_back(batches)
