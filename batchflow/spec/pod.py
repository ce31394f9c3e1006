"""`pod`: spec/cortex.md section 1, C."""

from __future__ import annotations

from typing import Final

from batchflow.contract import CONTAINER_MAIN, STEP_PREPARE
from batchflow.spec.compute import parse_compute
from batchflow.spec.fields import Field
from batchflow.spec.model import Container, Pod, Probe
from batchflow.spec.naming import env_map, label_name, warn_of_cortex_image

__all__ = ["parse_pod"]

_MAX_PORT: Final = 65_535
_RESERVED_PORTS: Final = (8888, 15000)
_RESERVED_ENV: Final = ("CORTEX_", "KUBEXIT_")
_MAX_CONTAINER_NAME: Final = 63  # Kubernetes' DNS label
# Cortex's own containers, Argo's, and ours: names are unique in a pod.
_RESERVED_NAMES: Final = ("dequeuer", "proxy", CONTAINER_MAIN, "init", "wait", STEP_PREPARE)
_UNSUPPORTED: Final = "{} key is not supported for BatchAPI kind"


def parse_pod(field: Field) -> Pod:
    """The user's containers, and the port on which one of them takes batches."""
    fields = field.fields()
    fields.refuse("max_concurrency", _UNSUPPORTED.format("max_concurrency"), hint="use max_concurrency under `batchflow`")
    fields.refuse("max_queue_length", _UNSUPPORTED.format("max_queue_length"))
    port = fields.get("port")
    containers = fields.need("containers")
    parsed: dict[str, Container] = {}
    for element in containers.elements(least=1):
        container = _container(element)
        if container.name in parsed:
            raise element.place.at("name").error(f'"{container.name}" is there twice', hint="containers need names of their own")
        parsed[container.name] = container
    pod = Pod(tuple(parsed.values()), port=_port(port) if port else Pod(()).port)
    if any(c.compute.gpu for c in pod.containers) and any(c.compute.inf for c in pod.containers):
        raise containers.error("gpu and inf cannot be used together in one pod")
    fields.finish()
    return pod


def _container(element: Field) -> Container:
    field = _named(element)
    fields = field.fields()
    fields.refuse("pre_stop", _UNSUPPORTED.format("pre_stop"))
    name, image = fields.need("name"), fields.need("image")
    label_name(name, longest=_MAX_CONTAINER_NAME)
    if name.value in _RESERVED_NAMES:
        raise name.error(f'"{name.value}" is reserved', hint=f"choose a name other than {', '.join(_RESERVED_NAMES)}")
    warn_of_cortex_image(image, hint="name an image of your own")
    container = Container(
        name=name.text(),
        image=image.text(),
        command=fields.need("command").strings(least=1),
        args=fields.strings("args"),
        env=env_map(fields.get("env"), reserved=_RESERVED_ENV),
        compute=parse_compute(fields.get("compute"), container=True)[0],
        readiness_probe=_probe(fields.get("readiness_probe"), ("http_get", "tcp_socket")),
        liveness_probe=_probe(fields.get("liveness_probe"), ("http_get", "tcp_socket", "exec")),
    )
    fields.finish()
    return container


def _named(element: Field) -> Field:
    """The container called by its name in errors, if it has one, instead of by its index."""
    name = element.value.get("name") if isinstance(element.value, dict) else None
    if not isinstance(name, str) or not name:
        return element
    return Field(element.value, element.place.called(*element.place.labels[:-1], name))


def _probe(field: Field | None, kinds: tuple[str, ...]) -> Probe | None:
    if field is None:
        return None
    fields = field.fields()
    is_readiness = "exec" not in kinds
    if is_readiness and fields.refuse("exec", "exec is not supported for a readiness probe", hint=f"use {' or '.join(kinds)}"):
        return None
    chosen = fields.exactly_one_of(*kinds)
    kind, action = chosen.key, chosen.fields()
    default = Probe(kind)
    probe = Probe(
        kind=kind,
        port=_port(action.need("port")) if kind != "exec" else default.port,
        path=action.string("path", "/") if kind == "http_get" else default.path,
        command=action.need("command").strings(least=1) if kind == "exec" else default.command,
        initial_delay_s=fields.integer("initial_delay_seconds", default.initial_delay_s, least=0),
        timeout_s=fields.integer("timeout_seconds", default.timeout_s, least=0),
        period_s=fields.integer("period_seconds", default.period_s, least=0),
        success_threshold=fields.integer("success_threshold", default.success_threshold, least=0),
        failure_threshold=fields.integer("failure_threshold", default.failure_threshold, least=0),
    )
    if is_readiness and (field := fields.get("failure_threshold")):
        field.place.warn("has no effect on a readiness probe", hint="the next batch waits as soon as it fails once")
    action.finish()
    fields.finish()
    return probe


def _port(field: Field) -> int:
    port = field.integer(least=1, most=_MAX_PORT)
    if port in _RESERVED_PORTS:
        raise field.error(f"port {port} is reserved", hint="choose another port")
    return port
