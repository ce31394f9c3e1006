"""What a job deployment names of its namespace, and must be there before a replica can start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from batchflow.engines.protocol import Engine
from batchflow.errors import InvalidInput
from batchflow.spec.jobdeployment import JobDeployment

__all__ = ["check_references"]

_SECRET: Final = "Secret"
_CLAIM: Final = "PersistentVolumeClaim"
_CONTAINER: Final = "containers: index 0"


def check_references(deployment: JobDeployment, engine: Engine) -> None:
    """Raises InvalidInput naming the field that refers to what is certainly not there."""
    for field, kind, name in _references(deployment):
        if engine.lacks(kind, name):
            raise InvalidInput(f'there is no {kind} "{name}"', where=field, hint="create it in the namespace first")


def _references(deployment: JobDeployment) -> Iterator[tuple[str, str, str]]:
    """Field, kind and name."""
    for index, variable in enumerate(deployment.env):
        if variable.secret:
            yield f"{_CONTAINER}: env: index {index}: value_or_reference_to_secret", _SECRET, variable.value
    for index, mount in enumerate(deployment.mounts):
        if mount.kind == "secret":
            yield f"{_CONTAINER}: volume_mounts: index {index}: secret_name", _SECRET, mount.source
        elif mount.kind == "shared":
            yield f"{_CONTAINER}: volume_mounts: index {index}: volume_id", _CLAIM, mount.source
    if deployment.registry:
        yield "container_registry_settings: credentials: name", _SECRET, deployment.registry
