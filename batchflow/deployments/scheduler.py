"""The scheduler of a namespace: gives its job deployments' calls their turn, and sees them to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event, Thread
from typing import Final

from batchflow.callrecords import CallRef
from batchflow.deployments.attempts import Attempts
from batchflow.deployments.lease import LENGTH_S, Lease
from batchflow.deployments.retention import Retention
from batchflow.deployments.starting import Starter
from batchflow.deployments.visiting import Visit, Visitor
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Engine
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.store.calls import JobDeployments
from batchflow.store.protocol import Store

__all__ = ["Scheduler"]

BUSY_PAUSE_S: Final = 1.0  # while anything runs or waits
IDLE_PAUSE_S: Final = 5.0
LEAST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0  # while nothing can be done at all
EXPIRE_EVERY_S: Final = 10.0
REMOVE_EVERY_S: Final = 10.0
REMOVE_OLD_EVERY_S: Final = 600.0
REMOVE_OLD_FOR_S: Final = 10.0
_STOPS_WITHIN_S: Final = 0.5
_ASKS_EVERY_S: Final = 0.5  # whether it still leads, while deployments are visited
_THREADS: Final = 16  # deployments at a time: almost all of a visit is waiting for answers
_LAST_CLEANING_S: Final = 5.0


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
        self._leads = False
        self._attempts, self._attempts_to_expire, self._attempts_to_remove = Attempts(), Attempts(), Attempts()
        self._starter = Starter(engine, settings, rules, clock)
        self._watcher = Watcher(engine, clock, self.wake)
        self._visitor = Visitor(self._starter, self._watcher, self._attempts)
        self._retention = Retention(self._all, engine, clock)
        self._has_more: set[str] = set()  # deployments with calls to be removed that there was no time for
        self._awake, self._to_remove = Event(), Event()

    def wake(self) -> None:
        """There may be something to do. Any thread may say so."""
        self._awake.set()

    def run(self, stop: Event) -> None:
        """Work whenever it leads, until `stop` is set; raises nothing: what fails is logged, and tried again."""
        # Each has a thread of its own, so that no call waits for what may take long. Daemons: all that they do can be cut off.
        cleaning = [Thread(target=work, args=(stop,), daemon=True) for work in (self._drop_expired_all_along, self._remove_all_along)]
        for thread in cleaning:
            thread.start()
        pause_s = BUSY_PAUSE_S
        while not stop.is_set():
            self._awake.clear()
            started = time.monotonic()
            match self._attempts.made("", partial(self._turn, stop)):
                case None:
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                case is_busy:
                    pause_s = BUSY_PAUSE_S if is_busy else IDLE_PAUSE_S
            # As long as that took, so that half of the time is others'; but the lease must be renewed.
            least_s = min(max(LEAST_PAUSE_S, time.monotonic() - started), IDLE_PAUSE_S)
            _pause(stop, self._awake, least_s=least_s, most_s=pause_s)
        deadline = time.monotonic() + _LAST_CLEANING_S
        for thread in cleaning:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._attempts.made("", self._lease.release)

    def tick(self, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Visit every deployment once; whether there is something to be seen to soon.

        `goes_on` is asked again and again meanwhile; once it is false, no further deployment is visited.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            visits = {name: pool.submit(self._attempts.made, name, partial(self._visit, name)) for name in self._all.names()}
            try:
                left: Collection[Future[Visit | None]] = list(visits.values())
                while left and goes_on():
                    left = wait(left, timeout=_ASKS_EVERY_S).not_done
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        found = {name: None if visit.cancelled() else visit.result() for name, visit in visits.items()}
        self._forget_gone(found)
        # One that failed is no reason to look less often.
        return any(visit is None or visit.is_busy for visit in found.values())

    def clean(self) -> None:
        """Remove from every deployment what is not kept any longer: see `Retention`."""
        self._drop_expired()
        self._remove(old=True)

    def _turn(self, stop: Event) -> bool:
        """A tick, if this scheduler leads; as long as it does."""

        def leads() -> bool:
            self._leads = self._lease.held()
            return self._leads and not stop.is_set()

        has_any = next(self._all.names(), None) is not None
        self._leads = has_any and self._lease.held()
        return self._leads and self.tick(leads)

    def _visit(self, name: str) -> Visit:
        records = self._all.find(name)
        visit = self._visitor.visit(records) if records else Visit()
        if visit.is_over:
            self._to_remove.set()
        return visit

    def _forget_gone(self, visits: Mapping[str, Visit | None]) -> None:
        """Keep in memory only the calls that run, and all of deployments whose visit failed."""
        running = {ref for visit in visits.values() if visit for ref in visit.running}
        unknown = {name for name, visit in visits.items() if visit is None}

        def is_kept(ref: CallRef) -> bool:
            return ref in running or ref.deployment in unknown

        self._watcher.keep_only(is_kept)
        self._starter.keep_only(is_kept)

    def _drop_expired_all_along(self, stop: Event) -> None:
        while not stop.is_set():
            if self._leads:
                self._attempts_to_expire.made("", self._drop_expired)
            stop.wait(EXPIRE_EVERY_S)

    def _drop_expired(self) -> None:
        for name in self._all.names():
            self._attempts_to_expire.made(name, partial(self._retention.drop_expired, name))

    def _remove_all_along(self, stop: Event) -> None:
        removed_old_at = float("-inf")
        while not stop.is_set():
            self._to_remove.clear()
            started = time.monotonic()
            old = started - removed_old_at >= REMOVE_OLD_EVERY_S
            if self._leads:
                self._attempts_to_remove.made("", partial(self._remove, old=old))
                removed_old_at = started if old else removed_old_at
            _pause(stop, self._to_remove, least_s=max(LEAST_PAUSE_S, time.monotonic() - started), most_s=REMOVE_EVERY_S)

    def _remove(self, *, old: bool) -> None:
        """Deployments that were deleted first: their names are waited for. For old calls there is a bounded time; `old`: begin anew."""
        for name in self._all.names():
            self._attempts_to_remove.made(name, partial(self._retention.forget_deleted, name))
        until = time.monotonic() + REMOVE_OLD_FOR_S
        for name in self._all.names() if old else sorted(self._has_more):
            if self._attempts_to_remove.made(f"old calls of {name}", partial(self._retention.remove_old, name, until)):
                self._has_more.add(name)
            else:
                self._has_more.discard(name)


def _pause(stop: Event, awake: Event, *, least_s: float, most_s: float) -> None:
    """Return when `awake` is set, but not before `least_s`; at `most_s` at the latest, and soon after `stop` is set."""
    if stop.wait(least_s):
        return
    deadline = time.monotonic() + most_s - least_s
    while not stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
        if awake.wait(min(left_s, _STOPS_WITHIN_S)):
            return
