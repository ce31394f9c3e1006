"""A run on a cluster whose only node is this machine: where its processes are found; pods that are deleted, a controller that is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.installation import SHARED
from tests.cluster.kit import WORKFLOW, run
from tests.cluster.recorder import Recorder
from tests.faults.cluster_processes import Processes
from tests.faults.injury import TARGETS
from tests.faults.job import HANDLER
from tests.faults.proxy import FaultProxy
from tests.faults.scenario import Fault, Moment

__all__ = ["ClusterPlace", "Controller"]

UP_S: Final = 300
AT_ONCE: Final = ("--grace-period=0", "--force")
CLUSTER_HANDLER: Final = Path(__file__).with_name("cluster_handler.py")
NAME_AND_PHASE: Final = "custom-columns=:.metadata.name,:.status.phase"


class Controller:
    """The cluster's workflow-controller, a process of this machine. Several runs share it."""

    def __init__(self, state: Path) -> None:
        """`state` is the folder of ../shared/cluster/up."""
        self._state = state
        self._lock = threading.Lock()

    def kill(self, down_s: float, over: threading.Event) -> str:
        """It comes back after that time, or when the run is over."""
        with self._lock:
            os.kill(int((self._state / "run" / "workflow-controller.pid").read_text()), signal.SIGKILL)
            over.wait(down_s)
            run(SHARED / "cluster" / "up", timeout_s=UP_S, environ={**os.environ, "BATCHFLOW_CLUSTER": str(self._state)})
        return f"{down_s} s"


@dataclass(frozen=True)
class ClusterPlace:
    """A job in a namespace of its own."""

    namespace: str
    job_id: str
    recorder: Recorder
    processes: Processes
    controller: Controller
    proxies: Mapping[str, FaultProxy]
    hang_s: float = 900  # on two cores, beside others; a run takes a minute or two
    resumes: bool = False

    def project(self) -> Mapping[str, Path]:
        return {"handler.py": CLUSTER_HANDLER, "logged.py": HANDLER}

    def config(self) -> Mapping[str, Any]:
        return {"recorder": self.recorder.url}

    def notes(self) -> list[dict[str, Any]]:
        return [{"event": note.event, **note.payload} for note in self.recorder.notes(self.job_id)]

    def running(self) -> tuple[str, ...]:
        """Pods, and workflows that have not ended: one of them may be about to make a pod anew."""
        return (*self._named("pods", "Pending", "Running"), *self._named("workflows", "<none>", "Pending", "Running"))

    def seen(self, moment: Moment) -> bool:
        if moment.event == "submitted":
            return bool(self._named("workflows", "<none>", "Pending", "Running"))
        if moment.event == "hook":
            return any(note["event"] == "hook_began" for note in self.notes())
        if moment.event == "ended":
            return len({note["batch"] for note in self.notes() if note["event"] in ("ended", "raised")}) >= moment.count
        return bool(self._found(moment.event, "main"))

    def living(self, target: str) -> list[tuple[int, int]]:
        """The first process of its container, and the command in it."""
        return self._found(*TARGETS[target])

    def inflict(self, fault: Fault, over: threading.Event) -> str | None:
        if fault.target == "controller":
            return self.controller.kill(fault.for_s, over)
        return self._delete_pod(fault) if fault.target == "pod" else None

    def _found(self, step: str, container: str) -> list[tuple[int, int]]:
        ours = (one for one in self.processes.now() if f"{self.job_id}-{step}-" in one.pod and one.container == container)
        return [(one.first, one.id) for one in ours]

    def _delete_pod(self, fault: Fault) -> str:
        """Any that lives; half of them in good order, half at once."""
        names = self._named("pods", "Pending", "Running")
        if not names:
            return ""
        manner = AT_ONCE if fault.pick * 1000 % 1 < 0.5 else ()
        with suppress(AssertionError):  # it has gone meanwhile
            run("kubectl", "-n", self.namespace, "delete", "pod", names[int(fault.pick * len(names))], "--wait=false", *manner)
            return "at once" if manner else "in good order"
        return ""

    def _named(self, kind: str, *phases: str) -> list[str]:
        """The names of the namespace's pods of jobs, or workflows, in one of these phases."""
        selector = ("-l", WORKFLOW) if kind == "pods" else ()
        lines = run("kubectl", "-n", self.namespace, "get", kind, *selector, "--no-headers", "-o", NAME_AND_PHASE).splitlines()
        return [name for name, phase in map(str.split, filter(str.strip, lines)) if phase in phases]
