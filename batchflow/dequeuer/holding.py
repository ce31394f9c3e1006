"""What a worker has in hand: deliveries that wait for the handler or are in it, and how many of them there should be."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Lock
from typing import Final

from batchflow.dequeuer.attempts import Batch
from batchflow.queues.protocol import MAX_ENTRIES

__all__ = ["Hand", "target"]

HOLD_S: Final = 2.0
# Two receives' worth: while the handler is at the first ten, the next ten are fetched.
MAX_HELD: Final = 2 * MAX_ENTRIES
# Weight of the newest batch in the measured speed: a few batches are enough to follow a change.
_NEWEST: Final = 0.3


def target(seconds: float | None, slots: int) -> int:
    """How many batches to hold if one takes `seconds` (None: not known yet) and the handler takes `slots` of them at a time.

    One for each slot, and beyond that what is finished in 2 s, at most 20: ten slow batches spread over ten workers.
    """
    if seconds is None:
        return slots
    finished = int(min(HOLD_S * slots / max(seconds, 1e-9), MAX_HELD))
    return max(slots, finished)


class Hand:
    """The batches in hand, shared by the receiver (`room`, `put`, `surplus`) and the slots (`take`, `finish`).

    A suspect batch is handled alone: no other is in the handler then, so only the culprit collects start marks.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._clock = clock
        # One lock, two reasons to wait: a finished batch need not wake the receiver each time.
        self._lock = Lock()
        self._for_slots = Condition(self._lock)
        self._for_receiver = Condition(self._lock)
        self._waiting: deque[Batch] = deque()
        self._suspects: deque[Batch] = deque()
        self._running: dict[str, tuple[Batch, float]] = {}  # by receipt, with the start
        self._alone = False
        self._closed = False
        self._seconds: float | None = None

    def __len__(self) -> int:
        with self._lock:
            return self._count()

    def room(self, timeout_s: float) -> int:
        """How many to receive now; waits for up to `timeout_s` until there is room, then returns 0."""
        with self._lock:
            self._for_receiver.wait_for(lambda: self._closed or self._room(), timeout_s)
            return self._room()

    def _room(self) -> int:
        if self._closed or self._suspects or self._alone:
            return 0
        hold, held = target(self._speed(), self._slots), self._count()
        # Not before half of them are done, so that receives are not of one message each.
        return hold - held if held < self._slots or held <= hold // 2 else 0

    def put(self, batches: Sequence[Batch]) -> bool:
        """Add what was received; False if the hand is closed, and then they are not in it."""
        with self._lock:
            if self._closed:
                return False
            for batch in batches:
                (self._suspects if batch.suspect else self._waiting).append(batch)
            self._for_slots.notify_all()
            return True

    def take(self) -> Batch | None:
        """The next batch for a slot, which must `finish` it; waits for one. None: the hand is closed."""
        with self._lock:
            while not self._closed:
                if self._waiting and not self._alone:
                    return self._start(self._waiting.popleft())
                if self._suspects and not self._running:
                    self._alone = True
                    return self._start(self._suspects.popleft())
                self._for_slots.wait()
            return None

    def finish(self, batch: Batch, seconds: float | None) -> None:
        """A slot is through with its batch, which took `seconds` (None: that says nothing about the speed)."""
        with self._lock:
            self._running.pop(batch.delivery.receipt, None)
            self._alone = False
            if seconds is not None:
                self._seconds = seconds if self._seconds is None else self._seconds + _NEWEST * (seconds - self._seconds)
            if self._room() or not self._count():
                self._for_receiver.notify_all()
            if self._suspects or self._waiting:
                self._for_slots.notify_all()

    def surplus(self) -> list[Batch]:
        """Takes out what waits behind a batch that lasts longer than was to be expected: other workers may be idle."""
        with self._lock:
            if self._oldest_s() <= HOLD_S:
                return []
            taken = [*self._waiting, *self._suspects][max(0, self._slots - len(self._running)) :]
            for batch in taken:
                (self._suspects if batch.suspect else self._waiting).remove(batch)
            return taken

    def close(self) -> list[Batch]:
        """Nothing is taken any more; returns what no slot has begun."""
        with self._lock:
            self._closed = True
            left = [*self._waiting, *self._suspects]
            self._waiting.clear()
            self._suspects.clear()
            self._for_slots.notify_all()
            self._for_receiver.notify_all()
            return left

    def wait_until_empty(self, timeout_s: float) -> bool:
        """False: some are still in the handler."""
        with self._lock:
            return self._for_receiver.wait_for(lambda: self._count() == 0, timeout_s)

    def _count(self) -> int:
        return len(self._waiting) + len(self._suspects) + len(self._running)

    def _speed(self) -> float | None:
        """Seconds a batch: as measured, or as long as the oldest one has been in the handler already."""
        oldest_s = self._oldest_s()
        if self._seconds is None:
            return oldest_s if oldest_s > HOLD_S else None
        return max(self._seconds, oldest_s)

    def _oldest_s(self) -> float:
        """For how long the oldest one has been in the handler."""
        return self._clock() - min((started for _, started in self._running.values()), default=self._clock())

    def _start(self, batch: Batch) -> Batch:
        self._running[batch.delivery.receipt] = (batch, self._clock())
        return batch
