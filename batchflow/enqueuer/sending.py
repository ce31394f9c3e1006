"""Sends batches with several SendMessageBatch calls in flight, and knows up to where all of them are in the queue."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from batchflow.enqueuer.batching import Batch, Position
from batchflow.enqueuer.retry import Backoff
from batchflow.errors import InvalidInput, Unreachable
from batchflow.queues.limits import size_bytes
from batchflow.queues.protocol import MAX_ENTRIES, Queue, Refused
from batchflow.records import JobRef, Message, batch_message
from batchflow.spec.model import MAX_BATCH_BYTES

__all__ = ["SENDERS", "Confirmed", "Sender"]

SENDERS: Final = 8
# SQS quota "message size", for all messages of a call together, as it was until August 2025 and still is on many servers.
CALL_BYTES: Final = MAX_BATCH_BYTES
_WAITING_CALLS: Final = 2 * SENDERS  # bounds the memory: each is at most CALL_BYTES
_TICK_S: Final = 0.2
_LEAVE_S: Final = 5.0  # how long a call in flight is waited for when the sender is closed early

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Every batch below `next_index` is in the queue; `position` is where the next one begins."""

    next_index: int
    position: Position


@dataclass(slots=True)
class _Call:
    messages: list[Message] = field(default_factory=list)
    size_bytes: int = 0
    end: Confirmed | None = None  # once all of it and of the calls before are sent
    sent: bool = False


class Sender:
    """Threads that send what `send` is given. Use as a context; `finish` before leaving it, or calls may stay unsent."""

    def __init__(self, job: JobRef, to: Queue, start: Confirmed, *, retry_s: float, tick: Callable[[], None], threads: int = SENDERS) -> None:
        """`tick` is called at least every 0.2 s while `send` or `finish` waits; what it raises ends the waiting."""
        self._job = job
        self._queue = to
        self._retry_s = retry_s
        self._tick = tick
        self._open = _Call()
        self._calls: queue.Queue[_Call | None] = queue.Queue(_WAITING_CALLS)
        self._unconfirmed: deque[_Call] = deque()  # in the order of their batches
        self._confirmed = start
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=self._run, name=f"send-{n}", daemon=True) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        give_up = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    @property
    def confirmed(self) -> Confirmed:
        with self._lock:
            return self._confirmed

    def send(self, batch: Batch) -> None:
        """Take a batch, the next one in order; waits while there is too much to do.

        Raises Unreachable if the queue did not answer for `retry_s`, and InvalidInput naming a batch that it refuses for good.
        """
        message = batch_message(self._job, batch.index, 1, batch.body)
        size = size_bytes(message)
        if self._open.messages and self._open.size_bytes + size > CALL_BYTES:
            self._submit()
        self._open.messages.append(message)
        self._open.size_bytes += size
        self._open.end = Confirmed(batch.index + 1, batch.end)
        if len(self._open.messages) == MAX_ENTRIES:
            self._submit()

    def skip(self, batch: Batch) -> None:
        """Count a batch, the next one in order, as confirmed with the ones before it."""
        if self._open.messages:
            self._open.end = Confirmed(batch.index + 1, batch.end)
            return
        with self._lock:
            if self._unconfirmed:
                self._unconfirmed[-1].end = Confirmed(batch.index + 1, batch.end)
            else:
                self._confirmed = Confirmed(batch.index + 1, batch.end)

    def finish(self) -> None:
        """Return when everything is in the queue; raises as `send`."""
        if self._open.messages:
            self._submit()
        while not self._all_sent():
            self._wait()

    def _submit(self) -> None:
        call, self._open = self._open, _Call()
        with self._lock:
            self._unconfirmed.append(call)
        while True:
            try:
                return self._calls.put(call, timeout=_TICK_S)
            except queue.Full:
                self._check()

    def _wait(self) -> None: ...

    def _run(self) -> None: ...
