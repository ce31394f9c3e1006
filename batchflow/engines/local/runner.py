"""Runs a job as Argo does: the groups of steps in order, fanned out, retried; onExit last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from batchflow.contract import PORT_VARIABLES
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.local.launch import Host, PodPlace
from batchflow.engines.local.manifest import COUNT_VARIABLE, NAME_VARIABLE, RETRIES_VARIABLE, Job, PodTemplate, Retry, Step
from batchflow.engines.local.nodes import WorkflowStatus, pod_name
from batchflow.engines.local.pod import Pod, PodResult
from batchflow.engines.local.podstatus import PodStatuses
from batchflow.engines.local.ports import held_ports

__all__ = ["DEADLINE", "STOP", "Interruption", "Runner"]

_log = logging.getLogger(__name__)

# A cluster needs longer pauses to recover; here they would only make people wait.
_LONGEST_BACKOFF_S: Final = 2.0

_FAILED: Final = ("Failed", "Error")

_HOOKED: Final = "hooked"  # Argo's flag of onExit's nodes


@dataclass(frozen=True, slots=True)
class Interruption:
    """Why a job is cut off, in Argo's words for the pod, for what would be retried, and for the workflow."""

    pod_message: str
    retry_message: str
    workflow_message: str


# Argo's message for a pod has two spaces: exec_control.go in its controller.
STOP: Final = Interruption("workflow shutdown with strategy:  Stop", "Stopped with strategy 'Stop'", "Stopped with strategy 'Stop'")
DEADLINE: Final = Interruption("Step exceeded its deadline", "retry exceeded workflow deadline", "Step exceeded its deadline")


@dataclass(frozen=True, slots=True)
class _Child:
    """A node of a group: what is to run, and whether its failure may be passed over."""

    node_name: str
    step: Step


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a node ended, and which of its nodes the next group hangs below (Argo's outbound node)."""

    node_id: str
    result: PodResult
    outbound: str


class Runner:
    """One run of one job. `run` it once; `interrupt` and `read_progress` are for another thread."""

    def __init__(self, job: Job, folder: RunFolder, host: Host, status: WorkflowStatus, pods: PodStatuses) -> None:
        self._job = job
        self._folder = folder
        self._host = host
        self._status = status
        self._pods = pods
        self._parameters: dict[str, str] = {}  # outputs as `{{steps.NAME.outputs.parameters.NAME}}`
        self._lock = threading.Lock()  # of the three below
        self._interruption: Interruption | None = None
        self._active: dict[str, Pod] = {}  # by node id
        self._interruptible: set[str] = set()  # those of `_active` that are not onExit's
        self._interrupted = threading.Event()

    def run(self) -> None:
        """Run the job to its end and write its final status; raises nothing."""
        try:
            phase, message = self._run_steps()
        except Exception as error:
            phase, message = self._own_failure(error)
        try:
            exited = self._run_on_exit()
        except Exception as error:
            exited = PodResult(*self._own_failure(error))
        if phase == "Succeeded" and exited is not None and exited.phase in _FAILED:
            phase, message = exited.phase, exited.message
        self._status.finish_workflow(phase, message)

    def interrupt(self, interruption: Interruption) -> None:
        """Cut the steps off in good order (see `Pod.interrupt`); the first one counts. onExit is left alone."""
        with self._lock:
            if self._interruption is not None:
                return
            self._interruption = interruption
            pods = [self._active[node_id] for node_id in self._interruptible]
        self._interrupted.set()
        for pod in pods:
            pod.interrupt(interruption.pod_message)

    def read_progress(self) -> None:
        """Take over what the running pods' progress files say."""
        with self._lock:
            active = list(self._active.items())
        for node_id, pod in active:
            progress = pod.progress()
            if progress is not None:
                self._status.set_progress(node_id, progress)

    def _own_failure(self, error: Exception) -> tuple[str, str]:
        _log.error("the local engine failed", exc_info=error)
        return "Error", f"the local engine failed: {error!r}; see {self._folder.engine_log}"

    def _run_steps(self) -> tuple[str, str]:
        """The entrypoint's phase and message."""
        root = self._status.add(self._job.name, "Steps", template=self._job.entrypoint)
        parents = [root]
        phase, message = "Succeeded", ""
        for number, steps in enumerate(self._job.groups):
            if self._interruption is not None:
                phase = "Failed"
            else:
                phase, message, parents = self._run_group(number, steps, parents)
            if phase != "Succeeded":
                break
        if phase != "Succeeded" and self._interruption is not None:
            phase, message = "Failed", self._interruption.workflow_message
        self._status.finish(root, phase, message)
        return phase, message

    def _run_group(self, number: int, steps: Sequence[Step], parents: Sequence[str]) -> tuple[str, str, list[str]]:
        """Run a group's nodes in parallel; its phase, its message, and the nodes that the next group hangs below."""
        name = f"{self._job.name}[{number}]"
        group = self._status.add(name, "StepGroup", boundary=self._job.name)
        self._status.link(parents, group)
        try:
            children = [child for step in steps for child in self._expand(name, group, step)]
        except ValueError as error:
            self._status.finish(group, "Error", str(error))
            return "Error", str(error), []
        ended: list[_Ended] = []
        if children:
            with ThreadPoolExecutor(len(children), thread_name_prefix=name) as threads:
                ended = list(threads.map(lambda child: self._run_child(group, child), children))
        phase, message = "Succeeded", ""
        for child, end in zip(children, ended, strict=True):
            if end.result.phase in _FAILED and end.result.phase not in child.step.continue_on:
                phase, message = "Failed", f"child '{end.node_id}' failed"
                break
        self._status.finish(group, phase, message)
        skipped = [] if ended else [group]
        return phase, message, [end.outbound for end in ended] or skipped

    def _expand(self, group_name: str, group: str, step: Step) -> list[_Child]:
        """The nodes that a step makes; a fan-out to none makes a Skipped one. Raises ValueError if the count is not a number."""
        name = f"{group_name}.{step.name}"
        if step.count is None:
            return [_Child(name, step)]
        count = self._parameters.get(COUNT_VARIABLE, "") if step.count == COUNT_VARIABLE else step.count
        if not count.isdecimal():
            raise ValueError(f'withSequence.count of step {step.name} is "{count}", which is not a number')
        if int(count) == 0:
            skipped = self._status.add(
                name, "Skipped", template=step.template, boundary=self._job.name, phase="Skipped", message="Skipped, empty params"
            )
            self._status.link([group], skipped)
        return [_Child(f"{name}({number}:{number})", step) for number in range(int(count))]

    def _run_child(self, group: str, child: _Child) -> _Ended:
        template = self._job.templates[child.step.template]
        end = self._run_node(child.node_name, template, parent=group, boundary=self._job.name, flags=())
        if end.result.phase == "Succeeded" and child.step.count is None:
            values = {f"{{{{steps.{child.step.name}.outputs.parameters.{name}}}}}": text for name, text in end.result.outputs.items()}
            self._parameters.update(values)
        return end

    def _run_on_exit(self) -> PodResult | None:
        """Run the exit handler, which neither stop nor deadline interrupts; None if there is none.

        It is tried again even after those. Argo does not do that, so on a cluster what cleanup repeats itself must do; here to copy
        it would gain nothing, and a cleanup that is killed would leave the run's queue, and no status.
        """
        if self._job.on_exit is None:
            return None
        template = self._job.templates[self._job.on_exit]
        return self._run_node(f"{self._job.name}.onExit", template, parent=None, boundary="", flags=(_HOOKED,)).result

    def _run_node(self, name: str, template: PodTemplate, *, parent: str | None, boundary: str, flags: Sequence[str]) -> _Ended:
        """A pod, or with a retryStrategy a Retry node with a pod below it for each try."""
        retry = template.retry
        if retry is None:
            node_id, result = self._run_pod(name, template, 0, parent=parent, boundary=boundary, flags=flags)
            return _Ended(node_id, result, node_id)
        retry_id = self._status.add(name, "Retry", template=template.name, boundary=boundary, flags=flags)
        if parent is not None:
            self._status.link([parent], retry_id)
        first_started = time.monotonic()
        tries, message, interruptible = 0, None, _HOOKED not in flags
        while message is None:
            try_name = f"{name}({tries})"
            node_id, result = self._run_pod(try_name, template, tries, parent=retry_id, boundary=boundary, flags=(*flags, "retried"))
            tries += 1
            message = self._why_no_retry(retry, result, tries, time.monotonic() - first_started)
            if message is None:
                self._pause(retry, tries, interruptible=interruptible)
            if interruptible and self._interruption is not None and result.phase != "Succeeded":
                message = self._interruption.retry_message
        self._status.finish(retry_id, result.phase, message, _outputs(result))
        return _Ended(retry_id, PodResult(result.phase, message, result.exit_code, result.outputs), node_id)

    def _pause(self, retry: Retry, tries: int, *, interruptible: bool) -> None:
        """Back off before another try."""
        exponent = min(tries - 1, 32)  # past all use, and no float overflows
        pause_s = min(retry.delay_s * retry.factor**exponent, _LONGEST_BACKOFF_S)
        if interruptible:
            self._interrupted.wait(pause_s)
        else:
            time.sleep(pause_s)

    @staticmethod
    def _why_no_retry(retry: Retry, result: PodResult, tries: int, elapsed_s: float) -> str | None:
        """Argo's word for why the strategy allows no further try (empty after a success); None if it allows one."""
        if result.phase == "Succeeded":
            return ""
        if retry.max_duration_s is not None and elapsed_s > retry.max_duration_s:
            return "Max duration limit exceeded"
        if result.phase not in retry.phases:
            return result.message
        if tries > retry.limit:
            return "No more retries left"
        return None if retry.allows(result.exit_code, result.message) else "retryStrategy.expression evaluated to false"

    def _run_pod(
        self, node_name: str, template: PodTemplate, tries: int, *, parent: str | None, boundary: str, flags: Sequence[str]
    ) -> tuple[str, PodResult]:
        """Run one pod to its end; its node's id and how it ended."""
        node_id = self._status.add(node_name, "Pod", template=template.name, boundary=boundary, flags=flags, phase="Pending")
        if parent is not None:
            self._status.link([parent], node_id)
        name = pod_name(self._job.name, template.name, node_name)
        status = self._pods.add(name, template, workflow=self._job.name, node_id=node_id, node_name=node_name)
        with held_ports(variable for variable in PORT_VARIABLES if variable in template.variables) as ports:
            variables = {NAME_VARIABLE: self._job.name, RETRIES_VARIABLE: str(tries)}
            place = PodPlace(name, self._folder.pod(name), ports, variables)
            pod = Pod(template, place, self._host, status, lambda: self._status.start(node_id))
            result = self._run_active(node_id, pod, interruptible=_HOOKED not in flags)
        progress = pod.progress()
        if progress is not None:
            self._status.set_progress(node_id, progress)
        self._status.finish(node_id, result.phase, result.message, _outputs(result))
        return node_id, result

    def _run_active(self, node_id: str, pod: Pod, *, interruptible: bool) -> PodResult:
        """Run it within reach of `interrupt` and `read_progress`."""
        with self._lock:
            self._active[node_id] = pod
            interruption = None
            if interruptible:
                self._interruptible.add(node_id)
                interruption = self._interruption
        if interruption is not None:
            pod.interrupt(interruption.pod_message)
        try:
            return pod.run()
        finally:
            with self._lock:
                del self._active[node_id]
                self._interruptible.discard(node_id)


def _outputs(result: PodResult) -> Mapping[str, object]:
    """A node's outputs in Argo's shape; `exitCode` is text."""
    parameters = [{"name": name, "value": value} for name, value in result.outputs.items()]
    exit_code = {} if result.exit_code is None else {"exitCode": str(result.exit_code)}
    return ({"parameters": parameters} if parameters else {}) | exit_code
