"""A job deployment, as Verda's API and a file with `kind: JobDeployment` write it (spec/verda.md section 2.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from batchflow.spec.computeresource import Rules
from batchflow.spec.fields import Field, Fields
from batchflow.spec.reader import Document, document_of
from batchflow.spec.verdafields import finish, need, object_name
from batchflow.spec.volumemount import Mount, mount_document, parse_mounts

__all__ = [
    "KIND",
    "READ_ONLY",
    "RESERVED_NAMES",
    "Healthcheck",
    "JobDeployment",
    "Mount",
    "Scaling",
    "Variable",
    "from_document",
    "parse_job_deployment",
    "to_document",
]

KIND: Final = "JobDeployment"
READ_ONLY: Final = ("created_at", "endpoint_base_url", "kind")  # keys that answers have, and requests may have

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Paths of the gateway's own.
RESERVED_NAMES: Final = ("batch", "delete", "deploy", "get", "healthz", "metrics", "openapi.json", "refresh", "result", "status", "v1")

_IMAGE: Final = re.compile(r"[A-Za-z0-9\[][][A-Za-z0-9._/:@+-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME: Final = 63
_MAX_PORT: Final = 65_535
_LONGEST_DEADLINE_S: Final = 604_800
_LARGEST: Final = 2**31 - 1
_HEALTH_PATH: Final = "/health"


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """Not enabled: a replica gets its job as soon as it listens."""

    enabled: bool
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`secret`: the value is the name of a secret."""

    name: str
    value: str
    secret: bool


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas at once, how long a job may wait, how long a replica may live."""

    max_replica_count: int
    ttl_s: int
    deadline_s: int


@dataclass(frozen=True, slots=True)
class JobDeployment:
    """One container, and how it is run. Empty `entrypoint` or `cmd`: the image's own."""

    name: str
    image: str
    port: int
    healthcheck: Healthcheck
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    overrides: bool  # whether the two are used
    env: tuple[Variable, ...]
    mounts: tuple[Mount, ...]
    cached_image: bool
    compute: str
    size: int
    scaling: Scaling
    registry: str  # the name of an image pull secret; empty: none

    @property
    def container(self) -> str:
        """The container's name, made of the image's."""
        basename = self.image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()
        return f"{re.sub('[^a-z0-9]+', '-', basename).strip('-')[:60] or 'container'}-0"


def parse_job_deployment(document: Document, rules: Rules, *, strict: bool = False) -> JobDeployment:
    """Raises InvalidInput naming the field. Keys that only answers have are ignored, and unknown ones, too, unless it is `strict`."""
    fields = Field.of(replace(document, ignores_unknown=not strict)).fields()
    containers = need(fields, "containers")
    elements = containers.elements()
    if len(elements) != 1:
        raise containers.error(f"should contain exactly 1 element (got {len(elements)})")
    compute = need(fields, "compute").fields()
    name, size = rules.check_compute(need(compute, "name"), need(compute, "size"))
    registry = fields.get("container_registry_settings")
    deployment = JobDeployment(
        name=_name(need(fields, "name")),
        compute=name,
        size=size,
        scaling=_scaling(need(fields, "scaling").fields(), rules),
        registry=_registry(registry) if registry else "",
        **_container(elements[0].fields(), rules),
    )
    finish(compute, "is_available")
    finish(fields, *READ_ONLY)
    return deployment


def to_document(deployment: JobDeployment) -> dict[str, Any]:
    """In Verda's schema, without what only an answer has: `created_at`, `endpoint_base_url`, `is_available`."""
    scaling, health = deployment.scaling, deployment.healthcheck
    return {
        "name": deployment.name,
        "container_registry_settings": {
            "is_private": bool(deployment.registry),
            "credentials": {"name": deployment.registry} if deployment.registry else None,
        },
        "containers": [
            {
                "name": deployment.container,
                "image": {"image": deployment.image},
                "exposed_port": deployment.port,
                "should_use_cached_image": deployment.cached_image,
                "healthcheck": {"enabled": health.enabled, "port": health.port, "path": health.path},
                "entrypoint_overrides": {
                    "enabled": deployment.overrides,
                    "entrypoint": list(deployment.entrypoint),
                    "cmd": list(deployment.cmd),
                },
                "env": [
                    {"name": v.name, "value_or_reference_to_secret": v.value, "type": "secret" if v.secret else "plain"}
                    for v in deployment.env
                ],
                "volume_mounts": [mount_document(mount) for mount in deployment.mounts],
            }
        ],
        "compute": {"name": deployment.compute, "size": deployment.size},
        "scaling": {
            "max_replica_count": scaling.max_replica_count,
            "queue_message_ttl_seconds": scaling.ttl_s,
            "deadline_seconds": scaling.deadline_s,
        },
    }


def from_document(document: Mapping[str, Any]) -> JobDeployment:
    """Of `to_document`."""
    return parse_job_deployment(document_of(document, "deployment.json"), Rules.none())


def _name(field: Field) -> str:
    name = field.text()
    if not _NAME.fullmatch(name):
        raise field.error("should have lower-case letters, digits and dashes only, and neither begin nor end with a dash")
    if len(name) > _MAX_NAME:
        raise field.error(f"should have at most {_MAX_NAME} characters (got {len(name)})")
    if name in RESERVED_NAMES:
        raise field.error(f'"{name}" is reserved')
    return name


def _scaling(fields: Fields, rules: Rules) -> Scaling:
    scaling = Scaling(
        need(fields, "max_replica_count").integer(least=1, most=_LARGEST),
        need(fields, "queue_message_ttl_seconds").integer(least=1, most=_LARGEST),
        need(fields, "deadline_seconds").integer(least=rules.deadline_minimum_s, most=_LONGEST_DEADLINE_S),
    )
    fields.finish()
    return scaling


def _registry(field: Field) -> str:
    fields = field.fields()
    given, credentials = fields.get("is_private"), fields.get("credentials")
    is_private = given is not None and given.boolean()
    fields.finish()
    if credentials is None:
        if is_private:
            raise field.place.at("credentials").error("should not be null or undefined")
        return ""
    named = credentials.fields()
    name = object_name(need(named, "name"), "registry credentials")
    named.finish()
    return name


def _container(fields: Fields, rules: Rules) -> dict[str, Any]:
    image, port = need(fields, "image"), _port(need(fields, "exposed_port"))
    if isinstance(image.value, dict):
        parts = image.fields()
        image = need(parts, "image")
        finish(parts, "last_updated_at")
    overrides = fields.get("entrypoint_overrides")
    given = overrides.fields() if overrides else None
    cached = fields.get("should_use_cached_image")
    parsed = {
        "image": _image(image, rules),
        "port": port,
        "healthcheck": _healthcheck(fields.get("healthcheck"), port),
        "overrides": _enabled(given) if given else False,
        "entrypoint": given.strings("entrypoint") if given else (),
        "cmd": given.strings("cmd") if given else (),
        "env": _env(fields.get("env")),
        "mounts": parse_mounts(fields.get("volume_mounts")),
        "cached_image": cached.boolean() if cached else True,
    }
    if given:
        given.finish()
    finish(fields, "name")
    return parsed


def _image(field: Field, rules: Rules) -> str:
    image = field.text()
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not _IMAGE.fullmatch(image):
        raise field.error(f'"{image}" is not the name of an image')
    if not digest and tag in ("", "latest") and not rules.allow_latest_tag:
        raise field.error('should name a tag other than "latest", or a digest')
    return image


def _healthcheck(field: Field | None, port: int) -> Healthcheck:
    if field is None:
        return Healthcheck(True, port, _HEALTH_PATH)
    fields = field.fields()
    given = fields.get("port")
    path = fields.get("path")
    text = path.text() if path else _HEALTH_PATH
    if path and (not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text):
        raise path.error("should be a path that begins with a slash")
    enabled = _enabled(fields)
    fields.finish()
    return Healthcheck(enabled, _port(given) if given else port, text)


def _enabled(fields: Fields) -> bool:
    """Whoever writes something means it, as the SDK's defaults do."""
    field = fields.get("enabled")
    return True if field is None else field.boolean()


def _port(field: Field) -> int:
    return field.integer(least=1, most=_MAX_PORT)


def _env(field: Field | None) -> tuple[Variable, ...]:
    found: dict[str, Variable] = {}
    for element in field.elements() if field else ():
        fields = element.fields()
        name, value, kind = need(fields, "name"), need(fields, "value_or_reference_to_secret"), need(fields, "type")
        if not _VARIABLE.fullmatch(name.text()):
            raise name.error(f'"{name.value}" is not the name of an environment variable')
        if name.text() in found:
            raise name.error(f'"{name.value}" is there twice')
        is_secret = kind.one_of(("plain", "secret")) == "secret"
        found[name.text()] = Variable(name.text(), object_name(value, "a secret") if is_secret else value.string(), is_secret)
        fields.finish()
    return tuple(found.values())
