"""The scheduler of a namespace: gives its job deployments' calls their turn, and sees them to their end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import BoundedSemaphore, Event, Thread
from typing import Final

from batchflow.deployments.agenda import Agenda
from batchflow.deployments.attempts import Attempts
from batchflow.deployments.lease import LENGTH_S, Lease
from batchflow.deployments.retention import Retention
from batchflow.deployments.starting import Starter
from batchflow.deployments.visiting import Visitor
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Engine
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.store.deployments import JobDeployments
from batchflow.store.protocol import Store

__all__ = ["Scheduler"]

BUSY_PAUSE_S: Final = 1.0  # between two visits of a deployment where anything runs or waits
IDLE_PAUSE_S: Final = 5.0
LEAST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0  # while nothing can be done at all
EXPIRE_EVERY_S: Final = 10.0
REMOVE_EVERY_S: Final = 10.0
REMOVE_OLD_EVERY_S: Final = 600.0
REMOVE_OLD_FOR_S: Final = 10.0
_STOPS_WITHIN_S: Final = 0.5
_THREADS: Final = 16  # deployments at a time: almost all of a visit is waiting for answers
_LAST_WORK_S: Final = 5.0


class Scheduler:
    """Every gateway has one for each namespace; they agree which one leads, but nothing goes wrong if several do.

    `settings` are those to compile with; `rules` gives the installation's that are in force; `clock` Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        settings: Settings,
        rules: Callable[[], Rules],
        *,
        lease_s: float = LENGTH_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._all = JobDeployments(store)
        self._lease = Lease(store, length_s=lease_s)
        self._longest_turn_s = min(IDLE_PAUSE_S, self._lease.renewal_s)
        self._leads = False

        def visitor(name: str) -> Visitor:
            starter, watcher = Starter(engine, settings, rules, clock), Watcher(engine, clock, partial(self.wake, name))
            return Visitor(name, self._all.find, starter, watcher)

        self._new_visitor = visitor
        self._visitors: dict[str, Visitor] = {}
        self._agenda = Agenda()
        self._listed_at = float("-inf")
        self._attempts, self._attempts_to_expire, self._attempts_to_remove = Attempts(), Attempts(), Attempts()
        self._retention = Retention(self._all, engine, clock)
        self._over: set[str] = set()  # deployments that were deleted, and of which nothing runs any more, as the last visits found
        self._has_old: deque[str] = deque()  # deployments that may have calls to be removed, as long as there was no time for them
        self._awake, self._to_remove, self._ended = Event(), Event(), Event()
        self._threads = BoundedSemaphore(_THREADS)

    def wake(self, name: str) -> None:
        """There may be something to do of that deployment. Any thread may say so."""
        self._agenda.soon(name)
        self._awake.set()

    def run(self, stop: Event) -> None:
        """Work whenever it leads, until `stop` is set; raises nothing: what fails is logged, and tried again."""
        # Each has a thread of its own, so that no call waits for what may take long. Daemons: all that they do can be cut off.
        cleaning = [Thread(target=work, daemon=True) for work in (self._drop_expired_all_along, self._remove_all_along)]
        try:
            for thread in cleaning:
                thread.start()  # which may fail
            failed_pause_s = BUSY_PAUSE_S
            while not stop.is_set():
                self._awake.clear()
                pause_s = self._attempts.made("", self._turn)
                failed_pause_s = BUSY_PAUSE_S if pause_s is not None else min(2 * failed_pause_s, LONGEST_PAUSE_S)
                _pause(stop, self._awake, least_s=LEAST_PAUSE_S, most_s=failed_pause_s if pause_s is None else pause_s)
        finally:
            self._leads = False
            self._ended.set()
        self._attempts.made("", self._lease.release)  # first: what is under way may take long, and does no harm beside another's work
        deadline = time.monotonic() + _LAST_WORK_S
        for thread in cleaning:
            thread.join(max(0.0, deadline - time.monotonic()))
        for _ in range(_THREADS):
            self._threads.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def visit(self, name: str) -> float:
        """See to what is due of a deployment, in one thread at a time; returns after how many seconds that is to be done again."""
        started = time.monotonic()
        visitor = self._visitors.get(name) or self._visitors.setdefault(name, self._new_visitor(name))
        visit = visitor.visit()
        if visit and visit.is_over:
            self._over.add(name)
            self._to_remove.set()
        # One that failed is no reason to look less often. A visit that takes long makes a longer pause, so that others have their turn.
        pause_s = BUSY_PAUSE_S if visit is None or visit.is_busy else IDLE_PAUSE_S
        return min(max(pause_s, time.monotonic() - started), IDLE_PAUSE_S)

    def _turn(self) -> float:
        """Have visited what is due, if this scheduler leads, and wait for none of it; returns in how many seconds to look again."""
        if time.monotonic() - self._listed_at >= IDLE_PAUSE_S:
            self._list()
        led, self._leads = self._leads, not self._agenda.is_empty and self._lease.held()
        if not self._leads:
            return self._longest_turn_s
        if not led:
            self._visitors = {}  # another has led meanwhile: what they remember may not be so any more
        for _ in range(self._agenda.due()):
            if not self._threads.acquire(blocking=False):
                break
            try:
                Thread(target=self._visit_due, name="visits", daemon=True).start()
            except RuntimeError:  # the system has no more
                self._threads.release()
                raise
        return self._agenda.next_s(self._longest_turn_s)

    def _list(self) -> None:
        names = set(self._all.names())
        self._agenda.set_names(names)
        for name in list(self._visitors):
            if name not in names:
                del self._visitors[name]
        self._listed_at = time.monotonic()

    def _visit_due(self) -> None:
        try:
            while self._leads and (name := self._agenda.take()) is not None:
                pause_s = IDLE_PAUSE_S
                try:
                    pause_s = self.visit(name)
                finally:
                    self._agenda.visited(name, pause_s)
        finally:
            self._threads.release()
            self._awake.set()  # to see when the next one is due

    def _drop_expired_all_along(self) -> None:
        while not self._ended.is_set():
            if self._leads:
                self._attempts_to_expire.made("", self.drop_expired)
            self._ended.wait(EXPIRE_EVERY_S)

    def drop_expired(self) -> None:
        """Complete the calls that waited too long, of every deployment."""
        for name in self._all.names():
            self._attempts_to_expire.made(name, partial(self._retention.drop_expired, name))

    def _remove_all_along(self) -> None:
        removed_old_at = float("-inf")
        while not self._ended.is_set():
            self._to_remove.clear()
            started = time.monotonic()
            old = started - removed_old_at >= REMOVE_OLD_EVERY_S
            if self._leads:
                self._attempts_to_remove.made("", partial(self.remove, old=old))
                removed_old_at = started if old else removed_old_at
            _pause(self._ended, self._to_remove, least_s=max(LEAST_PAUSE_S, time.monotonic() - started), most_s=REMOVE_EVERY_S)

    def remove(self, *, old: bool) -> None:
        """Remove what is not kept any longer: see `Retention`. Deployments that were deleted come first, since their names are waited for.

        For old calls there is a bounded time; `old`: begin anew, else go on.
        """
        names = list(self._all.names()) if old else []
        over, self._over = self._over, set()
        for name in names or sorted(over):  # one that fails is visited again, and found to be over again
            self._attempts_to_remove.made(name, partial(self._retention.forget_deleted, name))
        until = time.monotonic() + REMOVE_OLD_FOR_S
        if old:
            self._retention.keep_only(names)
            self._has_old = deque(dict.fromkeys([*self._has_old, *names]))
        for _ in range(len(self._has_old)):
            if time.monotonic() >= until:
                break
            name = self._has_old.popleft()
            if self._attempts_to_remove.made(f"old calls of {name}", partial(self._retention.remove_old, name, until)):
                self._has_old.append(name)


def _pause(stop: Event, awake: Event, *, least_s: float, most_s: float) -> None:
    """Return when `awake` is set, but not before `least_s`; at `most_s` at the latest, and soon after `stop` is set."""
    if stop.wait(least_s):
        return
    deadline = time.monotonic() + most_s - least_s
    while not stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
        if awake.wait(min(left_s, _STOPS_WITHIN_S)):
            return
