"""The Workflow's fields that this engine executes, parsed. It is a closed list: whatever else a manifest holds is refused by name.

Three sets for each object: what is executed, what can have no meaning on this machine (ignored), and the rest (refused).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from batchflow.contract import CONTAINER_MAIN, OUTPUT_WORKERS, STEP_ENQUEUE, WAKE_S
from batchflow.engines.local.environment import Value, parse_reference
from batchflow.errors import InvalidInput

__all__ = ["COUNT_VARIABLE", "NAME_VARIABLE", "RETRIES_VARIABLE", "Container", "Job", "PodTemplate", "Retry", "Step", "parse"]

NAME_VARIABLE: Final = "{{workflow.name}}"
RETRIES_VARIABLE: Final = "{{retries}}"
COUNT_VARIABLE: Final = f"{{{{steps.{STEP_ENQUEUE}.outputs.parameters.{OUTPUT_WORKERS}}}}}"

_WAKE: Final = {"duration": WAKE_S}  # a `suspend` that is for Argo only: nothing to run here
_SPEC: Final = {"entrypoint", "onExit", "activeDeadlineSeconds", "shutdown", "templates", "podMetadata"}
_SPEC_IGNORED: Final = {
    *("affinity", "automountServiceAccountToken", "executor", "imagePullSecrets", "nodeSelector", "podGC"),
    *("podPriorityClassName", "podSpecPatch", "securityContext", "serviceAccountName", "tolerations", "ttlStrategy"),
}
_POD: Final = {"name", "container", "initContainers", "outputs", "retryStrategy", "activeDeadlineSeconds", "metadata", "volumes"}
_POD_IGNORED: Final = _SPEC_IGNORED | {"priorityClassName"}
_METADATA: Final = {"labels", "annotations"}
_ELSEWHERE: Final = {"secret": "a Secret", "persistentVolumeClaim": "a volume of the cluster"}
_CONTAINER: Final = {"name", "command", "args", "env", "envFrom", "workingDir", "restartPolicy"}
_CONTAINER_IGNORED: Final = {
    *("image", "imagePullPolicy", "lifecycle", "livenessProbe", "mirrorVolumeMounts", "ports", "resources", "securityContext"),
    *("terminationMessagePath", "terminationMessagePolicy", "volumeMounts"),
}

_EXPRESSION: Final = re.compile(
    r'lastRetry\.exitCode not in \[\s*((?:"\d+"\s*,?\s*)*)\]'
    r'(?: and !\(lastRetry\.message startsWith "([^"\\]+)"\))?'
)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Container:
    """`ours`: it reads the ConfigMap, so it is a step of batchflow; otherwise it is the user's."""

    name: str
    command: tuple[str, ...]  # with its args
    env: tuple[tuple[str, Value], ...]
    ours: bool
    secrets: bool  # whether all keys of some Secret are variables, too
    working_dir: str
    sidecar: bool  # a native one: an init container that is restarted, and ends after main


@dataclass(frozen=True, slots=True)
class Retry:
    """`limit`: tries after the first. `phases`: of a try that may be followed by another.

    The expression: `not_retried` are exit codes, as text; a message that begins with `final_message` is not retried either.
    """

    limit: int
    phases: frozenset[str]
    not_retried: frozenset[str]
    delay_s: float
    factor: float
    max_duration_s: float | None
    final_message: str | None = None

    def allows(self, exit_code: int | None, message: str) -> bool:
        """What the expression says of a try that ended so; Argo gives -1 for an exit code that it does not know."""
        code = "-1" if exit_code is None else str(exit_code)
        final = self.final_message is not None and message.startswith(self.final_message)
        return code not in self.not_retried and not final


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A template that makes a pod."""

    name: str
    init: tuple[Container, ...]
    main: Container
    outputs: tuple[tuple[str, str], ...]  # (parameter, path in the pod)
    retry: Retry | None
    deadline_s: float | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def variables(self) -> frozenset[str]:
        """The names of all variables that its containers declare."""
        return frozenset(name for container in (*self.init, self.main) for name, _ in container.env)


@dataclass(frozen=True, slots=True)
class Step:
    """`count`: None for a plain step, else a number or COUNT_VARIABLE. `continue_on`: phases that don't fail the group."""

    name: str
    template: str
    count: str | None
    continue_on: frozenset[str]


@dataclass(frozen=True, slots=True)
class Job:
    """A whole Workflow."""

    name: str
    entrypoint: str
    groups: tuple[tuple[Step, ...], ...]
    templates: Mapping[str, PodTemplate]
    on_exit: str | None
    deadline_s: float | None
    shutdown: bool


def parse(workflow: Mapping[str, Any]) -> Job:
    """Parse a manifest; raises InvalidInput naming the field that can't be executed here."""
    spec = _known(workflow.get("spec"), "spec", _SPEC, _SPEC_IGNORED)
    templates = {str(template.get("name")): template for template in spec.get("templates", [])}
    entrypoint = str(spec.get("entrypoint"))
    if entrypoint not in templates:
        raise InvalidInput(f'no template is named "{entrypoint}"', where="spec.entrypoint")
    where = f"spec.templates[{entrypoint}]"
    entry = _known(templates.pop(entrypoint), where, {"name", "steps", "metadata"}, _POD_IGNORED)
    _check_variables(entry, where, {COUNT_VARIABLE, NAME_VARIABLE})
    without_pod = {name for name, template in templates.items() if template.get("suspend") == _WAKE}
    pods = {
        name: _pod(template, f"spec.templates[{name}]", spec.get("podMetadata", {}))
        for name, template in templates.items()
        if name not in without_pod
    }
    _check_variables({k: v for k, v in spec.items() if k != "templates"}, "spec", {NAME_VARIABLE})
    listed = ([_step(step, f"{where}.steps") for step in group] for group in entry.get("steps", []))
    groups = tuple(tuple(step for step in group if step.template not in without_pod) for group in listed)
    on_exit = spec.get("onExit")
    for name in [step.template for group in groups for step in group] + ([on_exit] if on_exit else []):
        if name not in pods:
            raise InvalidInput(f'no template of a pod is named "{name}"', where="spec.templates")
    return Job(
        name=str(workflow["metadata"]["name"]),
        entrypoint=entrypoint,
        groups=groups,
        templates=pods,
        on_exit=on_exit,
        deadline_s=_seconds(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds"),
        shutdown=bool(spec.get("shutdown")),
    )


def _known(value: object, where: str, executed: set[str], ignored: set[str] | frozenset[str] = frozenset()) -> dict[str, Any]:
    """The executed fields of an object. An empty field says nothing, so it is never refused."""
    if not isinstance(value, Mapping):
        raise InvalidInput("an object is missing", where=where)
    for key, content in value.items():
        if key not in executed and key not in ignored and content not in (None, "", {}, [], False):
            raise InvalidInput(f'the local engine does not execute the field "{key}"', where=where, hint="run this job on Argo")
    return {key: content for key, content in value.items() if key in executed and content is not None}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, content in value.items():
            yield str(key)
            yield from _strings(content)
    elif isinstance(value, list):
        for content in value:
            yield from _strings(content)


def _check_variables(value: object, where: str, variables: set[str]) -> None:
    for text in _strings(value):
        rest = text
        for variable in variables:
            rest = rest.replace(variable, "")
        if "{{" in rest:
            raise InvalidInput(f'the local engine does not expand "{rest}"', where=where, hint=f"it knows {', '.join(sorted(variables))}")


def _step(value: object, where: str) -> Step:
    step = _known(value, where, {"name", "template", "withSequence", "continueOn"})
    sequence = step.get("withSequence")
    count = None if sequence is None else str(_known(sequence, f"{where}.withSequence", {"count"}).get("count", ""))
    if count is not None and count != COUNT_VARIABLE and not count.isdecimal():
        raise InvalidInput(f'"{count}" is not a number', where=f"{where}.withSequence.count")
    continue_on = _known(step.get("continueOn", {}), f"{where}.continueOn", {"failed", "error"})
    phases = {"Failed": continue_on.get("failed"), "Error": continue_on.get("error")}
    return Step(step["name"], step["template"], count, frozenset(phase for phase, continues in phases.items() if continues))


def _pod(value: object, where: str, common: object) -> PodTemplate:
    pod = _known(value, where, _POD, _POD_IGNORED)
    retry = _retry(pod["retryStrategy"], f"{where}.retryStrategy") if "retryStrategy" in pod else None
    _check_variables(pod, where, {NAME_VARIABLE, RETRIES_VARIABLE} if retry else {NAME_VARIABLE})
    for volume in pod.get("volumes", []):
        _check_volume(volume, f"{where}.volumes[{volume.get('name')}]")
    outputs = _known(pod.get("outputs", {}), f"{where}.outputs", {"parameters"}).get("parameters", [])
    shared = _known(common, "spec.podMetadata", _METADATA)
    metadata = _known(pod.get("metadata", {}), f"{where}.metadata", _METADATA)
    init = tuple(_container(c, f"{where}.initContainers[{c.get('name')}]", init=True) for c in pod.get("initContainers", []))
    return PodTemplate(
        name=pod["name"],
        init=init,
        main=_container(pod.get("container"), f"{where}.container", init=False),
        outputs=tuple(_output(parameter, f"{where}.outputs.parameters") for parameter in outputs),
        retry=retry,
        deadline_s=_seconds(pod.get("activeDeadlineSeconds"), f"{where}.activeDeadlineSeconds"),
        labels={**shared.get("labels", {}), **metadata.get("labels", {})},
        annotations={**shared.get("annotations", {}), **metadata.get("annotations", {})},
    )


def _check_volume(value: object, where: str) -> None:
    """Only an emptyDir is executed: a folder of the pod's own. Of other volumes nothing is on this machine."""
    for source, name in _ELSEWHERE.items():
        if isinstance(value, Mapping) and source in value:
            raise InvalidInput(f"{name} can't be mounted on this machine", where=where, hint="leave the mount out, or run this job on Argo")
    _known(value, where, {"name", "emptyDir"})


def _output(value: object, where: str) -> tuple[str, str]:
    parameter = _known(value, where, {"name", "valueFrom"})
    return parameter["name"], _known(parameter.get("valueFrom"), f"{where}.valueFrom", {"path"}).get("path", "")


def _container(value: object, where: str, *, init: bool) -> Container:
    container = _known(value, where, _CONTAINER, _CONTAINER_IGNORED)
    policy = container.get("restartPolicy")
    if policy is not None and not (init and policy == "Always"):
        raise InvalidInput(f'"{policy}" is not executed here', where=f"{where}.restartPolicy")
    if not container.get("command"):
        raise InvalidInput(
            "a container needs a command here, since there is no image to take one from",
            where=f"{where}.command",
            hint="an api's container names it by `command`, a job deployment's by `entrypoint_overrides` (`enabled: true`, `entrypoint`)",
        )
    sources = [_known(s, f"{where}.envFrom", {"configMapRef", "secretRef"}, {"prefix"}) for s in container.get("envFrom", [])]
    return Container(
        name=container["name"] if init else CONTAINER_MAIN,
        command=(*container["command"], *container.get("args", [])),
        env=tuple(_variable(variable, f"{where}.env") for variable in container.get("env", [])),
        ours=any("configMapRef" in source for source in sources),
        secrets=any("secretRef" in source for source in sources),
        working_dir=container.get("workingDir", ""),
        sidecar=policy == "Always",
    )


def _variable(value: object, where: str) -> tuple[str, Value]:
    variable = _known(value, where, {"name", "value", "valueFrom"})
    name = variable["name"]
    return name, parse_reference(name, variable["valueFrom"], where) if "valueFrom" in variable else variable.get("value", "")


def _retry(value: object, where: str) -> Retry:
    retry = _known(value, where, {"limit", "retryPolicy", "expression", "backoff"}, {"affinity"})
    expression = retry.get("expression", "lastRetry.exitCode not in []")
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        form = 'lastRetry.exitCode not in ["1", "2"] and !(lastRetry.message startsWith "text")'
        raise InvalidInput(f'"{expression}" is not of the form {form}', where=f"{where}.expression")
    # Argo's default: Always if there is an expression, OnFailure otherwise.
    policy = retry.get("retryPolicy", "Always" if "expression" in retry else "OnFailure")
    phases = {"Always": {"Failed", "Error"}, "OnFailure": {"Failed"}, "OnError": {"Error"}}.get(policy)
    limit = str(retry.get("limit", ""))
    if phases is None or not limit.isdecimal():
        raise InvalidInput("needs a retryPolicy of Always, OnFailure or OnError, and a limit", where=where)
    backoff = _known(retry.get("backoff", {}), f"{where}.backoff", {"duration", "factor", "maxDuration"})
    return Retry(
        limit=int(limit),
        phases=frozenset(phases),
        not_retried=frozenset(re.findall(r"\d+", match[1])),
        delay_s=_seconds(backoff.get("duration"), f"{where}.backoff.duration") or 0.0,
        factor=float(backoff.get("factor", 1)),
        max_duration_s=_seconds(backoff.get("maxDuration"), f"{where}.backoff.maxDuration"),
        final_message=match[2],
    )


def _seconds(value: object, where: str) -> float | None:
    """A number of seconds, or a duration such as `1h30m`."""
    text = str(value)
    if value is None or text == "":
        return None
    if text.isdecimal():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f'"{text}" is not a duration', where=where, hint="write seconds, or such as 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
