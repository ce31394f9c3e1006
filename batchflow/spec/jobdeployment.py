"""A job deployment, as Verda's API and a file with `kind: JobDeployment` write it (spec/verda.md section 2.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from batchflow.spec.computeresource import Rules
from batchflow.spec.fields import Field, Fields
from batchflow.spec.reader import Document, document_of

__all__ = ["KIND", "Healthcheck", "JobDeployment", "Mount", "Scaling", "Variable", "from_document", "merged", "parse_job_deployment", "to_document"]

KIND: Final = "JobDeployment"

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_RESERVED: Final = ("batch", "healthz", "metrics", "openapi.json", "result", "status", "v1")  # paths of the gateway's own
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MAX_NAME: Final = 63
_MAX_PORT: Final = 65_535
_LONGEST_DEADLINE_S: Final = 604_800
_LARGEST: Final = 2**31 - 1
_HEALTH_PATH: Final = "/health"
_MEMORY_MB: Final = tuple(2**power for power in range(6, 16))  # 64 … 32768
_SHM_DIR: Final = "/dev/shm"
_READ_ONLY: Final = ("created_at", "endpoint_base_url", "kind")


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
class Mount:
    """`kind` is scratch, memory, secret or shared; `source` the secret or the volume; `file_names` those of a secret's, none for all."""

    kind: str
    path: str
    source: str = ""
    file_names: tuple[str, ...] = ()
    size_mb: int = 0


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


def parse_job_deployment(document: Document, rules: Rules) -> JobDeployment:
    """Raises InvalidInput naming the field; keys that are unknown, and those that only answers have, are ignored as Verda does."""
    fields = Field.of(document).fields()
    containers = _need(fields, "containers")
    elements = containers.elements()
    if len(elements) != 1:
        raise containers.error(f"should contain exactly 1 element (got {len(elements)})")
    compute = _need(fields, "compute").fields()
    name, size = rules.check_compute(_need(compute, "name"), _need(compute, "size"))
    registry = fields.get("container_registry_settings")
    return JobDeployment(
        name=_name(_need(fields, "name")),
        compute=name,
        size=size,
        scaling=_scaling(_need(fields, "scaling").fields(), rules),
        registry=_registry(registry) if registry else "",
        **_container(elements[0].fields(), rules),
    )


def merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a PATCH makes of a deployment's document: containers by name, the one there is if it names none; other keys one by one.

    What has the wrong type stays as it is, to be refused when the result is parsed.
    """
    result = {**current, **{key: value for key, value in patch.items() if value is not None and key not in ("name", *_READ_ONLY)}}
    for key in ("scaling", "compute"):
        if isinstance(patch.get(key), dict):
            result[key] = {**current[key], **_given(patch[key])}
    containers = patch.get("containers")
    if isinstance(containers, list) and len(containers) == 1 and isinstance(containers[0], dict):
        [there] = current["containers"]
        if containers[0].get("name") in (None, there["name"]):
            result["containers"] = [{**there, **_given(containers[0])}]
    return result


def to_document(deployment: JobDeployment) -> dict[str, Any]:
    """In Verda's schema, without what only an answer has: `created_at` and `endpoint_base_url`."""
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
                    {"name": v.name, "value_or_reference_to_secret": v.value, "type": "secret" if v.secret else "plain"} for v in deployment.env
                ],
                "volume_mounts": [_mount_document(mount) for mount in deployment.mounts],
            }
        ],
        "compute": {"name": deployment.compute, "size": deployment.size, "is_available": True},
        "scaling": {
            "max_replica_count": scaling.max_replica_count,
            "queue_message_ttl_seconds": scaling.ttl_s,
            "deadline_seconds": scaling.deadline_s,
        },
    }


def from_document(document: Mapping[str, Any]) -> JobDeployment:
    """Of `to_document`."""
    return parse_job_deployment(document_of(document, "deployment.json"), Rules.none())


def _need(fields: Fields, key: str) -> Field:
    """In the words of Verda's validator."""
    field = fields.get(key)
    if field is None:
        raise fields.place.at(key).error("should not be null or undefined")
    return field


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _name(field: Field) -> str:
    name = field.text()
    if not _NAME.fullmatch(name):
        raise field.error("should have lower-case letters, digits and dashes only, and neither begin nor end with a dash")
    if len(name) > _MAX_NAME:
        raise field.error(f"should have at most {_MAX_NAME} characters (got {len(name)})")
    if name in _RESERVED:
        raise field.error(f'"{name}" is reserved')
    return name


def _scaling(fields: Fields, rules: Rules) -> Scaling:
    return Scaling(
        _need(fields, "max_replica_count").integer(least=1, most=_LARGEST),
        _need(fields, "queue_message_ttl_seconds").integer(least=1, most=_LARGEST),
        _need(fields, "deadline_seconds").integer(least=rules.deadline_minimum_s, most=_LONGEST_DEADLINE_S),
    )


def _registry(field: Field) -> str:
    fields = field.fields()
    is_private, credentials = fields.get("is_private"), fields.get("credentials")
    if credentials is None:
        if is_private is not None and is_private.boolean():
            raise field.place.at("credentials").error("should not be null or undefined")
        return ""
    return _secret_name(_need(credentials.fields(), "name"))


def _container(fields: Fields, rules: Rules) -> dict[str, Any]:
    image, port = _need(fields, "image"), _port(_need(fields, "exposed_port"))
    if isinstance(image.value, dict):
        image = _need(image.fields(), "image")
    overrides = fields.get("entrypoint_overrides")
    given = overrides.fields() if overrides else None
    cached = fields.get("should_use_cached_image")
    return {
        "image": _image(image, rules),
        "port": port,
        "healthcheck": _healthcheck(fields.get("healthcheck"), port),
        "overrides": _flag(given, "enabled") if given else False,
        "entrypoint": given.strings("entrypoint") if given else (),
        "cmd": given.strings("cmd") if given else (),
        "env": _env(fields.get("env")),
        "mounts": _mounts(fields.get("volume_mounts")),
        "cached_image": cached.boolean() if cached else True,
    }


def _image(field: Field, rules: Rules) -> str:
    image = field.text()
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if any(character.isspace() for character in image):
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
    return Healthcheck(_flag(fields, "enabled", default=True), _port(given) if given else port, text)


def _flag(fields: Fields, key: str, *, default: bool = False) -> bool:
    field = fields.get(key)
    return default if field is None else field.boolean()


def _port(field: Field) -> int:
    return field.integer(least=1, most=_MAX_PORT)


def _env(field: Field | None) -> tuple[Variable, ...]:
    found: dict[str, Variable] = {}
    for element in field.elements() if field else ():
        fields = element.fields()
        name, value, kind = _need(fields, "name"), _need(fields, "value_or_reference_to_secret"), _need(fields, "type")
        if not _VARIABLE.fullmatch(name.text()):
            raise name.error(f'"{name.value}" is not the name of an environment variable')
        if name.text() in found:
            raise name.error(f'"{name.value}" is there twice')
        is_secret = kind.one_of(("plain", "secret")) == "secret"
        found[name.text()] = Variable(name.text(), _secret_name(value) if is_secret else value.string(), is_secret)
    return tuple(found.values())


def _secret_name(field: Field) -> str:
    if not _SECRET.fullmatch(field.text()):
        raise field.error(f'"{field.value}" is not the name of a secret')
    return field.text()


def _mounts(field: Field | None) -> tuple[Mount, ...]:
    found: dict[str, Mount] = {}
    for element in field.elements() if field else ():
        mount = _mount(element.fields())
        if mount.path in found:
            raise element.place.at("mount_path").error(f'"{mount.path}" is there twice')
        found[mount.path] = mount
    return tuple(found.values())


def _mount(fields: Fields) -> Mount:
    kind = _need(fields, "type").one_of(("scratch", "memory", "secret", "shared"))
    path = fields.get("mount_path")
    if kind == "memory":  # it has no other place
        size = _need(fields, "size_in_mb")
        if size.integer() not in _MEMORY_MB:
            raise size.error(f"should be one of {', '.join(map(str, _MEMORY_MB))} (got {size.value})")
        return Mount(kind, _SHM_DIR, size_mb=size.integer())
    where = _mount_path(path or _need(fields, "mount_path"))
    if kind == "secret":
        return Mount(kind, where, _secret_name(_need(fields, "secret_name")), fields.strings("file_names"))
    if kind == "shared":
        volume = fields.get("volume_id") or fields.get("volumeId") or _need(fields, "volume_id")
        return Mount(kind, where, _secret_name(volume))
    return Mount(kind, where)


def _mount_path(field: Field) -> str:
    path = field.text()
    if not path.startswith("/") or path == "/" or ":" in path or ".." in path.split("/"):
        raise field.error("should be an absolute path, and not the root")
    return path


def _mount_document(mount: Mount) -> dict[str, Any]:
    document: dict[str, Any] = {"type": mount.kind, "mount_path": mount.path}
    if mount.kind == "memory":
        document["size_in_mb"] = mount.size_mb
    elif mount.kind == "secret":
        document |= {"secret_name": mount.source, "file_names": list(mount.file_names)}
    elif mount.kind == "shared":
        document["volume_id"] = mount.source
    return document
