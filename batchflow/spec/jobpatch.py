"""What a PATCH makes of a job deployment (spec/verda.md section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchflow.spec.jobdeployment import READ_ONLY
from batchflow.spec.reader import document_of

__all__ = ["merged"]

_KEY_BY_KEY: Final = ("scaling", "compute")
_KEY_BY_KEY_OF_A_CONTAINER: Final = ("healthcheck", "entrypoint_overrides")


def merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The document that there will be. `current` is of `to_document`; null stands for what is left out, and lists are replaced.

    What has the wrong type stays as it is, to be refused when the result is parsed. Raises InvalidInput if a container is named
    that there is not.
    """
    patch = {key: value for key, value in patch.items() if key not in ("name", *READ_ONLY)}
    result = _merged(current, patch, _KEY_BY_KEY)
    containers = patch.get("containers")
    if isinstance(containers, list) and len(containers) == 1 and isinstance(containers[0], dict):
        [there] = current["containers"]
        named = containers[0].get("name")
        if named not in (None, there["name"]):
            place = document_of(patch).place.at("containers").at(0).at("name")
            raise place.error(f'is "{named}", and there is no such container', hint=f"use {there['name']}, or leave it out")
        result["containers"] = [_container(there, containers[0])]
    return result


def _container(there: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The health check's port follows the container's, unless it is another, or the patch names it."""
    result = _merged(there, patch, _KEY_BY_KEY_OF_A_CONTAINER)
    health = result["healthcheck"]
    if isinstance(health, dict) and health["port"] == there["exposed_port"] and not _names_health_port(patch):
        result["healthcheck"] = {**health, "port": result["exposed_port"]}
    return result


def _names_health_port(patch: Mapping[str, Any]) -> bool:
    health = patch.get("healthcheck")
    return isinstance(health, dict) and health.get("port") is not None


def _merged(current: Mapping[str, Any], patch: Mapping[str, Any], key_by_key: tuple[str, ...]) -> dict[str, Any]:
    given = _given(patch)
    below = {key: {**current[key], **_given(given[key])} for key in key_by_key if isinstance(given.get(key), dict)}
    return {**current, **given, **below}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
