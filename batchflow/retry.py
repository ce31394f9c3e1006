"""How long a step tries a service again that does not answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from batchflow.errors import Unreachable

__all__ = ["Backoff", "Retry", "retried"]

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Backoff:
    """Pauses between tries, doubling, with jitter; it gives up `retry_s` after the first failure, or when `stop` is set."""

    def __init__(self, retry_s: float, stop: threading.Event) -> None:
        self._retry_s = retry_s
        self._stop = stop
        self.succeeded()

    def succeeded(self) -> None:
        """Something worked: the next failure is a first one."""
        self._since: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def wait(self, error: Unreachable) -> None:
        """Return when it is time for the next try; raises `error` if there is none."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left_s = self._since + self._retry_s - now
        pause_s = min(self._pause_s * random.uniform(0.5, 1), left_s)
        if left_s <= 0 or self._stop.wait(pause_s):
            raise error
        _log.warning("trying again", extra={"error": str(error), "gives_up_in_s": round(left_s - pause_s)})
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def retried(call: Callable[[], _Result], backoff: Backoff) -> _Result:
    """What `call` returns, once nothing in it is Unreachable any more."""
    while True:
        try:
            result = call()
        except Unreachable as error:
            backoff.wait(error)
        else:
            backoff.succeeded()
            return result


class Retry:
    """`retried` with a new Backoff for each call, so that threads can share it."""

    def __init__(self, retry_s: float, stop: threading.Event) -> None:
        self._retry_s = retry_s
        self._stop = stop

    def __call__(self, call: Callable[[], _Result]) -> _Result:
        return retried(call, Backoff(self._retry_s, self._stop))
