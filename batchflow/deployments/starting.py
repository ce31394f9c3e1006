"""Gives waiting calls a slot each, and starts their replicas. Any number of schedulers may do that at once, and be killed anywhere.

A call takes a slot by a record (`claim`); whoever took it counts them then, its own included, and keeps it only if they are not too many.
So of the calls that may start, the one that took its slot last has counted all the others. From there on everything can be gone on with
from the records, whoever comes: whether a call is started is decided once, its workflow has one name, and none is created for a call that
has had one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from batchflow.callrecords import CallRef, CallRequest, Ending, Fate, JobDeploymentRecord
from batchflow.deployments.dropping import drop_expired
from batchflow.deployments.endings import DELETED, failed_to_start
from batchflow.engines.protocol import Engine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import from_document
from batchflow.store.calls import CallRecords, DeploymentRecords, Waiting

__all__ = ["Starter", "Template"]

_log = logging.getLogger(__name__)

AT_ONCE: Final = 20  # calls of a deployment; then it is the others' turn
# A slot too many is given back in the next moment, unless its scheduler was killed in between.
ABANDONED_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Template:
    """A deployment as it is now: what new replicas are made of, and whether there may be any."""

    record: JobDeploymentRecord
    is_paused: bool
    is_terminating: bool

    @property
    def max_replicas(self) -> int:
        return int(self.record.spec["scaling"]["max_replica_count"])


class Starter:
    """`settings` are those to compile with; `rules` gives the installation's that are in force now; `clock` Unix seconds."""

    def __init__(self, engine: Engine, settings: Settings, rules: Callable[[], Rules], clock: Callable[[], float]) -> None:
        self._engine = engine
        self._settings = settings
        self._rules = rules
        self._clock = clock
        self._too_many_since: dict[CallRef, float] = {}

    def start_waiting(self, records: DeploymentRecords, template: Template) -> None:
        """Start waiting calls in order of arrival, as long as there are free slots, and at most AT_ONCE."""
        for waiting in islice(records.waiting(), AT_ONCE):
            running = records.running()
            if len(running) >= template.max_replicas:
                return
            if waiting.call in running:  # another scheduler starts it
                continue
            if waiting.expires <= self._clock():
                drop_expired(records, waiting)
            elif not self._start(records, template, waiting):
                return

    def resume(self, records: DeploymentRecords, template: Template, name: str, running: int) -> None:
        """Go on with a call that has one of the `running` slots, and maybe no replica yet: its scheduler was killed, or is just at it."""
        call = records.call(name)
        if call.fate() is None:
            if template.is_terminating:
                call.decide(Fate(DELETED))
            elif template.is_paused:
                return
            elif running > template.max_replicas:
                if self._is_abandoned(call.ref):
                    records.release(name)
                return
        self._too_many_since.pop(call.ref, None)
        self._carry_out(records, template, call, records.waiting_of(name))

    def _start(self, records: DeploymentRecords, template: Template, waiting: Waiting) -> bool:
        """Start a call; False, if there are no slots any more."""
        if not records.claim(waiting.call):  # another scheduler was faster
            return True
        is_over = len(records.running()) > template.max_replicas
        # Asked only now: whoever is to forget a terminating deployment sets that first, and then looks at the slots.
        if is_over or records.has_flag("terminating") or records.has_flag("paused"):
            records.release(waiting.call)
            return False
        call = records.call(waiting.call)
        if "submitted" in call.names():  # while this scheduler slept, another saw to all of it
            records.no_longer_waits(waiting)
            records.release(waiting.call)
        else:
            self._carry_out(records, template, call, waiting)
        return True

    def _carry_out(self, records: DeploymentRecords, template: Template, call: CallRecords, waiting: Waiting | None) -> None:
        """Start a call that has a slot, and give that back if there is nothing to start. A repeat goes on where it was cut off."""
        has_replica = self._submit(call, template.record)
        if waiting:
            records.no_longer_waits(waiting)
        if not has_replica:
            records.release(call.ref.call)

    def _submit(self, call: CallRecords, record: JobDeploymentRecord) -> bool:
        """Whether the call has a replica now; else it is completed, or being deleted."""
        request = call.request()
        if request is None:
            return False
        if call.ending() is not None:
            # Dropped, or refused; or completed by a replica whose scheduler was killed before it could note that there is one.
            has_replica = self._engine.observe(call.ref.workflow).workflow is not None
        else:
            error = call.decide(Fate()).error or self._create(call.ref, request, record)
            has_replica = not error
            if error:
                call.end(Ending(error, self._clock()))
                _log.info("call ended without a replica", extra={"deployment": call.ref.deployment, "call": call.ref.call, "error": error})
        if has_replica:
            call.mark_submitted()
            _log.info("replica started", extra={"deployment": call.ref.deployment, "call": call.ref.call})
        return has_replica

    def _create(self, ref: CallRef, request: CallRequest, record: JobDeploymentRecord) -> str:
        """Create the call's workflow, unless it is there; returns why that can't be done, empty if it was."""
        try:
            self._engine.submit(self._manifest(ref, request, record), directory=record.directory or os.getcwd())
        except InvalidInput as error:
            # By other rules, or another engine, it may have been created before.
            return "" if self._engine.observe(ref.workflow).workflow else failed_to_start(str(error))
        return ""

    def _manifest(self, ref: CallRef, request: CallRequest, record: JobDeploymentRecord) -> dict[str, Any]:
        from batchflow.compiler import compile_call  # hera takes most of a second to import, and only this needs it

        deployment = from_document(record.spec)
        compute = self._rules().find(deployment.compute)
        if compute is None:
            raise InvalidInput(f'"{deployment.compute}" is not offered any more', where="compute: name", hint="update the deployment")
        limit = self._settings.max_call_bytes
        workflow = compile_call(deployment, ref, compute, self._settings, deadline_s=request.deadline_s, max_reply_bytes=limit)
        manifest: dict[str, Any] = workflow.to_dict()
        return manifest

    def _is_abandoned(self, ref: CallRef) -> bool:
        now = time.monotonic()
        return now - self._too_many_since.setdefault(ref, now) > ABANDONED_S
