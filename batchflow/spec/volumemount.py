"""What is mounted into a job deployment's container (spec/verda.md section 2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from batchflow.spec.fields import Field, Fields
from batchflow.spec.verdafields import need, object_name

__all__ = ["Mount", "mount_document", "parse_mounts"]

_MEMORY_MB: Final = tuple(2**power for power in range(6, 16))  # 64 … 32768
_SHM_DIR: Final = "/dev/shm"
_SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")  # Kubernetes'


@dataclass(frozen=True, slots=True)
class Mount:
    """`kind` is scratch, memory, secret or shared; `source` the secret or the volume; `file_names` which of the secret's, all if empty."""

    kind: str
    path: str
    source: str = ""
    file_names: tuple[str, ...] = ()
    size_mb: int = 0


def parse_mounts(field: Field | None) -> tuple[Mount, ...]:
    """Of a container's `volume_mounts`; raises InvalidInput naming the field."""
    found: dict[str, Mount] = {}
    for element in field.elements() if field else ():
        fields = element.fields()
        mount = _mount(fields)
        fields.finish()
        if mount.path in found:
            raise element.place.at("mount_path").error(f'"{mount.path}" is there twice')
        found[mount.path] = mount
    return tuple(found.values())


def _mount(fields: Fields) -> Mount:
    kind, path = need(fields, "type").one_of(("scratch", "memory", "secret", "shared")), fields.get("mount_path")
    if kind == "memory":  # it has no other place
        size = need(fields, "size_in_mb")
        if size.integer() not in _MEMORY_MB:
            raise size.error(f"should be one of {', '.join(map(str, _MEMORY_MB))} (got {size.value})")
        return Mount(kind, _SHM_DIR, size_mb=size.integer())
    where = _mount_path(path or need(fields, "mount_path"))
    if kind == "secret":
        return Mount(kind, where, object_name(need(fields, "secret_name"), "a secret"), _file_names(fields.get("file_names")))
    if kind == "shared":
        volume = fields.get("volume_id") or fields.get("volumeId") or need(fields, "volume_id")
        return Mount(kind, where, object_name(volume, "a volume"))
    return Mount(kind, where)


def _file_names(field: Field | None) -> tuple[str, ...]:
    """Unique ones, which Kubernetes takes as keys of a Secret: of another it would make no pod."""
    names = field.elements() if field else []
    for name in names:
        if not _SECRET_KEY.fullmatch(name.text()) or name.text().startswith(".."):
            raise name.error(f'"{name.value}" is not the name of a file in a secret')
    return tuple(dict.fromkeys(name.text() for name in names))


def _mount_path(field: Field) -> str:
    path = field.text()
    if not path.startswith("/") or path == "/" or ":" in path or ".." in path.split("/"):
        raise field.error("should be an absolute path, and not the root")
    return path


def mount_document(mount: Mount) -> dict[str, Any]:
    """In Verda's schema."""
    document: dict[str, Any] = {"type": mount.kind, "mount_path": mount.path}
    if mount.kind == "memory":
        document["size_in_mb"] = mount.size_mb
    elif mount.kind == "secret":
        document |= {"secret_name": mount.source, "file_names": list(mount.file_names)}
    elif mount.kind == "shared":
        document["volume_id"] = mount.source
    return document
