"""Reads a Pod as Kubernetes (and the local engine) writes it: whether it has a node, what keeps it from going on, how containers ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from batchflow import contract

__all__ = [
    "cannot_start",
    "container_endings",
    "containers",
    "has_kubelet",
    "is_alive",
    "is_overdue",
    "is_scheduled",
    "name_of",
    "node_id",
    "phase",
    "problem",
    "ran_out_of_memory",
]

# What a container waits for that comes by itself.
_USUAL: Final = frozenset({"ContainerCreating", "PodInitializing"})
# In back-off a container waits for this, or (a native sidecar, Kubernetes 1.34) just stays terminated.
_BACK_OFF: Final = "CrashLoopBackOff"
_OOM: Final = "OOMKilled"
_OWN: Final = frozenset({*contract.ARGO_CONTAINERS, contract.CONTAINER_MAIN, contract.STEP_PREPARE})
# Kubelet's words on a pod that it evicted: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
NODE_OUT_OF_MEMORY: Final = "low on resource: memory"
OVERDUE_S: Final = 60

Json = Mapping[str, Any]


def containers(pod: Json) -> Iterator[Json]:
    """The status of each of its containers, in the order in which they start; none before kubelet has the pod."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def name_of(pod: Json) -> str:
    """Its name, which is also that of its counters and outcomes."""
    return str(pod["metadata"]["name"])


def node_id(pod: Json) -> str:
    """Of the workflow's node whose pod it is; empty if it has none."""
    return str(pod["metadata"].get("annotations", {}).get(contract.NODE_ID, ""))


def phase(pod: Json) -> str:
    """Pending: main was not started yet. Running: it was."""
    return str(pod.get("status", {}).get("phase", ""))


def is_alive(pod: Json) -> bool:
    """Whether it has not ended."""
    return phase(pod) in ("Pending", "Running")


def is_overdue(pod: Json, now: datetime) -> bool:
    """Whether it should long have been gone: its node does not answer."""
    due = pod["metadata"].get("deletionTimestamp")  # grace period included
    return due is not None and (now - datetime.fromisoformat(due)).total_seconds() > OVERDUE_S


def is_scheduled(pod: Json) -> bool:
    """Whether it has a node."""
    return any(c.get("type") == "PodScheduled" and c.get("status") == "True" for c in _conditions(pod))


def has_kubelet(pod: Json) -> bool:
    """Whether its node has taken it up."""
    return "startTime" in pod.get("status", {})


def problem(pod: Json) -> str:
    """Why it does not get on, as far as it shows: it has no node, or a container can't be started, or ends again and again.

    Of a pod that ended: what it was waiting for then.
    """
    for condition in _conditions(pod):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"can't be scheduled: {condition.get('message', condition.get('reason', ''))}"
    return cannot_start(pod) or (container_endings(pod) if phase(pod) == "Pending" else "")


def cannot_start(pod: Json) -> str:
    """The first of its containers that can't be started, as for want of its image, and why; "" if there is none."""
    for container in containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, _BACK_OFF, *_USUAL):
            text = f": {waiting['message']}" if waiting.get("message") else ""
            return f"container {container['name']}: {waiting['reason']}{text}"
    return ""


def container_endings(pod: Json, *, but: str = "") -> str:
    """How users' containers ended that Kubernetes restarts; "" if none did. `but`: the name of one that is left out.

    When a pod ends, its containers are ended with it; that does not count.
    """
    texts = (_ending(container, alive=is_alive(pod)) for container in containers(pod) if container["name"] not in {*_OWN, but})
    return "; ".join(text for text in texts if text)


def ran_out_of_memory(pod: Json) -> str:
    """Which of its containers was killed for want of memory, or that its node had none left; "" if neither."""
    if NODE_OUT_OF_MEMORY in str(pod.get("status", {}).get("message", "")):
        return str(pod["status"]["message"])
    killed = [c["name"] for c in containers(pod) if any(end.get("reason") == _OOM for end in _terminations(c))]
    return f"container {killed[0]} ran out of memory" if killed else ""


def _ending(container: Json, *, alive: bool) -> str:
    restarts = container.get("restartCount", 0)
    ends = list(_terminations(container))
    if not ends or not (restarts or alive):
        return ""
    # The latest of a living pod is the present state, if that is one; that of an ended pod may be its own end.
    end = ends[0] if alive else ends[-1]
    how = "running out of memory" if end.get("reason") == _OOM else f"exit code {end.get('exitCode')}"
    return f"container {container['name']} " + (f"was restarted {restarts} times, after {how}" if restarts else f"ended after {how}")


def _terminations(container: Json) -> Iterator[Json]:
    """How it ended, latest first."""
    for key in ("state", "lastState"):
        if end := container.get(key, {}).get("terminated"):
            yield end


def _conditions(pod: Json) -> list[Json]:
    return list(pod.get("status", {}).get("conditions") or ())
