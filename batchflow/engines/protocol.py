"""What every engine does: run the Argo Workflow that the compiler made, observe it, stop it, read its logs.

The local engine writes the shapes that Argo and Kubernetes write, so that one status adapter reads both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, Protocol

from batchflow.contract import ARGO_CONTAINERS, NODE_NAME, STEP_CLEANUP

__all__ = ["Engine", "LogLine", "Observation", "worker_of"]

# `<workflow>[1].work(3:3)(0)`: step, fan-out index and value, retry number. The last two are there only if the step has them.
_POD_NODE: Final = re.compile(r".*\.(?P<step>[-\w]+)(?:\((?P<index>\d+):[^)]*\))?(?:\(\d+\))?")


@dataclass(frozen=True, slots=True)
class Observation:
    """What an engine shows of a workflow at one moment.

    `workflow` is a Workflow in Argo's shape with its whole status, or None if there is none (never was, deleted, or its engine died).
    Its `status` is absent or empty until the engine took it up.
    `pods` are in Kubernetes' shape. `message` says why there is no workflow, where the engine knows.
    """

    workflow: dict[str, Any] | None = None
    pods: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a container's output, without its line end. `worker`: see `worker_of`."""

    pod: str
    worker: str
    container: str
    text: str


class Engine(Protocol):
    """Any call may raise `errors.Unreachable`."""

    @property
    def place(self) -> str:
        """Where its workflows run, for people and to be compared; "" if whoever sees the store sees them too."""
        ...

    def check(self, workflow: dict[str, Any]) -> None:
        """Raise what `submit` would, as far as that can be known; nothing is created."""
        ...

    def lacks(self, kind: str, name: str) -> bool:
        """Whether it is certain that its pods would miss this `Secret` or `PersistentVolumeClaim`. What can't be known is not lacking."""
        ...

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        """Start the workflow; no effect if there is one of that name, whatever its state.

        `directory` is where users' containers start if they say nothing else (on this machine only).
        Raises `errors.InvalidInput` for what the engine can't run.
        """
        ...

    def observe(self, name: str) -> Observation: ...

    def stop(self, name: str) -> None:
        """Ask for an orderly end (`spec.shutdown: Stop`) and return at once; no effect if it ended.

        One that is not there yet: on this machine that is remembered, so that it only runs its exit handler when it is submitted;
        a cluster remembers nothing, and NotFound is raised.
        """
        ...

    def kill(self, name: str) -> None:
        """End what still runs of a workflow that was stopped longer ago than its pods' grace period; returns at once.

        That workflow may vanish with it. No effect where nothing outlives its grace period.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a workflow that ended, its pods and their logs; no effect if there is none."""
        ...

    def logs(
        self,
        name: str,
        *,
        worker: str | None = None,
        container: str | None = None,
        follow: bool = False,
        without: Collection[str] = ARGO_CONTAINERS,
        stop: Event | None = None,
    ) -> Iterator[LogLine]:
        """The lines of the workflow's pods, all or those of one worker (as `worker_of` names it, or a pod's name) or container.

        Containers named in `without` are left out unless one is asked for.
        A line of more than 1 MiB comes in pieces.
        `follow` goes on until the workflow is finished and everything was given, or another thread has set `stop`.
        Raises `errors.NotFound` if there is no such workflow.
        """
        ...

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        """The last bytes of a container's output, from the first line that begins among them, if one does; empty if there is none.

        `pod` and `container` are names as `observe` gives them.
        """
        ...


def worker_of(pod: dict[str, Any]) -> str:
    """Short name of the worker that a pod is a try of: the fan-out's index (`3`), else the step's name (`enqueue`, `cleanup`)."""
    match = _POD_NODE.fullmatch(pod["metadata"].get("annotations", {}).get(NODE_NAME, ""))
    if match is None:
        return str(pod["metadata"]["name"])
    step = STEP_CLEANUP if match["step"] == "onExit" else match["step"]
    return match["index"] or step
