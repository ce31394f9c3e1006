"""What a replica's engine shows of it, and whether that is a reason to stop it: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from batchflow import contract
from batchflow.deployments.endings import cut_short_error, deadline_error, failed_to_start
from batchflow.engines.protocol import Observation
from batchflow.status import pods as pod_status
from batchflow.status import workflow as workflow_status

__all__ = ["Replica", "containers_of", "reason_of_engine", "reason_to_stop", "replica_of"]

# What can't be started may be startable a moment later: registries have bad moments, too.
PATIENCE_S: Final = 60.0
_STARTED_WITHIN_S: Final = 1.0  # Kubernetes tells times in whole seconds, cut off
_UNKNOWN_EXIT_CODE: Final = "-1"  # Argo's
_DELETED: Final = "its workflow was deleted"
_NO_TIME: Final = "there was no time left for it"
_NO_COURIER: Final = f"its courier can't be used (exit code {contract.EXIT_BAD_INPUT}), and has logged why"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replica:
    """A call's replica at one moment.

    Attributes:
        is_gone: nothing of it runs, or will run.
        is_stopping: somebody has asked for its end, or deleted its workflow.
        is_timed_out: the engine itself has ended it, at the end of the time that it had for starting and working.
        started: when main was started, Unix seconds, cut off; None if it never was, as far as is known.
        ran_s: from then until main ended, if that is known.
        exit_code: main's; None until it ended, and if it never ran.
        problem: why a container can't be started, or do its work, if it does not look as if that would come by itself.
        explanation: the best there is for its end, if that was not main's.
    """

    is_gone: bool = False
    is_stopping: bool = False
    is_timed_out: bool = False
    started: float | None = None
    ran_s: float | None = None
    exit_code: int | None = None
    problem: str = ""
    explanation: str = ""


def replica_of(seen: Observation, now: float) -> Replica:
    """`now`: Unix seconds."""
    said = workflow_status.messages(seen.workflow) if seen.workflow else []
    mains = [container for pod in seen.pods for container in pod_status.containers(pod) if container["name"] == contract.CONTAINER_MAIN]
    return Replica(
        is_gone=_is_gone(seen, now),
        is_stopping=seen.workflow is None or workflow_status.is_stopped(seen.workflow),
        is_timed_out=any(text.startswith(workflow_status.DEADLINE_WORDS) for text in said),
        started=max(filter(None, map(_started, mains)), default=None),
        ran_s=max(filter(None, map(_ran_s, mains)), default=None),
        exit_code=_exit_code(seen.workflow, mains),
        problem=_problem(seen),
        explanation=_explanation(seen, said),
    )


def reason_to_stop(replica: Replica, *, deadline_s: int, problem_s: float, now: float) -> str:
    """Why a replica that is not gone must end; empty: it may go on. `problem_s`: how long it has had its problem."""
    if replica.started is not None and now >= replica.started + _STARTED_WITHIN_S + deadline_s:
        return deadline_error(deadline_s)
    if replica.problem and problem_s > PATIENCE_S:
        return failed_to_start(replica.problem)
    return ""


def reason_of_engine(replica: Replica, *, deadline_s: int) -> str:
    """Why the engine itself has ended it; empty if it has not."""
    if not replica.is_timed_out:
        return failed_to_start(replica.problem) if replica.problem and replica.started is None else ""
    if replica.started is None:
        return failed_to_start(replica.explanation or _NO_TIME)
    # Its time is counted from its workflow's start: what it waited too long for a node was taken from its own.
    if replica.ran_s is not None and replica.ran_s + _STARTED_WITHIN_S < deadline_s:
        return cut_short_error(replica.ran_s, deadline_s)
    return deadline_error(deadline_s)


def containers_of(seen: Observation, now: float) -> list[tuple[str, str]]:
    """Pod and container of each whose log may be had, but for Argo's own; `now`: Unix seconds."""
    at = datetime.fromtimestamp(now, UTC)
    return [
        (pod_status.name_of(pod), container["name"])
        for pod in seen.pods
        if not pod_status.is_overdue(pod, at)
        for container in pod_status.containers(pod)
        if container["name"] not in contract.ARGO_CONTAINERS
    ]


def _is_gone(seen: Observation, now: float) -> bool:
    """A pod that should have ended long ago is on a lost node, and not waited for."""
    if seen.workflow is None and seen.message:  # the local engine was killed, and takes all with it that it has started
        return True
    if seen.workflow is not None and not workflow_status.ended(seen.workflow):
        return False
    at = datetime.fromtimestamp(now, UTC)
    return not any(pod_status.is_alive(pod) and not pod_status.is_overdue(pod, at) for pod in seen.pods)


def _started(main: Json) -> float | None:
    state = main.get("state", {})
    since = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    return datetime.fromisoformat(since).timestamp() if since else None


def _ran_s(main: Json) -> float | None:
    ended = main.get("state", {}).get("terminated") or {}
    if not ended.get("startedAt") or not ended.get("finishedAt"):
        return None
    return (datetime.fromisoformat(ended["finishedAt"]) - datetime.fromisoformat(ended["startedAt"])).total_seconds()


def _exit_code(workflow: Json | None, mains: list[Json]) -> int | None:
    """The pod's word, and once the pod is gone Argo's."""
    codes = [ended["exitCode"] for main in mains if (ended := main.get("state", {}).get("terminated"))]
    if codes:
        return int(codes[-1])
    outputs = (node.get("outputs") or {} for node in workflow_status.nodes(workflow or {}).values() if node.get("type") == "Pod")
    told = [output["exitCode"] for output in outputs if output.get("exitCode") not in (None, _UNKNOWN_EXIT_CODE)]
    return int(told[-1]) if told else None


def _problem(seen: Observation) -> str:
    pods = (pod_status.cannot_start(pod) or _courier_problem(pod) for pod in seen.pods if pod_status.is_alive(pod))
    return next(filter(None, pods), "") or workflow_status.entrypoint_problem(seen.workflow or {})


def _courier_problem(pod: Json) -> str:
    """Kubernetes starts it again for ever, and nobody else brings the replica its job: such as one of another version than its workflow."""
    couriers = [container for container in pod_status.containers(pod) if container["name"] == contract.STEP_COURIER]
    ends = [container.get(key, {}).get("terminated") or {} for container in couriers for key in ("state", "lastState")]
    return _NO_COURIER if any(end.get("exitCode") == contract.EXIT_BAD_INPUT for end in ends) else ""


def _explanation(seen: Observation, said: list[str]) -> str:
    if seen.workflow is None:
        return seen.message or _DELETED
    problems = (pod_status.problem(pod) for pod in seen.pods)
    texts = (workflow_status.entrypoint_problem(seen.workflow), *problems, *filter(workflow_status.is_telling, said))
    return next(filter(None, texts), "")
