"""Removes what is not kept any longer: calls that expired in the queue, those that ended a day ago, deployments that were deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile, islice, takewhile
from typing import Final

from batchflow.deployments.dropping import drop_all, drop_expired
from batchflow.engines.protocol import Engine
from batchflow.errors import NotFound
from batchflow.status import workflow as workflow_status
from batchflow.store.deployments import TERMINATING, CallRecords, DeploymentRecords, JobDeployments, Waiting
from batchflow.store.parallel import in_parallel

__all__ = ["Retention"]

KEPT_S: Final = 86_400.0  # after a call's end (spec/verda.md section 3.4)
# Whoever takes a call in has long done so, or was killed; likewise whoever creates a deployment.
UNFINISHED_S: Final = 3600.0
# A queue is looked through when its first call expires; those that came meanwhile may expire before that.
LOOK_AGAIN_S: Final = 60.0
_REGAINED: Final = "regained"  # the token of slots for replicas that have lost theirs
AT_ONCE: Final = 200  # calls between two looks at the clock


@dataclass(slots=True)
class _Sweep:
    """How far the removal of a deployment's old calls has come.

    Attributes:
        deployment_id: of that deployment.
        asked_to: none up to this call is asked again whether it is unfinished.
        got_to: where it goes on if there was no time left; empty: it begins anew.
        error: the first that it met since it began.
    """

    deployment_id: str
    asked_to: str = ""
    got_to: str = ""
    error: Exception | None = None


class Retention:
    """Any number may work at once, and be killed anywhere. `clock` gives Unix seconds.

    `drop_expired` may be called by one thread while the others are by another.
    """

    def __init__(self, deployments: JobDeployments, engine: Engine, clock: Callable[[], float]) -> None:
        self._all = deployments
        self._engine = engine
        self._clock = clock
        self._look_again: dict[str, float] = {}  # by name: when the next call may expire, on the monotonic clock
        self._sweeps: dict[str, _Sweep] = {}  # by name
        self._left_over_since: dict[str, float] = {}

    def keep_only(self, names: Collection[str]) -> None:
        """Forget what is known of all other deployments."""
        kept = set(names)
        for name in set(list(self._look_again)) - kept:  # a copy first: another thread may add to them
            self._look_again.pop(name, None)
        self._sweeps = {name: sweep for name, sweep in self._sweeps.items() if name in kept}

    def drop_expired(self, name: str) -> None:
        """Drop the deployment's calls that expired in the queue, at most LOOK_AGAIN_S late."""
        if time.monotonic() < self._look_again.get(name, 0.0):
            return
        records = self._all.find(name)
        if records is None or records.has_flag(TERMINATING):
            return
        now = self._clock()
        first = now + LOOK_AGAIN_S

        def expired() -> Iterator[Waiting]:
            nonlocal first
            for waiting in records.waiting():
                if waiting.expires <= now:
                    yield waiting
                else:
                    first = min(first, waiting.expires)

        looked = time.monotonic()
        drop_all(expired(), partial(drop_expired, records))
        self._look_again[name] = looked + first - now

    def forget_deleted(self, name: str) -> None:
        """Forget the deployment, if it is terminating and nothing of it runs."""
        records = self._all.find(name)
        # In this order: see Starter.
        if records is not None and records.has_flag(TERMINATING) and not records.running():
            for _ in in_parallel(lambda call: self._delete_workflow(records.call(call)), records.calls()):
                pass
            self._all.forget(records)

    def remove_old(self, name: str, until: float) -> bool:
        """Remove the deployment's calls that ended a day ago, and what was left by whoever was killed; it looks at every call to do so.

        Returns whether it is to be called again, since it was `until` (by the monotonic clock) before it was through; some it does always.
        """
        records = self._all.find(name)
        has_more = records is not None and not records.has_flag(TERMINATING) and self._remove_old(records, until)
        self._remove_left_over(name)
        return has_more

    def _remove_old(self, records: DeploymentRecords, until: float) -> bool:
        """Calls arrive in the order of their names, so the first that is too young ends it. Those whose replica still runs are kept."""
        sweep = self._sweeps.get(records.name)
        if sweep is None or sweep.deployment_id != records.deployment_id:
            sweep = self._sweeps[records.name] = _Sweep(records.deployment_id)
        running = frozenset(records.running())
        now = self._clock()
        rest = dropwhile(lambda name: name <= sweep.got_to, records.calls())
        old = takewhile(lambda name: now - records.ref(name).arrived >= UNFINISHED_S, rest)
        while some := list(islice(old, AT_ONCE)):
            remove = partial(self._remove_if_over, records, sweep.asked_to, now)
            errors = list(in_parallel(remove, (name for name in some if name not in running)))
            sweep.error = sweep.error or next(filter(None, errors), None)
            sweep.got_to = some[-1]
            if sweep.error is None:
                sweep.asked_to = max(sweep.asked_to, some[-1])
            if time.monotonic() >= until:
                return True
        error, sweep.got_to, sweep.error = sweep.error, "", None
        if error:
            raise error
        return False

    def _remove_if_over(self, records: DeploymentRecords, asked_to: str, now: float, name: str) -> Exception | None:
        """Remove a call if it is not kept any longer. Its error is returned: it is no reason to keep the others."""
        call = records.call(name)
        try:
            ending = call.ending() if now - call.ref.arrived >= KEPT_S else None
            is_old = ending is not None and now - ending.ended >= KEPT_S
            if is_old or (ending is None and name > asked_to and _is_unfinished(records, call)):
                self._delete_workflow(call)
                records.unregister(name)
            elif ending is None and name > asked_to and _is_running_unseen(call):
                records.claim(name, _REGAINED)
        except Exception as error:
            return error
        return None

    def _delete_workflow(self, call: CallRecords) -> None:
        """If it had one."""
        fate = call.fate()
        if fate is not None and not fate.error:
            self._engine.delete(call.ref.workflow)

    def _remove_left_over(self, name: str) -> None:
        """Records of earlier deployments of that name, once they were seen for a while: one may be just being created."""
        now = time.monotonic()
        for deployment_id in self._all.left_over(name):
            records = DeploymentRecords(self._all.store, name, deployment_id)
            calls = list(records.calls())
            if calls and self._is_current(records):  # its creation was completed in this moment
                continue
            # Somebody may have been just submitting them when the deployment was forgotten.
            for call in calls:
                self._end_workflow(records.ref(call).workflow)
            if now - self._left_over_since.setdefault(deployment_id, now) >= UNFINISHED_S:
                records.delete()
                del self._left_over_since[deployment_id]

    def _is_current(self, records: DeploymentRecords) -> bool:
        current = self._all.find(records.name)
        return current is not None and current.deployment_id == records.deployment_id

    def _end_workflow(self, workflow: str) -> None:
        """Have what runs of it end, and remove it."""
        seen = self._engine.observe(workflow).workflow
        if seen is not None and not workflow_status.ended(seen):
            with suppress(NotFound):  # gone in this moment
                self._engine.stop(workflow)
        self._engine.delete(workflow)


def _is_running_unseen(call: CallRecords) -> bool:
    """Of one without a slot: whether it has a replica all the same, as far as is known. Its slot was lost."""
    names = call.names()
    return "submitted" in names and "ended.json" not in names


def _is_unfinished(records: DeploymentRecords, call: CallRecords) -> bool:
    """Whether it neither waits nor has a replica or an end, so that nobody sees to it. That need be asked once only: it can't become so."""
    # In this order: a call waits until after it was submitted or completed.
    return records.waiting_of(call.ref.call) is None and not call.names() & {"submitted", "ended.json"}
