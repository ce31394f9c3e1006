"""When each deployment is visited next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from threading import Lock

__all__ = ["Agenda"]

_SOON = float("-inf")
_BEING_VISITED = float("inf")


class Agenda:
    """So that one with much to do holds up no other, and idle ones, as most are, cost little. Any thread may use it.

    A deployment is visited by one thread at a time: from when `take` names it until `visited` is called. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._due_at: dict[str, float] = {}
        self._being_visited: set[str] = set()
        self._put_on: set[str] = set()  # by `soon`, since the names were listed last

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could be visited."""
        return not self._due_at

    def set_names(self, names: Collection[str]) -> None:
        """All that there were a moment ago. A new one is due at once; one that was put on it by `soon` meanwhile stays."""
        with self._lock:
            kept = {name: at for name, at in self._due_at.items() if name in self._put_on or name in names}
            self._due_at = {name: _SOON for name in names} | kept
            self._put_on.clear()

    def soon(self, name: str) -> None:
        """Have it visited as soon as may be; if that is being done, once more."""
        with self._lock:
            self._due_at[name] = _SOON
            self._put_on.add(name)

    def due(self) -> int:
        """How many are to be visited now."""
        with self._lock:
            return len(self._due())

    def take(self) -> str | None:
        """The one to be visited now that is overdue the longest; None if none is."""
        with self._lock:
            _, name = min(self._due(), default=(0.0, None))
            if name is not None:
                self._due_at[name] = _BEING_VISITED
                self._being_visited.add(name)
            return name

    def _due(self) -> list[tuple[float, str]]:
        now = self._clock()
        return [(at, name) for name, at in self._due_at.items() if at <= now and name not in self._being_visited]

    def visited(self, name: str, pause_s: float) -> None:
        """It is due again after that time, if not sooner, and if it is still there."""
        with self._lock:
            self._being_visited.discard(name)
            if name in self._due_at:
                self._due_at[name] = min(self._due_at[name], self._clock() + pause_s)

    def next_s(self, most_s: float) -> float:
        """In how many seconds one will be due; `most_s` if none is."""
        with self._lock:
            waiting = (at for name, at in self._due_at.items() if name not in self._being_visited)
            return max(0.0, min(min(waiting, default=_BEING_VISITED) - self._clock(), most_s))
