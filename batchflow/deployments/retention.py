"""Removes what is not kept any longer: calls that expired in the queue, those that ended a day ago, deployments that were deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from batchflow.deployments.dropping import drop_all, drop_expired
from batchflow.engines.protocol import Engine
from batchflow.store.calls import CallRecords, DeploymentRecords, JobDeployments

__all__ = ["Retention"]

KEPT_S: Final = 86_400.0  # after a call's end (spec/verda.md section 3.4)
# Whoever takes a call in has long done so, or was killed; likewise whoever creates a deployment.
UNFINISHED_S: Final = 3600.0
_NS: Final = 10**9


class Retention:
    """Any number may work at once, and be killed anywhere. `clock` gives Unix seconds."""

    def __init__(self, deployments: JobDeployments, engine: Engine, clock: Callable[[], float]) -> None:
        self._all = deployments
        self._engine = engine
        self._clock = clock
        self._looked_at: dict[str, str] = {}  # by deployment id: the last call that `_is_unfinished` was asked of
        self._left_over_since: dict[str, float] = {}

    def clean(self, name: str, *, expired: bool, old: bool) -> None:
        """Forget the deployment, if it is terminating and nothing of it runs; drop what has `expired`; remove what is `old`.

        The last also finds what was left by whoever was killed, and looks at every call to do so.
        """
        records = self._all.find(name)
        if records is not None and records.has_flag("terminating"):
            if not records.running():  # in this order: see Starter
                self._forget(records)
        elif records is not None:
            now = self._clock()
            if expired:
                drop_all((call for call in records.waiting() if call.expires <= now), partial(drop_expired, records))
            if old:
                self._remove_old(records)
        if old:
            self._remove_left_over(name)

    def _forget(self, records: DeploymentRecords) -> None:
        for name in records.calls():
            self._delete_workflow(records.call(name))
        self._all.forget(records)
        self._looked_at.pop(records.deployment_id, None)

    def _remove_old(self, records: DeploymentRecords) -> None:
        """Calls arrive in the order of their names, so the first that is too young ends it. Those whose replica still runs are kept."""
        running = frozenset(records.running())
        now = self._clock()
        for name in records.calls():
            call = records.call(name)
            age_s = now - call.ref.arrived_ns / _NS
            if age_s < UNFINISHED_S:
                return
            if name in running:
                continue
            ending = call.ending() if age_s >= KEPT_S else None
            if (ending and now - ending.ended >= KEPT_S) or (ending is None and self._is_unfinished(records, call)):
                self._delete_workflow(call)
                records.unregister(name)

    def _is_unfinished(self, records: DeploymentRecords, call: CallRecords) -> bool:
        """Whether it neither waits nor has a replica or an end, so that nobody sees to it. That is asked once: it can't become so."""
        name = call.ref.call
        if name <= self._looked_at.get(records.deployment_id, ""):
            return False
        self._looked_at[records.deployment_id] = name
        # In this order: a call waits until after it was submitted or completed.
        return records.waiting_of(name) is None and not call.names() & {"submitted", "ended.json"}

    def _delete_workflow(self, call: CallRecords) -> None:
        """If it had one."""
        fate = call.fate()
        if fate is not None and not fate.error:
            self._engine.delete(call.ref.workflow)

    def _remove_left_over(self, name: str) -> None:
        """Records of earlier deployments of that name, once they were seen for a while: one may be just being created."""
        now = time.monotonic()
        for deployment_id in self._all.left_over(name):
            if now - self._left_over_since.setdefault(deployment_id, now) >= UNFINISHED_S:
                DeploymentRecords(self._all.store, name, deployment_id).delete()
                del self._left_over_since[deployment_id]
