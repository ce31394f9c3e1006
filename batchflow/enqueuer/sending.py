"""Sends batches with several SendMessageBatch calls in flight, and knows up to where all of them are in the queue."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from batchflow.enqueuer.batching import Batch, Position
from batchflow.errors import InvalidInput, Unreachable
from batchflow.queues.limits import size_bytes
from batchflow.queues.protocol import MAX_ENTRIES, Queue, Refused
from batchflow.records import JobRef, Message, batch_message
from batchflow.retry import Backoff
from batchflow.spec.model import MAX_BATCH_BYTES

__all__ = ["SENDERS", "Confirmed", "Sender"]

SENDERS: Final = 10
# SQS quota "message size", for all messages of a call together, as it was until August 2025 and still is on many servers.
CALL_BYTES: Final = MAX_BATCH_BYTES
# A call that has to wait holds up the confirmation of all after it: so many a thread may be ahead of it, then sending waits too.
UNCONFIRMED_PER_THREAD: Final = 8
_TICK_S: Final = 0.2
_LEAVE_S: Final = 5.0  # how long a call in flight is waited for when the sender is closed early


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Every batch below `next_index` is in the queue; `position` is where the next one begins."""

    next_index: int
    position: Position


@dataclass(slots=True)
class _Call:
    """Messages that are sent together; once they are sent they are dropped, and what stays is where they end."""

    messages: list[Message] = field(default_factory=list)
    size_bytes: int = 0
    end: Confirmed = field(default_factory=lambda: Confirmed(0, Position()))  # once this and all calls before are sent
    sent: bool = False


class Sender:
    """Threads that send what `send` is given. Use as a context; `finish` before leaving it, or calls may stay unsent."""

    def __init__(
        self, job: JobRef, to: Queue, start: Confirmed, *, retry_s: float, tick: Callable[[], None], threads: int = SENDERS
    ) -> None:
        """`tick` is called at least every 0.2 s while `send` or `finish` waits; what it raises ends the waiting."""
        self._job = job
        self._queue = to
        self._retry_s = retry_s
        self._tick = tick
        self._open = _Call()
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        # In the order of their batches. Their number bounds the memory: a call is at most CALL_BYTES.
        self._unconfirmed: deque[_Call] = deque()
        self._most_unconfirmed = UNCONFIRMED_PER_THREAD * threads
        self._confirmed = start
        self._changed = threading.Condition()  # guards what is unconfirmed and confirmed
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=self._run, name=f"send-{n}", daemon=True) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        with suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        give_up = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    @property
    def confirmed(self) -> Confirmed:
        with self._changed:
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
        with self._changed:
            if self._unconfirmed:
                self._unconfirmed[-1].end = Confirmed(batch.index + 1, batch.end)
            else:
                self._confirmed = Confirmed(batch.index + 1, batch.end)

    def finish(self) -> None:
        """Return when everything is in the queue; raises as `send`."""
        if self._open.messages:
            self._submit()
        self._wait_until_unconfirmed(0)

    def _submit(self) -> None:
        self._wait_until_unconfirmed(self._most_unconfirmed - 1)
        call, self._open = self._open, _Call()
        with self._changed:
            self._unconfirmed.append(call)
        self._calls.put(call)
        self._check()

    def _wait_until_unconfirmed(self, most: int) -> None:
        """Return when at most so many calls are unconfirmed."""
        while True:
            with self._changed:
                if len(self._unconfirmed) <= most:
                    return
                self._changed.wait(_TICK_S)
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        self._tick()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._deliver(call)
            except Exception as error:  # raised again where the job is enqueued
                self._error = self._error or error
                return
            self._confirm(call)

    def _deliver(self, call: _Call) -> None:
        backoff = Backoff(self._retry_s, self._closed)
        messages = call.messages
        while messages:
            try:
                refused = self._queue.send(messages)
            except Unreachable as error:
                backoff.wait(error)
                continue
            if len(refused) < len(messages):
                backoff.succeeded()
            messages = [entry.message for entry in refused]
            if refused:
                backoff.wait(self._refusal(refused))

    def _refusal(self, refused: list[Refused]) -> Unreachable:
        """What to wait for; raises if waiting can't help."""
        worst = max(refused, key=lambda entry: entry.permanent)
        what = f"the queue does not take batch {worst.message.attributes['batch_index']}: {worst.reason}"
        if worst.permanent:
            raise InvalidInput(what, where=self._queue.url)
        return Unreachable(what, where=self._queue.url)

    def _confirm(self, call: _Call) -> None:
        with self._changed:
            call.sent = True
            call.messages = []
            while self._unconfirmed and self._unconfirmed[0].sent:
                self._confirmed = self._unconfirmed.popleft().end
            self._changed.notify_all()
