"""The threads that run the user's code. The main thread is the first of them, since libraries that use signals or asyncio prefer it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Generic, TypeVar

__all__ = ["Call", "Executor"]


T = TypeVar("T")


class Call(Generic[T]):
    """One call of a function that does not raise. After `wait` said True, `result` is what it returned; None if it was dropped."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.result: T | None = None
        self._function = function
        self._thread = 0
        self._started_s = 0.0
        self._ended = threading.Lock()  # held until it has ended; cheaper than an Event, and there is one for every batch
        self._ended.acquire()

    def run(self) -> None:
        self._thread = threading.get_ident()
        self._started_s = time.monotonic()
        try:
            self.result = self._function()
        finally:
            self._ended.release()

    def drop(self) -> None:
        """Never run it."""
        self._ended.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended, once; False if it has been running for `timeout_s`. Waiting for its turn does not count."""
        left_s = timeout_s
        while not self._ended.acquire(timeout=left_s):
            left_s = self._started_s + timeout_s - time.monotonic() if self._started_s else timeout_s
            if left_s <= 0:
                return False
        return True

    def frame(self) -> FrameType | None:
        """Where it is now, while it runs."""
        return sys._current_frames().get(self._thread)


class Executor:
    """Runs calls in the order given, at most `concurrency` at a time, until it is stopped."""

    def __init__(self, concurrency: int) -> None:
        self._queue: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._concurrency = concurrency
        self._lock = threading.RLock()  # a signal handler that stops may interrupt another one
        self._stopped = False

    def submit(self, call: Call[Any]) -> bool:
        """False, and the call is never run, once `stop` was called."""
        with self._lock:
            if not self._stopped:
                self._queue.put(call)
            return not self._stopped

    def stop(self, *, drop_waiting: bool = False) -> None:
        """Take no more calls; those taken are run, or dropped if they have not begun. May be called by a signal handler, and again."""
        with self._lock:
            self._stopped = True
            with suppress(Empty):
                while drop_waiting:
                    waiting = self._queue.get_nowait()
                    if waiting:
                        waiting.drop()
            for _ in range(self._concurrency):
                self._queue.put(None)

    def run(self) -> None:
        """Run calls here, and in as many further threads as it takes, until all that were taken have ended."""
        others: list[threading.Thread] = []
        for number in range(1, self._concurrency):
            others.append(threading.Thread(target=self._run_one_by_one, name=f"batch-{number}", daemon=True))
            others[-1].start()
        self._run_one_by_one()
        for thread in others:
            thread.join()

    def _run_one_by_one(self) -> None:
        while True:
            call = self._queue.get()
            if call is None:
                return
            call.run()
