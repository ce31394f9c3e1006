"""Trying again: every step bears a store, queue or handler that does not answer for a while."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

from batchflow.errors import Unreachable

__all__ = ["Retry"]

log = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 0.2
MAX_DELAY_S: Final = 10.0

T = TypeVar("T")


class Retry:
    """Repeats a call that raises Unreachable, with a growing, random delay, for `for_s` seconds; then lets the error through.

    Once `abandon` is set the next failure is let through at once, and a delay that is under way ends.
    """

    def __init__(self, for_s: float, abandon: Event) -> None:
        self.for_s = for_s
        self._abandon = abandon

    def __call__(self, call: Callable[[], T]) -> T:
        give_up = time.monotonic() + self.for_s
        delay_s = FIRST_DELAY_S
        while True:
            try:
                return call()
            except Unreachable as error:
                left_s = give_up - time.monotonic()
                if left_s <= 0 or self._abandon.is_set():
                    raise
                log.warning("out of reach, trying again", extra={"error": str(error), "for_another_s": round(left_s)})
                # Half of the delay is random, so that workers that failed together don't come back together.
                if self._abandon.wait(min(left_s, delay_s * random.uniform(0.5, 1.0))):
                    raise
                delay_s = min(delay_s * 2, MAX_DELAY_S)
