"""What this worker holds, from its receipt until it is deleted or given back, and the heartbeat that keeps it hidden."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock
from typing import Final

from batchflow.errors import BatchflowError
from batchflow.queues.protocol import MAX_ENTRIES, Delivery, Queue

__all__ = ["Held"]

_log = logging.getLogger(__name__)

# How much of a beat to wait after one that did not get through: ten more fit into the visibility timeout.
_AGAIN: Final = 0.2


class Held:
    """Hides what is held from other workers: `visibility_s` from its receipt, then again and again.

    A heartbeat that does not get through (throttled, say; SQS also refuses it 12 hours after the receipt) is repeated soon; should the
    delivery become visible nevertheless, the batch is handled twice, and accounting counts it once.
    """

    def __init__(self, queue: Queue, *, visibility_s: int, heartbeat_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._visibility_s = visibility_s
        # Whatever was set: a delivery must see two beats before it becomes visible.
        self._heartbeat_s = min(heartbeat_s, visibility_s / 3)
        self._clock = clock
        self._hidden_at: dict[str, tuple[Delivery, float]] = {}  # by receipt
        self._lock = Lock()
        # Whoever extends has this one, so that giving back can't be undone by an extension that was under way.
        self._extending = Lock()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        now = self._clock()
        with self._lock:
            self._hidden_at.update((d.receipt, (d, now)) for d in deliveries)

    def deleted(self, deliveries: Iterable[Delivery]) -> None:
        with self._lock:
            for delivery in deliveries:
                self._hidden_at.pop(delivery.receipt, None)

    def give_back(self, deliveries: Iterable[Delivery]) -> bool:
        """Make them visible to others at once, as far as they are still held; False if the queue is out of reach: then time will."""
        with self._lock:
            given = [d for d in deliveries if self._hidden_at.pop(d.receipt, None)]
        if not given:
            return True
        _log.info("gives back", extra={"batches": len(given)})
        try:
            with self._extending:
                self._queue.extend(given, 0)
        except BatchflowError as error:
            _log.warning("could not give back, others will get them when their visibility ends", extra={"error": str(error)})
            return False
        return True

    def give_back_all(self) -> None:
        with self._lock:
            rest = [delivery for delivery, _ in self._hidden_at.values()]
        self.give_back(rest)

    def beat(self, ended: Event) -> None:
        """The heartbeat's thread: runs until `ended` is set."""
        pause_s = self._heartbeat_s
        while not ended.wait(pause_s):
            pause_s = self._heartbeat_s if self.extend_due() else self._heartbeat_s * _AGAIN

    def extend_due(self) -> bool:
        """Extend what has been hidden for half a beat or more; most deliveries are deleted before. False if some could not be."""
        now = self._clock()
        with self._lock:
            due = [d.receipt for d, hidden_at in self._hidden_at.values() if now - hidden_at >= self._heartbeat_s / 2]
        # In small calls: one that fails does not keep the others from being extended, and giving back waits for one call at most.
        extended = [self._extend(due[start : start + MAX_ENTRIES]) for start in range(0, len(due), MAX_ENTRIES)]
        return all(extended)

    def _extend(self, receipts: Sequence[str]) -> bool:
        with self._extending:
            now = self._clock()
            with self._lock:
                held = [self._hidden_at[receipt][0] for receipt in receipts if receipt in self._hidden_at]
            if not held:
                return True
            try:
                self._queue.extend(held, self._visibility_s)
            except BatchflowError as error:
                _log.warning("could not extend the visibility", extra={"batches": len(held), "error": str(error)})
                return False
            with self._lock:
                self._hidden_at.update((d.receipt, (d, now)) for d in held if d.receipt in self._hidden_at)
            return True
