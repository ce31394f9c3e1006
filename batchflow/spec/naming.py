"""Rules for names that end up in Kubernetes, URLs and paths."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from batchflow.spec.fields import Field

__all__ = ["env_map", "label_name", "object_name", "project_path", "warn_of_cortex_image"]

_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# Kubernetes' DNS subdomain and environment variable names.
_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_OBJECT: Final = 253
_CORTEX_IMAGE: Final = re.compile(r"((quay|docker)\.io/)?cortexlabs(dev)?/.*", re.DOTALL)
_ENV: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def label_name(field: Field, *, longest: int) -> str:
    """The name of an api or a container."""
    name = field.text()
    if not _LABEL.fullmatch(name):
        hint = "use lower-case letters, digits and dashes; begin with a letter and don't end with a dash"
        raise field.error(f'"{name}" is not a valid name', hint=hint)
    if len(name) > longest:
        raise field.error(f"must be no more than {longest} characters (got {len(name)})", hint="choose a shorter name")
    return name


def object_name(field: Field) -> str:
    """The name of a Kubernetes object such as a Secret."""
    name = field.text()
    if len(name) > _MAX_OBJECT or not _OBJECT.fullmatch(name):
        raise field.error(f'"{name}" is not the name of a Kubernetes object', hint="use lower-case letters, digits, dashes and dots")
    return name


def env_map(field: Field | None, *, reserved: tuple[str, ...]) -> dict[str, str]:
    """Environment variables; the system sets those that begin with a reserved prefix."""
    env: dict[str, str] = {}
    for name, value in field.fields() if field else ():
        if not _ENV.fullmatch(name):
            raise value.error(f'"{name}" is not the name of an environment variable')
        if name.startswith(reserved):
            prefix = next(prefix for prefix in reserved if name.startswith(prefix))
            raise value.error(f'environment variables that begin with "{prefix}" are reserved', hint="rename it")
        env[name] = value.string()
    return env


def project_path(field: Field) -> str:
    """A file's path below the project's folder, as written."""
    path = field.text()
    if path.startswith(("/", "~")) or posixpath.normpath(path).split("/")[0] in (".", ".."):
        raise field.error(f'"{path}" is not a path within the project', hint="write it relative to the folder of the api's file")
    return path


def warn_of_cortex_image(field: Field | None, *, hint: str) -> None:
    """Nobody keeps Cortex's registry, and the server in its handler images is not started here."""
    if field and _CORTEX_IMAGE.fullmatch(field.text()):
        field.place.warn(f'"{field.text()}" is one of Cortex\'s own images, which may be gone', hint=hint)
