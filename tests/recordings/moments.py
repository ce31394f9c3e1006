"""What tells the moments of a job apart: conditions on a snapshot, as record.py takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

Snapshot = Mapping[str, Any]
Condition = Callable[[Snapshot], bool]


def every(*conditions: Condition) -> Condition:
    return lambda seen: all(condition(seen) for condition in conditions)


def no(condition: Condition) -> Condition:
    return lambda seen: not condition(seen)


def is_new(seen: Snapshot) -> bool:
    """The controller has not looked at it."""
    return seen["workflow"] is not None and not seen["workflow"].get("status", {}).get("nodes")


def is_gone(seen: Snapshot) -> bool:
    return seen["workflow"] is None


def has_ended(seen: Snapshot) -> bool:
    return not is_gone(seen) and seen["workflow"].get("status", {}).get("phase") in ("Succeeded", "Failed", "Error")


def is_quiet(seen: Snapshot) -> bool:
    """No pod is left that could do anything."""
    return all(pod["status"].get("phase") in ("Succeeded", "Failed") for pod in seen["pods"])


def is_stopping(seen: Snapshot) -> bool:
    """Somebody asked for its end."""
    return not is_gone(seen) and seen["workflow"]["spec"].get("shutdown") is not None


def is_cleaning(seen: Snapshot) -> bool:
    """Cleanup runs and has not said yet how the job ended."""
    final = seen["store"].get("status.json")
    return phase("cleanup", "Running")(seen) and not (final and final["run"] == seen["run"])


def phase(step: str, wanted: str, number: int = 1) -> Condition:
    """At least `number` pods of a step are in that phase."""
    return lambda seen: sum(pod["status"].get("phase") == wanted for pod in pods(seen, step)) >= number


def is_silent(seen: Snapshot) -> bool:
    """Two workers' pods have a node, and since two minutes nothing came of it."""
    now = datetime.fromisoformat(seen["now"])
    untouched = [pod for pod in pods(seen, "work") if "startTime" not in pod["status"]]
    old = [pod for pod in untouched if (now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds() > 130]
    return len(old) == 2 and not unscheduled("work")(seen)


def is_taken_up(step: str, number: int = 1) -> Condition:
    """Kubelet has begun with so many of a step's pods."""
    return lambda seen: sum("startTime" in pod["status"] for pod in pods(seen, step)) >= number


def waits(container: str, *reasons: str) -> Condition:
    """A container waits, as Kubernetes says it, for one of those reasons."""

    def holds(seen: Snapshot) -> bool:
        return any(c["name"] == container and c["state"].get("waiting", {}).get("reason") in reasons for c in containers(seen))

    return holds


def restarted(container: str, times: int = 1) -> Condition:
    return lambda seen: any(c["name"] == container and c["restartCount"] >= times for c in containers(seen))


def is_up(container: str, number: int = 1) -> Condition:
    return lambda seen: sum(c["name"] == container and "running" in c["state"] for c in containers(seen)) >= number


def unscheduled(step: str) -> Condition:
    def holds(seen: Snapshot) -> bool:
        conditions = (c for pod in pods(seen, step) for c in pod["status"].get("conditions", ()))
        return any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)

    return holds


def counters(state: str, *, number: int = 1, finished: int = 0, error: str = "", step: str = "work") -> Condition:
    """At least `number` pods of the run say that they are in that state, and have finished that many batches each."""

    def holds(seen: Snapshot) -> bool:
        documents = [document for name, document in seen["store"].items() if name.startswith("counters/")]
        mine = [c for c in documents if c["run"] == seen["run"] and c["step"] == step and c["state"] == state and error in c["error"]]
        return sum(c["finished"] >= finished for c in mine) >= number

    return holds


def node_says(text: str) -> Condition:
    return lambda seen: any(text in node.get("message", "") for node in nodes(seen))


def is_between_tries(seen: Snapshot) -> bool:
    """A worker's latest try failed, and the next one was not begun."""
    by_id = {node["id"]: node for node in nodes(seen)}
    steps = [node for node in by_id.values() if node["type"] == "Retry" and node["phase"] == "Running" and node.get("children")]
    return any(by_id[step["children"][-1]]["phase"] in ("Failed", "Error") for step in steps)


def deleted(step: str) -> Condition:
    """A pod of the step was told to go."""
    return lambda seen: any(pod["metadata"].get("deletionTimestamp") for pod in pods(seen, step))


def nodes(seen: Snapshot) -> list[Mapping[str, Any]]:
    return [] if is_gone(seen) else list((seen["workflow"].get("status", {}).get("nodes") or {}).values())


def pods(seen: Snapshot, step: str) -> list[Mapping[str, Any]]:
    return [pod for pod in seen["pods"] if f"-{step}-" in pod["metadata"]["name"]]


def containers(seen: Snapshot) -> Iterator[Mapping[str, Any]]:
    for pod in seen["pods"]:
        yield from pod["status"].get("initContainerStatuses") or ()
        yield from pod["status"].get("containerStatuses") or ()
