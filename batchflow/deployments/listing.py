"""What people look at: the job deployments of a store, and the calls of one. Its cost grows with what is shown."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from batchflow.callrecords import CallRequest, Ending, JobDeploymentRecord, Reply, is_call
from batchflow.deployments.calls import COMPLETED, QUEUE, status_of
from batchflow.deployments.service import status_of_deployment
from batchflow.errors import NotFound
from batchflow.store.deployments import PAUSED, CallRecords, DeploymentRecords, JobDeployments
from batchflow.store.parallel import in_parallel

__all__ = ["CallList", "CallView", "DeploymentView", "call_view", "deployment_view", "find_call", "latest_calls", "list_deployments"]

_WAITS: Final = "waits for a free replica"
_PAUSED: Final = "the deployment is paused"
_GOES_ON: Final = "its replica is not gone yet, and keeps its slot"
_STARTS: Final = "its replica starts, or is not healthy yet"


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A deployment now. `running` counts replicas, `waiting` the calls that none was started for."""

    name: str
    record: JobDeploymentRecord
    status: str
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class CallView:
    """A call now.

    `id` is the client's; `message` says what it waits for, or what waits for it; `request` is None while it is still being taken in.
    """

    id: str
    call: str
    workflow: str
    status: str
    message: str
    arrived: float  # Unix seconds
    request: CallRequest | None
    reply: Reply | None
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class CallList:
    """A deployment's latest calls, newest first; `more` earlier ones are left out."""

    calls: list[CallView]
    more: int


def list_deployments(all_deployments: JobDeployments) -> list[DeploymentView]:
    """By name."""

    def view(name: str) -> DeploymentView | None:
        records = all_deployments.find(name)
        return deployment_view(records) if records else None

    return [found for found in in_parallel(view, all_deployments.names()) if found]


def deployment_view(records: DeploymentRecords) -> DeploymentView | None:
    """None if it was deleted a moment ago."""
    record = records.load()
    if record is None:
        return None
    running, waiting = records.running(), sum(1 for _ in records.waiting())
    return DeploymentView(records.name, record, status_of_deployment(records), len(running), waiting)


def latest_calls(records: DeploymentRecords, limit: int) -> CallList:
    """The last `limit` calls that arrived."""
    kept: deque[str] = deque(maxlen=limit)
    count = 0
    for call in records.calls():
        kept.append(call)
        count += 1
    paused, running = records.has_flag(PAUSED), set(records.running())
    views = in_parallel(lambda call: call_view(records.call(call), paused=paused, runs=call in running), reversed(kept))
    return CallList([view for view in views if view], count - len(kept))


def find_call(records: DeploymentRecords, name: str) -> CallRecords:
    """The call that a client knows by this id, or whose own name this is, as Argo's pages show it; raises NotFound."""
    call = records.call_of(name) or (name if is_call(name) else None)
    found = records.call(call) if call else None
    if found is None or found.registered() is None:
        hint = f"batchflow get {records.name} lists its jobs; they are kept for 24 h after their end"
        raise NotFound(f'job deployment {records.name} has no job "{name}"', hint=hint)
    return found


def call_view(records: CallRecords, *, paused: bool, runs: bool) -> CallView | None:
    """None if it was deleted a moment ago. `paused`: its deployment is; `runs`: it has one of that's slots."""
    names = records.names()
    client_id = records.registered()
    if client_id is None:
        return None
    status = status_of(names)
    return CallView(
        id=client_id,
        call=records.ref.call,
        workflow=records.ref.workflow,
        status=status,
        message=_message(status, is_submitted="submitted" in names, paused=paused, runs=runs),
        arrived=records.ref.arrived,
        request=records.request(),
        reply=records.reply() if "reply.json" in names else None,
        ending=records.ending() if "ended.json" in names else None,
    )


def _message(status: str, *, is_submitted: bool, paused: bool, runs: bool) -> str:
    """What a call in the queue waits for, and why those behind one that has its result may wait longer."""
    if status == COMPLETED:
        return _GOES_ON if runs else ""
    if status != QUEUE:
        return ""
    if is_submitted:
        return _STARTS
    return _PAUSED if paused else _WAITS
