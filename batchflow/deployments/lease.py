"""Which of several schedulers of a namespace leads. Nothing goes wrong if two do: it only spares the others the work."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import orjson

from batchflow.store.protocol import Store

__all__ = ["LENGTH_S", "Lease"]

LENGTH_S: Final = 15.0
_RENEWALS: Final = 3  # in a lease's length; others look as often
_PREFIX: Final = "scheduler/"
_DIGITS: Final = 12  # so that keys sort as their numbers


class Lease:
    """A row of records, scheduler/<n>.json, of which only the latest is kept: whoever created that has the lease. For one thread.

    Its holder adds one several times in a lease's length. Another may add one when it has seen the same latest for the whole length, by its
    own clock, or if that says that it was given back. So no clocks are compared, and the store need not tell times.
    """

    def __init__(self, store: Store, *, length_s: float = LENGTH_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._length_s = length_s
        self._clock = clock
        self._token = secrets.token_hex(8)
        self._is_held = False
        self._latest = -1  # as seen last; -1: never looked
        self._latest_since = 0.0
        self._looked = float("-inf")

    @property
    def renewal_s(self) -> float:
        """How often `held` is to be asked."""
        return self._length_s / _RENEWALS

    def held(self) -> bool:
        """Whether this process leads; to be asked again and again, which renews it. Raises Unreachable."""
        now = self._clock()
        if now - self._looked < self.renewal_s:
            return self._is_held
        if self._is_held:
            self._is_held = self._add(self._latest + 1)
        else:
            self._is_held = self._is_free(now) and self._add(self._latest + 1)
        self._looked = now
        return self._is_held

    def release(self) -> None:
        """Let another have it at once; no effect if it is not held."""
        if self._is_held:
            self._is_held = False
            if self._add(self._latest + 1):  # it may have been written before, and only the answer was lost
                self._add(self._latest + 1, released=True)

    def _is_free(self, now: float) -> bool:
        latest = self._find_latest()
        if latest != self._latest:
            is_free = latest == 0 or self._is_left_to_us(latest)
            self._latest, self._latest_since = latest, now
            return is_free
        return now - self._latest_since >= self._length_s

    def _add(self, number: int, *, released: bool = False) -> bool:
        """Whether `number` is ours, and the latest; then those before it go. It is to be tried again if it raises: it may be written."""
        data = orjson.dumps({"released": released, "token": self._token})
        # Whoever has written it before is refused, also if no answer said so then.
        if not self._store.create(_key(number), data) and self._store.get(_key(number)) != data:
            return False
        if self._find_latest() != number:  # we slept long, and others have deleted the one that would have been in our way
            self._store.delete([_key(number)])
            return False
        self._latest, self._latest_since = number, self._clock()
        self._store.delete(key for key in self._store.list(_PREFIX) if key < _key(number))
        return True

    def _find_latest(self) -> int:
        """0 if there is none."""
        return max((int(key.removeprefix(_PREFIX).removesuffix(".json")) for key in self._store.list(_PREFIX)), default=0)

    def _is_left_to_us(self, number: int) -> bool:
        """Whether its holder gave it back; or was this very one, which has heard of it only now."""
        data = self._store.get(_key(number))
        if data is None:
            return False
        record = orjson.loads(data)
        return bool(record["released"] or record["token"] == self._token)


def _key(number: int) -> str:
    return f"{_PREFIX}{number:0{_DIGITS}d}.json"
