"""When each deployment is visited next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from threading import Lock

__all__ = ["Agenda"]

_SOON = float("-inf")
_BEING_VISITED = float("inf")


class Agenda:
    """So that one with much to do holds up no other, and idle ones, as most are, cost little. Any thread may use it.

    A deployment is visited by one thread at a time: from when `due` names it until `visited` is called. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._due_at: dict[str, float] = {}
        self._being_visited: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could be visited."""
        return not self._due_at

    def set_names(self, names: Collection[str]) -> None:
        """All that there were a moment ago. A new one is due at once; one that was put on `soon` meanwhile stays."""
        with self._lock:
            kept = {name: at for name, at in self._due_at.items() if at == _SOON or name in names}
            self._due_at = {name: _SOON for name in names} | kept

    def soon(self, name: str) -> None:
        """Have it visited as soon as may be; if that is being done, once more."""
        with self._lock:
            self._due_at[name] = _SOON

    def due(self) -> Iterator[str]:
        """Those to be visited now, the longest overdue first."""
        now = self._clock()
        with self._lock:
            due = sorted((at, name) for name, at in self._due_at.items() if at <= now and name not in self._being_visited)
        for _, name in due:
            with self._lock:
                self._due_at[name] = _BEING_VISITED
                self._being_visited.add(name)
            yield name

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
