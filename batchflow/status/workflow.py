"""Reads a Workflow and its Pods, as Argo and Kubernetes (and the local engine) write them: phases, endings, workers, what is waited for.

Field names and texts: spec/argo.md, section "Status"; seen in recordings of a real cluster.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from batchflow import contract
from batchflow.records import Counters
from batchflow.status.model import WorkerCounts
from batchflow.status.verdict import Ending

__all__ = ["ended", "ending", "finished_at", "nodes", "step_phase", "waiting_for", "worker_counts"]

TERMINAL_PHASES: Final = frozenset({"Succeeded", "Failed", "Error"})
STALLED_AFTER_S: Final = 600  # the seed: "stuck in pending for more than 10 minutes"

Json = Mapping[str, Any]


def nodes(workflow: Json) -> dict[str, Any]:
    """`status.nodes`, also when Argo has compressed it (above 1 MiB)."""
    status = workflow.get("status", {})
    if compressed := status.get("compressedNodes"):
        return dict(orjson.loads(gzip.decompress(base64.b64decode(compressed))))
    return dict(status.get("nodes") or {})


def ended(workflow: Json) -> bool:
    """Whether it has come to its end, cleanup included."""
    return workflow.get("status", {}).get("phase") in TERMINAL_PHASES


def finished_at(workflow: Json) -> str | None:
    """When it ended, RFC 3339; None while it runs."""
    return workflow.get("status", {}).get("finishedAt") or None


def step_phase(workflow: Json, step: str) -> str:
    """The phase of a step's node, "" if it has none yet."""
    mine = [node for node in nodes(workflow).values() if node.get("templateName") == step and node.get("type") != "Pod"]
    mine = mine or [node for node in nodes(workflow).values() if node.get("templateName") == step]
    return str(mine[0].get("phase") or "") if mine else ""


def ending(workflow: Json | None, pods: Sequence[Json], counters: Iterable[Counters], explanation: str = "") -> Ending:
    """How the workflow ended, or what is to be said if there is none any more (`explanation`: the engine's words)."""
    if workflow is None:
        return Ending(deleted=True, reason=explanation, out_of_memory=any(_out_of_memory(pod) for pod in pods))
    texts = [str(workflow.get("status", {}).get("message", ""))]
    texts += [str(node.get("message", "")) for node in nodes(workflow).values()]
    stopped = workflow.get("spec", {}).get("shutdown") in ("Stop", "Terminate") or any("with strategy" in text for text in texts)
    return Ending(
        stopped=stopped,
        timed_out=any("deadline" in text for text in texts),
        out_of_memory=any("OOMKilled" in text for text in texts) or any(_out_of_memory(pod) for pod in pods),
        reason=_reason(workflow, pods, counters),
    )


def worker_counts(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters], now: datetime) -> WorkerCounts:
    """Each worker by its latest pod; `running` are those whose dequeuer has seen the handler ready."""
    by_node = {pod["metadata"].get("annotations", {}).get(contract.NODE_ID): pod for pod in pods}
    states = {c.pod: c.state for c in counters}
    counts: dict[str, int] = {}
    every = nodes(workflow)
    for node in _workers(every):
        state = _worker_state(node, every, by_node, states, now)
        counts[state] = counts.get(state, 0) + 1
    return WorkerCounts(**counts)


def waiting_for(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters]) -> str:
    """What keeps a running job from going on, in one line; "" if nothing does."""
    running = {pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") in ("Pending", "Running")}
    for pod in pods:
        if pod["metadata"]["name"] in running and (text := _pod_problem(pod)):
            return f"{pod['metadata']['name']}: {text}"
    for c in counters:
        if c.pod in running and c.state == "waiting" and c.error:
            return f"{c.pod}: {c.error}"
    if not nodes(workflow):
        return "the workflow has not been started"
    return ""


def _workers(every: Json) -> Iterator[Json]:
    """One node a worker: its Retry node."""
    return (node for node in every.values() if node.get("templateName") == contract.STEP_WORK and node.get("type") == "Retry")


def _worker_state(node: Json, every: Json, by_node: Json, states: Mapping[str, str], now: datetime) -> str:
    if node.get("phase") == "Succeeded":
        return "succeeded"
    if node.get("phase") in ("Failed", "Error"):
        return "failed"
    children = [every[child] for child in node.get("children", ()) if child in every]
    pod = by_node.get(children[-1]["id"]) if children else None
    if pod is None:
        return "pending"
    if not _scheduled(pod):
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        return "stalled" if (now - created).total_seconds() > STALLED_AFTER_S else "pending"
    return "running" if states.get(pod["metadata"]["name"]) in ("ready", "leaving", "done") else "initializing"


def _scheduled(pod: Json) -> bool:
    status = pod.get("status", {})
    unscheduled = any(c.get("type") == "PodScheduled" and c.get("status") == "False" for c in status.get("conditions", ()))
    return bool(not unscheduled and (status.get("phase") != "Pending" or status.get("startTime")))


def _containers(pod: Json) -> Iterator[Json]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _out_of_memory(pod: Json) -> bool:
    if "low on resource: memory" in str(pod.get("status", {}).get("message", "")):
        return True
    endings = (c.get(key, {}).get("terminated") or {} for c in _containers(pod) for key in ("state", "lastState"))
    return any(end.get("reason") == "OOMKilled" for end in endings)


def _pod_problem(pod: Json) -> str:
    """Why a living pod does not get on: unschedulable, an image, a container that keeps crashing."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"can't be scheduled: {condition.get('message', condition.get('reason', ''))}"
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            code = (container.get("lastState", {}).get("terminated") or {}).get("exitCode")
            crashed = f", exit code {code}, restarted {container.get('restartCount', 0)} times" if code is not None else ""
            text = f": {waiting['message']}" if waiting.get("message") else ""
            return f"container {container['name']}: {waiting['reason']}{crashed}{text}"
    return ""


def _restarts(container: Json) -> str:
    """How often one of the user's own containers ended; a Handler's runtime itself tells the dequeuer why it did."""
    if not container.get("restartCount") or container["name"] == contract.CONTAINER_HANDLER:
        return ""
    code = (container.get("lastState", {}).get("terminated") or {}).get("exitCode")
    return f"container {container['name']} was restarted {container['restartCount']} times, after exit code {code}"


def _reason(workflow: Json, pods: Sequence[Json], counters: Iterable[Counters]) -> str:
    """The best explanation of a failure: a dequeuer's own words, a pod's trouble, a node's message."""
    said = [c for c in counters if c.state == "failed" and c.error]
    if said:
        error = max(said, key=lambda c: c.updated).error
        restarts = [text for pod in pods for container in _containers(pod) if (text := _restarts(container))]
        return "; ".join([error, *restarts[:1]])
    for pod in pods:
        if text := _pod_problem(pod):
            return text
    failed = [n for n in nodes(workflow).values() if n.get("type") == "Pod" and n.get("phase") in ("Failed", "Error") and n.get("message")]
    if failed:
        return f"{failed[-1].get('displayName', 'a step')}: {failed[-1]['message']}"
    return str(workflow.get("status", {}).get("message", ""))
