"""Gives waiting calls a slot each, and starts their replicas. Any number of schedulers may do that at once, sleep or be killed anywhere.

A scheduler claims a slot for a call by a record of its own, and only then counts the calls that have one, its own included. So of those
that claim at once the last one counts all; and whoever counts too many takes back its own claim, never another's. A replica is created
only by who has claimed and counted just before. So old claims of a call that has no replica can be taken for abandoned, and withdrawn.

It does not matter who goes on with a call, or where: whether it is started is decided once, its workflow has one name, and none is created
for a call that is known to have had one, or is to have none. Once it has a replica, only the Watcher gives its slot back.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any, Final

from batchflow.callrecords import CallRef, CallRequest, Ending, Fate, JobDeploymentRecord
from batchflow.deployments.dropping import DROPPED, drop_expired
from batchflow.deployments.endings import failed_to_start
from batchflow.engines.protocol import Engine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import from_document
from batchflow.store.deployments import PAUSED, TERMINATING, CallRecords, DeploymentRecords

__all__ = ["GIVEN_UP", "HAD_A_REPLICA", "Starter", "max_replicas"]

_log = logging.getLogger(__name__)

AT_ONCE: Final = 20  # calls of a deployment; then it is the others' turn
# A claim that does not lead to a replica is taken back in the next moment, unless its scheduler was killed in between.
ABANDONED_S: Final = 60.0
# A call with any of these records is only watched; with one of those it is to have no replica, if it has none.
HAD_A_REPLICA: Final = frozenset({"submitted", "delivered.json"})
GIVEN_UP: Final = frozenset({"stop.json", "ended.json"})


class Starter:
    """Of one deployment. `settings` are those to compile with; `rules` gives those that are in force now; `clock` Unix seconds."""

    def __init__(self, engine: Engine, settings: Settings, rules: Callable[[], Rules], clock: Callable[[], float]) -> None:
        self._engine = engine
        self._settings = settings
        self._rules = rules
        self._clock = clock
        self._token = secrets.token_hex(4)
        self._others_since: dict[CallRef, dict[str, float]] = {}  # claims of others that kept a replica from starting, by token

    def keep_only(self, running: Collection[CallRef]) -> None:
        """Forget all others, which another scheduler has seen to."""
        self._others_since = {ref: self._others_since[ref] for ref in running if ref in self._others_since}

    def start_waiting(self, records: DeploymentRecords, record: JobDeploymentRecord) -> None:
        """Start waiting calls in order of arrival, as long as there are free slots, and at most AT_ONCE."""
        for waiting in islice(records.waiting(), AT_ONCE):
            running = records.running()
            if len(running) >= max_replicas(record):
                return
            if waiting.call in running:  # see `go_on`
                continue
            if waiting.expires <= self._clock() and drop_expired(records, waiting):
                continue
            if not self._start(records, record, waiting.call):
                return

    def go_on(self, records: DeploymentRecords, record: JobDeploymentRecord, name: str) -> None:
        """Start a call that has a slot, and no replica that is known: whoever claimed it failed, was killed, or is just at it."""
        call = records.call(name)
        fate = call.fate()
        if fate is not None and not fate.error and self._has_workflow(call.ref):
            self._note_replica(records, call)
        elif not self._start(records, record, name):
            self._withdraw_abandoned(records, call)
            return
        self._others_since.pop(call.ref, None)

    def give_up(self, records: DeploymentRecords, name: str) -> None:
        """Complete a call that has a slot, and was asked to stop before it had a replica that is known.

        Whoever else has claimed its slot may be on the way to the engine, so that it keeps it until that has come, or would have.
        """
        call = records.call(name)
        if self._has_workflow(call.ref):
            self._note_replica(records, call)
            return
        self._end_without_replica(records, call, call.stop_reason())
        records.withdraw(name, DROPPED)
        self._withdraw_abandoned(records, call)

    def _start(self, records: DeploymentRecords, record: JobDeploymentRecord, name: str) -> bool:
        """Start a call, or see that it can't be started any more; False if no replica may be started now, for want of slots or at all."""
        call = records.call(name)
        if not self._claim(records, record, name):
            return False
        error = call.decide(Fate()).error
        request = call.request()
        if error or request is None:  # without a request it is just being removed
            self._end_without_replica(records, call, error)
            return True
        try:
            manifest = self._manifest(call.ref, request, record)
            return self._submit(records, record, call, manifest)
        except InvalidInput as refusal:
            if self._has_workflow(call.ref):  # it was created by other rules, or by another engine
                self._note_replica(records, call)
            else:
                self._end_without_replica(records, call, failed_to_start(str(refusal)))
            return True

    def _submit(self, records: DeploymentRecords, record: JobDeploymentRecord, call: CallRecords, manifest: dict[str, Any]) -> bool:
        """As `_start`, of a call that is decided to be started. It claims again: the first claim may have been taken for abandoned."""
        claimed = time.monotonic()
        if not self._claim(records, record, call.ref.call):
            return False
        if call.names() & (HAD_A_REPLICA | GIVEN_UP):  # its slot is given back when that is seen to
            self._leave_queue(records, call)
            return True
        if time.monotonic() - claimed > ABANDONED_S / 2:
            records.withdraw(call.ref.call, self._token)
            return False
        self._engine.submit(manifest, directory=record.directory or os.getcwd())
        self._note_replica(records, call)
        _log.info("replica started", extra={"deployment": call.ref.deployment, "call": call.ref.call})
        return True

    def _claim(self, records: DeploymentRecords, record: JobDeploymentRecord, name: str) -> bool:
        """Whether the call has a slot now, and its replica may be started."""
        records.claim(name, self._token)
        # Asked only now: whoever is to forget a terminating deployment sets that first, and then looks at the slots.
        if len(records.running()) <= max_replicas(record) and not (records.has_flag(TERMINATING) or records.has_flag(PAUSED)):
            return True
        records.withdraw(name, self._token)
        return False

    def _note_replica(self, records: DeploymentRecords, call: CallRecords) -> None:
        """The claim may have been taken for abandoned just before the replica was there."""
        records.claim(call.ref.call, self._token)
        call.mark_submitted()
        self._leave_queue(records, call)

    def _end_without_replica(self, records: DeploymentRecords, call: CallRecords, error: str) -> None:
        """`error` is empty for one that is just being removed."""
        if error and "ended.json" not in call.names():
            call.end(Ending(error, self._clock()))
            _log.info("call ended without a replica", extra={"deployment": call.ref.deployment, "call": call.ref.call, "error": error})
        self._leave_queue(records, call)
        records.withdraw(call.ref.call, self._token)

    def _leave_queue(self, records: DeploymentRecords, call: CallRecords) -> None:
        if waiting := records.waiting_of(call.ref.call):
            records.no_longer_waits(waiting)

    def _withdraw_abandoned(self, records: DeploymentRecords, call: CallRecords) -> None:
        """Withdraw what others have claimed for a call long ago, none of which has a replica; it waits for its turn again."""
        now = time.monotonic()
        known = self._others_since.get(call.ref, {})
        others = {token: known.get(token, now) for token in records.claims(call.ref.call) if token != self._token}
        self._others_since[call.ref] = others
        abandoned = [token for token, since in others.items() if now - since > ABANDONED_S]
        for token in abandoned:
            records.withdraw(call.ref.call, token)
        if abandoned and call.names() & HAD_A_REPLICA:  # since this very moment: then the Watcher gives the slot back
            records.claim(call.ref.call, self._token)

    def _has_workflow(self, ref: CallRef) -> bool:
        return self._engine.observe(ref.workflow).workflow is not None

    def _manifest(self, ref: CallRef, request: CallRequest, record: JobDeploymentRecord) -> dict[str, Any]:
        from batchflow.compiler import compile_call  # hera takes most of a second to import, and only this needs it

        deployment = from_document(record.spec)
        compute = self._rules().find(deployment.compute)
        if compute is None:
            raise InvalidInput(f'"{deployment.compute}" is not offered any more', where="compute: name", hint="update the deployment")
        workflow = compile_call(deployment, ref, compute, self._settings, deadline_s=request.deadline_s)
        manifest: dict[str, Any] = workflow.to_dict()
        return manifest


def max_replicas(record: JobDeploymentRecord) -> int:
    """How many a deployment has at once, at most."""
    return int(record.spec["scaling"]["max_replica_count"])
