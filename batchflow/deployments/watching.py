"""Watches the replicas that run: stops those that must end, and completes the calls of those that are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from batchflow.callrecords import CallRef, Ending, Fate
from batchflow.deployments.endings import DELETED, error_of
from batchflow.deployments.logsaving import LogSaver, Saving
from batchflow.deployments.replicas import Replica, containers_of, reason_of_engine, reason_to_stop, replica_of
from batchflow.engines.protocol import Engine
from batchflow.errors import NotFound
from batchflow.store.deployments import CallRecords, DeploymentRecords

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)

# After it was stopped: its pod's grace period (compiler/call.py), and a moment.
KILL_AFTER_S: Final = 35.0


@dataclass(slots=True)
class _Watched:
    """What is kept of a call from one moment to the next."""

    deadline_s: int
    problem_since: float | None = None
    stopping_since: float | None = None
    logs_before_kill: Saving | None = None
    is_killed: bool = False
    last_logs: Saving | None = None

    def stopping_s(self) -> float:
        """How long it has been stopping, asked when it is."""
        now = time.monotonic()
        self.stopping_since = self.stopping_since or now
        return now - self.stopping_since

    def problem_s(self, replica: Replica) -> float:
        """How long it has had a problem."""
        if not replica.problem:
            self.problem_since = None
            return 0.0
        now = time.monotonic()
        self.problem_since = self.problem_since or now
        return now - self.problem_since


class Watcher:
    """Of one deployment. `clock` gives Unix seconds; `wake` is called when it is worth while to look again.

    What it keeps in memory is only to ask the store less, for how long replicas can't be started, and the logs that are on their way.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float], wake: Callable[[], object] = lambda: None) -> None:
        self._engine = engine
        self._clock = clock
        self._logs = LogSaver(engine, wake)
        self._watched: dict[CallRef, _Watched] = {}

    def is_watching(self, ref: CallRef) -> bool:
        return ref in self._watched

    def keep_only(self, running: Collection[CallRef]) -> None:
        """Forget all others, which another scheduler has seen to."""
        self._watched = {ref: self._watched[ref] for ref in running if ref in self._watched}

    def watch(self, records: DeploymentRecords, call: CallRecords, *, is_terminating: bool) -> None:
        """See to a call that has a slot, and for which no replica is to be created any more, at one moment; to be called again and again.

        Its slot is given back once nothing of its replica runs, if it ever had one, and all about it is stored.

        It completes without its logs, and those are not waited for here; if they take too long, the slot is given back without them.
        """
        watched = self._watched.get(call.ref) or self._begin(records, call, is_terminating)
        observed = self._engine.observe(call.ref.workflow)
        now = self._clock()
        replica = replica_of(observed, now)
        if replica.is_gone:
            if watched.last_logs is None:
                self._end(call, replica, watched.deadline_s)
                watched.last_logs = self._logs.save(call, containers_of(observed, now))
            if watched.last_logs.is_over:
                records.release(call.ref.call)
                del self._watched[call.ref]
        elif replica.is_stopping:
            if not watched.is_killed and watched.stopping_s() > KILL_AFTER_S:
                # What does not end at SIGTERM. Its logs may vanish with it.
                watched.logs_before_kill = watched.logs_before_kill or self._logs.save(call, containers_of(observed, now))
                if watched.logs_before_kill.is_over:
                    self._kill(call)
                    watched.is_killed = True
        else:
            due = reason_to_stop(replica, deadline_s=watched.deadline_s, problem_s=watched.problem_s(replica), now=now)
            if why := DELETED if is_terminating else call.stop_reason() or due:
                self._stop(call, why)

    def _begin(self, records: DeploymentRecords, call: CallRecords, is_terminating: bool) -> _Watched:
        """At the first sight of a call, which whoever started it may have left among those that wait, or not have started yet."""
        if is_terminating:
            call.decide(Fate(DELETED))
            call.ask_to_stop(DELETED)
        if waiting := records.waiting_of(call.ref.call):
            records.no_longer_waits(waiting)
        request = call.request()
        watched = self._watched[call.ref] = _Watched(request.deadline_s if request else 0)  # without one there is nothing to run for
        return watched

    def _stop(self, call: CallRecords, why: str) -> None:
        """First the reason, or the call would end without one."""
        call.ask_to_stop(why)
        with suppress(NotFound):  # gone in this moment
            self._engine.stop(call.ref.workflow)
        _log.info("replica is stopped", extra={"deployment": call.ref.deployment, "call": call.ref.call, "why": why})

    def _kill(self, call: CallRecords) -> None:
        self._engine.kill(call.ref.workflow)
        _log.warning("replica is killed", extra={"deployment": call.ref.deployment, "call": call.ref.call})

    def _end(self, call: CallRecords, replica: Replica, deadline_s: int) -> None:
        """No effect if the courier has completed the call."""
        names = call.names()
        if "ended.json" in names:
            return
        error = error_of(
            stop_reason=call.stop_reason() or reason_of_engine(replica, deadline_s=deadline_s),
            reply=call.reply(),
            unanswered=call.unanswered(),
            delivered="delivered.json" in names,
            exit_code=replica.exit_code,
            explanation=replica.explanation,
        )
        call.end(Ending(error, self._clock(), replica.exit_code))
        _log.info("call ended", extra={"deployment": call.ref.deployment, "call": call.ref.call, "error": error})
