"""A pod: init containers in their order, sidecars, main; then the sidecars' end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from batchflow.contract import POD_ROOTS
from batchflow.engines.local.container import ContainerProcess
from batchflow.engines.local.launch import Host, Launch, PodPlace, launch, remap
from batchflow.engines.local.manifest import Container, PodTemplate
from batchflow.engines.local.podstatus import PodStatus
from batchflow.engines.local.sidecar import Sidecar

__all__ = ["Pod", "PodResult"]

# Kubernetes' words for a pod that ran into its own activeDeadlineSeconds.
_DEADLINE_MESSAGE: Final = "Pod was active on the node longer than the specified deadline"

_PROGRESS: Final = re.compile(r"(\d+)/([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a pod ended, as the node's status says it. `exit_code` is main's, None if main never ran."""

    phase: str  # Succeeded, Failed or Error
    message: str = ""
    exit_code: int | None = None
    outputs: dict[str, str] = field(default_factory=dict)


class Pod:
    """One pod; `run` it once, in a thread of its own. `interrupt` and `progress` may be called from any other."""

    def __init__(self, template: PodTemplate, place: PodPlace, host: Host, status: PodStatus, on_running: Callable[[], None]) -> None:
        self._template = template
        self._place = place
        self._host = host
        self._status = status
        self._on_running = on_running  # called when main is about to run
        self._grace_s = float(host.settings.grace_s)
        self._sidecars: list[Sidecar] = []
        self._lock = threading.Lock()  # between a start and an interruption
        self._interrupted = ""
        self._foreground: ContainerProcess | None = None
        self._timers: list[threading.Timer] = []

    def run(self) -> PodResult:
        """Run the pod to its end; when this returns no process of it is left."""
        for root in POD_ROOTS:
            Path(remap(root, self._place.folder)).mkdir(parents=True, exist_ok=True)
        (self._place.folder / "logs").mkdir(exist_ok=True)
        if self._template.deadline_s is not None:
            self._after(self._template.deadline_s, lambda: self.interrupt(_DEADLINE_MESSAGE))
        try:
            result = self._initialize() or self._run_main()
        finally:
            self._end_sidecars()
            for timer in self._timers:
                timer.cancel()
        self._status.set_condition("Ready", False)
        if result.phase == "Failed":
            reason = "DeadlineExceeded" if self._interrupted == _DEADLINE_MESSAGE else ""
            self._status.set_phase("Failed", reason=reason, message=self._interrupted)
        else:  # main did its work, whatever became of its outputs
            self._status.set_phase("Succeeded")
        return result

    def interrupt(self, message: str) -> None:
        """End the pod in good order: SIGTERM to the container in hand, SIGKILL after the grace period; no effect the second time.

        `message` becomes the node's. The sidecars end after main, as ever.
        """
        with self._lock:
            if self._interrupted:
                return
            self._interrupted = message
            if self._foreground is not None:
                self._foreground.terminate()
                self._after(self._grace_s, self._foreground.kill)

    def progress(self) -> str | None:
        """The last line of main's progress file, `N/M`; None if there is none, or it makes no sense."""
        try:
            lines = (self._place.folder / "progress").read_text().split()
        except (OSError, UnicodeDecodeError):
            return None
        match = _PROGRESS.fullmatch(lines[-1]) if lines else None
        return match[0] if match and int(match[1]) <= int(match[2]) else None

    def _initialize(self) -> PodResult | None:
        """Init containers in their order; the result if one of them fails."""
        for container in self._template.init:
            if container.sidecar:
                sidecar = Sidecar(container.name, self._launch(container), self._status)
                self._sidecars.append(sidecar)
                sidecar.start()
                continue
            exit_code = self._run_container(container)
            if exit_code != 0:
                return self._failed(container, exit_code)
        self._status.set_condition("Initialized", True)
        return None

    def _run_main(self) -> PodResult:
        self._status.set_phase("Running")
        self._status.set_condition("Ready", True)
        self._on_running()
        exit_code = self._run_container(self._template.main)
        if exit_code != 0:
            return self._failed(self._template.main, exit_code)
        if self._interrupted:  # Argo decides so the moment it interrupts a pod
            return PodResult("Failed", self._interrupted, exit_code)
        outputs: dict[str, str] = {}
        for name, path in self._template.outputs:
            try:
                outputs[name] = Path(remap(path, self._place.folder)).read_text().removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                return PodResult("Error", f"output parameter {name} can't be read from {path}: {error}", exit_code)
        return PodResult("Succeeded", exit_code=exit_code, outputs=outputs)

    def _run_container(self, container: Container) -> int | None:
        """Run it to its end; its exit code, or None if the pod was interrupted before it could start."""
        start = self._launch(container)
        with self._lock:
            if self._interrupted:
                return None
            process = self._foreground = ContainerProcess(start)
        self._status.running(container.name, guard_pid=process.guard_pid, child_pid=process.child_pid)
        exit_code = process.wait()
        self._status.terminated(container.name, exit_code)
        return exit_code

    def _launch(self, container: Container) -> Launch:
        start = launch(container, self._place, self._host)
        if start.directory.is_relative_to(self._place.folder):  # as Kubernetes makes a workingDir that the image lacks
            start.directory.mkdir(parents=True, exist_ok=True)
        return start

    def _failed(self, container: Container, exit_code: int | None) -> PodResult:
        # "Error" is Kubernetes' reason for every exit code but 0; Argo puts it so.
        message = self._interrupted or f"{container.name}: Error (exit code {exit_code})"
        return PodResult("Failed", message, exit_code if container is self._template.main else None)

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        timer = threading.Timer(delay_s, act)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _end_sidecars(self) -> None:
        """The last one first, all of them within one grace period."""
        deadline = time.monotonic() + self._grace_s
        for sidecar in reversed(self._sidecars):
            sidecar.end(max(0.0, deadline - time.monotonic()))
