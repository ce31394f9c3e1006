"""The workers of a running job: how many are in which state, and what the job waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from batchflow import contract
from batchflow.records import Counters
from batchflow.status import pods as pod_status
from batchflow.status.model import WorkerCounts
from batchflow.status.workflow import FAILED_PHASES, TERMINAL_PHASES, Try, ended, is_out_of_reach, is_stopped, is_telling, nodes, tries

__all__ = ["waiting_for", "worker_counts"]

STALLED_AFTER_S: Final = 600  # the seed: "stuck in pending for more than 10 minutes"
# Argo's controller takes a new workflow up within a second or two.
UNTOUCHED_S: Final = 30
# A worker saves its counters every 2 s; clocks differ by some seconds.
SILENT_S: Final = 120
# After its deadline a workflow ends within the workers' grace period and cleanup's time.
OVERDUE_S: Final = 120
_HANDLING: Final = ("ready", "leaving", "done")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """A step's or worker's latest try with its pod, and what that says of itself, as of `now`."""

    attempt: Try
    pod: Json | None
    counters: Counters | None
    now: datetime

    @property
    def state(self) -> str:
        """Of `WorkerCounts`."""
        if self.attempt.phase == "Succeeded":
            return "succeeded"
        if self.attempt.phase in FAILED_PHASES:
            return "failed"
        if self.pod is None:
            return self._unless_stalled("pending") if self.attempt.node.get("phase") == "Pending" else "pending"
        if not pod_status.is_alive(self.pod):  # Argo is about to see it
            return "succeeded" if pod_status.phase(self.pod) == "Succeeded" else "pending"
        if not pod_status.is_scheduled(self.pod):
            return self._unless_stalled("pending")
        if pod_status.phase(self.pod) == "Pending" and self.problem:
            return self._unless_stalled("initializing")
        if self._silent_s() > STALLED_AFTER_S:
            return "stalled"
        return "running" if self.counters and self.counters.state in _HANDLING else "initializing"

    @property
    def problem(self) -> str:
        """What it waits for, "" if for nothing that would not come by itself."""
        if self.attempt.phase in TERMINAL_PHASES:
            return ""
        said, phase = self.attempt.node.get("message"), self.attempt.node.get("phase")
        if phase in FAILED_PHASES:
            return f"is tried again, after: {said}" if is_telling(said) else ""
        if self.pod is None:
            return f"its pod can't be created: {said}" if said and phase == "Pending" else ""
        if not pod_status.is_alive(self.pod):
            return ""
        if text := pod_status.problem(self.pod):
            return text
        if not pod_status.has_kubelet(self.pod) and pod_status.is_scheduled(self.pod) and self._age_s() > SILENT_S:
            return f"its node has not taken it up for {self._age_s():.0f} s"
        if self._silent_s() > SILENT_S:
            return f"nothing was heard of it for {self._silent_s():.0f} s: its node, or the store, may be out of reach"
        if self.counters and self.counters.state == "waiting":
            texts = (self.counters.error or "waiting for the handler", pod_status.container_endings(self.pod))
            return "; ".join(text for text in texts if text)
        return ""

    def _unless_stalled(self, state: str) -> str:
        return "stalled" if self._age_s() > STALLED_AFTER_S else state

    def _age_s(self) -> float:
        """Since the latest try was begun."""
        since = self.pod["metadata"]["creationTimestamp"] if self.pod else self.attempt.node.get("startedAt")
        return (self.now - datetime.fromisoformat(since)).total_seconds() if since else 0.0

    def _silent_s(self) -> float:
        if self.counters is None or self.counters.state not in ("waiting", "ready"):
            return 0.0
        return self.now.timestamp() - self.counters.updated


def worker_counts(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters], now: datetime) -> WorkerCounts | None:
    """Each worker in its state; None if Argo does not tell them."""
    if is_out_of_reach(workflow):
        return None
    counts: dict[str, int] = {}
    for place in _places(workflow, pods, counters, now):
        if place.attempt.step == contract.STEP_WORK:
            counts[place.state] = counts.get(place.state, 0) + 1
    return WorkerCounts(**counts)


def waiting_for(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters], now: datetime) -> str:
    """What keeps a running job from going on, in one line; "" if nothing does."""
    if is_out_of_reach(workflow):
        return "Argo keeps the state of this workflow's steps in its own database (nodeStatusOffLoad): its workers can't be seen"
    if not nodes(workflow):
        return _untouched(workflow, now)
    places = _places(workflow, pods, counters, now)
    found = [f"{place.attempt.name}: {place.problem}" for place in places if place.problem]
    more = f" ({len(found) - 1} more waiting)" if len(found) > 1 else ""
    return "; ".join(text for text in (*(text + more for text in found[:1]), _coming_end(workflow, now)) if text)


def _places(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters], now: datetime) -> list[_Place]:
    by_node = {pod_status.node_id(pod): pod for pod in pods}
    said = {c.pod: c for c in counters}
    found = []
    for attempt in tries(workflow):
        pod = by_node.get(str(attempt.node.get("id", "")))
        found.append(_Place(attempt, pod, said.get(pod_status.name_of(pod)) if pod else None, now))
    return found


def _coming_end(workflow: Json, now: datetime) -> str:
    """That the job was told to end, or should have ended; "" if neither."""
    if ended(workflow):
        return "ended, but for its last pods"
    if is_stopped(workflow):
        return "being stopped"
    started, limit_s = workflow.get("status", {}).get("startedAt"), workflow.get("spec", {}).get("activeDeadlineSeconds")
    late_s = (now - datetime.fromisoformat(started)).total_seconds() - limit_s if started and limit_s else 0.0
    # So it is if no pod changed after that: Argo looks again every 20 minutes.
    return f"the timeout passed {late_s:.0f} s ago, but Argo has not ended the job; stop does" if late_s > OVERDUE_S else ""


def _untouched(workflow: Json, now: datetime) -> str:
    """Of a workflow that the controller has not looked at."""
    metadata = workflow.get("metadata", {})
    created = metadata.get("creationTimestamp")
    age_s = (now - datetime.fromisoformat(created)).total_seconds() if created else 0.0
    if age_s < UNTOUCHED_S:
        return "waits for Argo's controller"
    instance = metadata.get("labels", {}).get(contract.INSTANCE_LABEL)
    which = f'the instance id "{instance}"' if instance else "no instance id"
    where = f"namespace {metadata['namespace']}" if metadata.get("namespace") else "this namespace"
    return f"no Argo controller has taken the workflow up for {age_s:.0f} s: does one run that watches {where} and {which}?"
