"""The scheduler of a namespace: gives its job deployments' calls their turn, and sees them to their end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Final, TypeVar

from batchflow.callrecords import CallRef
from batchflow.deployments.lease import LENGTH_S, Lease
from batchflow.deployments.retention import Retention
from batchflow.deployments.starting import Starter, Template
from batchflow.deployments.watching import Watcher
from batchflow.engines.protocol import Engine
from batchflow.errors import Unreachable
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.store.calls import DeploymentRecords, JobDeployments
from batchflow.store.protocol import Store

__all__ = ["Scheduler"]

_log = logging.getLogger(__name__)

BUSY_PAUSE_S: Final = 1.0  # while anything runs or waits
IDLE_PAUSE_S: Final = 5.0
LEAST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0  # while nothing can be done at all
CLEAN_EVERY_S: Final = 10.0
REMOVE_OLD_EVERY_S: Final = 600.0
_STOPS_WITHIN_S: Final = 0.5
_LAST_CLEANING_S: Final = 5.0

_Result = TypeVar("_Result")


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
        self._starter = Starter(engine, settings, rules, clock)
        self._watcher = Watcher(engine, clock)
        self._retention = Retention(self._all, engine, clock)
        self._attempts, self._attempts_to_clean = _Attempts(), _Attempts()
        self._awake, self._to_clean = Event(), Event()

    def wake(self) -> None:
        """There may be something to do. Any thread may say so."""
        self._awake.set()

    def run(self, stop: Event) -> None:
        """Work whenever it leads, until `stop` is set; raises nothing: what fails is logged, and tried again."""
        # A daemon: it may be deleting for long, and all that it does can be cut off.
        cleaning = Thread(target=self._clean_all_along, args=(stop,), name="retention", daemon=True)
        cleaning.start()
        pause_s = BUSY_PAUSE_S
        while not stop.is_set():
            self._awake.clear()
            started = time.monotonic()
            match self._attempts.made("", self._turn):
                case None:
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                case is_busy:
                    pause_s = BUSY_PAUSE_S if is_busy else IDLE_PAUSE_S
            _pause(stop, self._awake, least_s=max(LEAST_PAUSE_S, time.monotonic() - started), most_s=pause_s)
        cleaning.join(_LAST_CLEANING_S)
        self._attempts.made("", self._lease.release)

    def tick(self) -> bool:
        """Look after every deployment once; whether there is something to be looked after soon."""
        seen: set[CallRef] = set()
        # None, for one that failed, is no reason to look less often.
        results = [self._attempts.made(name, partial(self._look_after, name, seen)) for name in self._all.names()]
        self._watcher.keep_only(seen)
        return any(is_busy is not False for is_busy in results)

    def clean(self, *, expired: bool = True, old: bool = True) -> None:
        """Remove from every deployment what is not kept any longer: see `Retention.clean`."""
        for name in self._all.names():
            self._attempts_to_clean.made(name, partial(self._retention.clean, name, expired=expired, old=old))

    def delete(self, name: str) -> None:
        """Go on with a deletion, if that deployment is terminating: for who waits for its end, whoever leads, and where nobody does."""
        records = self._all.find(name)
        if records is not None and records.has_flag("terminating"):
            self._look_after(name, set())
            self._retention.clean(name, expired=False, old=False)

    def _turn(self) -> bool:
        has_any = next(self._all.names(), None) is not None
        self._leads = has_any and self._lease.held()
        return self._leads and self.tick()

    def _look_after(self, name: str, seen: set[CallRef]) -> bool:
        """As `tick`, of one deployment; its running calls are added to `seen`."""
        records = self._all.find(name)
        if records is None:
            return False
        running = records.running()
        is_terminating = records.has_flag("terminating")
        if is_terminating and not running:
            self._to_clean.set()
            return True
        if not running and next(records.waiting(), None) is None:
            return False
        record = records.load()
        if record is None:  # deleted in this moment
            return False
        template = Template(record, records.has_flag("paused"), is_terminating)
        for call in running:
            seen.add(records.ref(call))
            self._attempts.made(f"{name} {call}", partial(self._look_at, records, template, call, len(running)))
        if not template.is_paused and not is_terminating:
            self._starter.start_waiting(records, template)
            return True
        return bool(running)

    def _look_at(self, records: DeploymentRecords, template: Template, name: str, running: int) -> None:
        call = records.call(name)
        if self._watcher.watches(call.ref) or "submitted" in call.names():
            self._watcher.look(records, call, is_terminating=template.is_terminating)
        else:
            self._starter.resume(records, template, name, running)

    def _clean_all_along(self, stop: Event) -> None:
        """What may take long has a thread of its own, so that no call waits for it."""
        cleaned_at = removed_old_at = float("-inf")
        while not stop.is_set():
            self._to_clean.clear()
            started = time.monotonic()
            expired, old = started - cleaned_at >= CLEAN_EVERY_S, started - removed_old_at >= REMOVE_OLD_EVERY_S
            if self._leads:
                self._attempts_to_clean.made("", partial(self.clean, expired=expired, old=old))
                cleaned_at = started if expired else cleaned_at
                removed_old_at = started if old else removed_old_at
            _pause(stop, self._to_clean, least_s=max(LEAST_PAUSE_S, time.monotonic() - started), most_s=CLEAN_EVERY_S)


class _Attempts:
    """Tries what may fail again and again, and logs that only once."""

    def __init__(self) -> None:
        self._failed: dict[str, type[Exception]] = {}

    def made(self, what: str, act: Callable[[], _Result]) -> _Result | None:
        """What `act` returns; None if it failed. `what` names it for people; empty for all of it."""
        try:
            result = act()
        except Exception as error:
            if self._failed.get(what) is not type(error):
                self._failed[what] = type(error)
                _log.warning(
                    "failed, and is tried again", extra={"what": what, "error": str(error)}, exc_info=not isinstance(error, Unreachable)
                )
            return None
        self._failed.pop(what, None)
        return result


def _pause(stop: Event, awake: Event, *, least_s: float, most_s: float) -> None:
    """Return when `awake` is set, but not before `least_s`; at `most_s` at the latest, and soon after `stop` is set."""
    if stop.wait(least_s):
        return
    deadline = time.monotonic() + most_s - least_s
    while not stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
        if awake.wait(min(left_s, _STOPS_WITHIN_S)):
            return
