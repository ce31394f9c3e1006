"""One deployment's turn: what runs is watched, what waits is started."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from batchflow.callrecords import JobDeploymentRecord
from batchflow.deployments.attempts import Attempts
from batchflow.deployments.starting import GIVEN_UP, HAD_A_REPLICA, Starter, max_replicas
from batchflow.deployments.watching import Watcher
from batchflow.store.deployments import PAUSED, TERMINATING, DeploymentRecords

__all__ = ["Visit", "Visitor"]


@dataclass(frozen=True, slots=True)
class Visit:
    """What a deployment was found like.

    Attributes:
        is_busy: the next visit should be soon.
        is_over: it was deleted, and nothing of it runs any more.
    """

    is_busy: bool = False
    is_over: bool = False


class Visitor:
    """Sees to the deployment of one name, again and again; in one thread at a time.

    `find` gives its records, None if there is none of that name any more. What is kept in memory is of calls that run.
    """

    def __init__(self, name: str, find: Callable[[str], DeploymentRecords | None], starter: Starter, watcher: Watcher) -> None:
        self._name = name
        self._find = find
        self._starter = starter
        self._watcher = watcher
        self._attempts = Attempts()

    def visit(self) -> Visit | None:
        """See to everything of the deployment that is due; None if that failed. A call that fails holds up no other."""
        return self._attempts.made(self._name, self._visit)

    def _visit(self) -> Visit:
        records = self._find(self._name)
        if records is None or not records.has_running_or_waiting():  # idle, as most are: that is to cost little
            self._keep_only(records, [])
            is_over = records is not None and records.has_flag(TERMINATING)
            return Visit(is_busy=is_over, is_over=is_over)
        running = records.running()
        self._keep_only(records, running)
        is_terminating = records.has_flag(TERMINATING)
        record = records.load()
        if record is None:  # deleted in this moment
            return Visit()
        most = max_replicas(record)
        # In order of arrival; but if there are too many claims, the latest give way to earlier ones.
        for name in [*reversed(running[most:]), *running[:most]]:
            see_to = partial(self._see_to, records, record, name, is_terminating=is_terminating)
            self._attempts.made(f"{self._name} {name}", see_to)
        may_start = not is_terminating and not records.has_flag(PAUSED)
        if may_start:
            self._starter.start_waiting(records, record)
        is_over = is_terminating and not running
        return Visit(is_busy=may_start or is_over or bool(running), is_over=is_over)

    def _keep_only(self, records: DeploymentRecords | None, running: Collection[str]) -> None:
        refs = [records.ref(name) for name in running] if records else []
        self._watcher.keep_only(refs)
        self._starter.keep_only(refs)
        self._attempts.keep_only([self._name, *(f"{self._name} {name}" for name in running)])

    def _see_to(self, records: DeploymentRecords, record: JobDeploymentRecord, name: str, *, is_terminating: bool) -> None:
        """Watch a call that has a slot, or go on with starting it, or give that up."""
        call = records.call(name)
        if is_terminating or self._watcher.is_watching(call.ref) or (names := call.names()) & HAD_A_REPLICA:
            self._watcher.watch(records, call, is_terminating=is_terminating)
        elif names & GIVEN_UP:
            self._starter.give_up(records, name)
        else:
            self._starter.go_on(records, record, name)
