"""How a run came to its end, as far as Workflow, Pods and counters show it, and the best explanation of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from batchflow import contract
from batchflow.records import Counters
from batchflow.status import pods as pod_status
from batchflow.status.verdict import Ending
from batchflow.status.workflow import DEADLINE_WORDS, FAILED_PHASES, SHUTDOWN_WORDS, is_stopped, is_telling, messages, tries

__all__ = ["ending"]

Json = Mapping[str, Any]


def ending(workflow: Json | None, pods: Sequence[Json], counters: Iterable[Counters], explanation: str = "") -> Ending:
    """How the workflow ended, or what is to be said if there is none any more (`explanation`: the engine's words)."""
    memory = next((text for pod in pods if (text := pod_status.ran_out_of_memory(pod))), "")
    if workflow is None:
        return Ending(deleted=True, reason=memory or explanation, out_of_memory=bool(memory))
    said = messages(workflow)
    memory = memory or next((text for text in said if "OOMKilled" in text or pod_status.NODE_OUT_OF_MEMORY in text), "")
    stopped = is_stopped(workflow) or any(text.startswith(SHUTDOWN_WORDS) for text in said)
    timed_out = any(text.startswith(DEADLINE_WORDS) for text in said)
    reasons = _from_pods(pods, [*counters]) or ([] if stopped or timed_out else _from_nodes(workflow))
    if memory and not any("memory" in reason for reason in reasons):
        reasons = [memory, *reasons]
    reasons.sort(key=lambda reason: "memory" not in reason)
    return Ending(stopped, timed_out, out_of_memory=bool(memory), reason="; ".join(reasons))


def _from_pods(pods: Sequence[Json], counters: Sequence[Counters]) -> list[str]:
    """A step's own words, else what a pod waited for to the end, or how users' containers ended."""
    said = [c for c in counters if c.state == "failed" and c.error]
    if said:
        # A Handler's runtime itself tells the dequeuer why it ended.
        endings = (pod_status.container_endings(pod, but=contract.CONTAINER_HANDLER) for pod in pods)
        return [max(said, key=lambda c: c.updated).error, *(text for text in endings if text)][:2]
    return [text for pod in pods if (text := pod_status.problem(pod) or pod_status.container_endings(pod))][:1]


def _from_nodes(workflow: Json) -> list[str]:
    """What Argo says of the first step that failed, else of the whole."""
    failed = [(attempt.name, attempt.node.get("message")) for attempt in tries(workflow) if attempt.phase in FAILED_PHASES]
    named = [f"{name}: {message}" for name, message in failed if is_telling(message)]
    return (named or [text for text in messages(workflow) if is_telling(text)])[:1]
