"""Documents of job deployments, and what becomes of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from batchflow.errors import InvalidInput
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import JobDeployment, parse_job_deployment
from batchflow.spec.reader import document_of

Json = dict[str, Any]

ABSENT = object()
SMALLEST: Json = {
    "name": "digits",
    "containers": [{"image": "registry.example/team/app:1.0", "exposed_port": 8000}],
    "compute": {"name": "General Compute", "size": 1},
    "scaling": {"max_replica_count": 2, "queue_message_ttl_seconds": 300, "deadline_seconds": 600},
}
CONTAINER = "containers.0"
MISSING = "should not be null or undefined"
ENV = {"name": "MODE", "value_or_reference_to_secret": "fast", "type": "plain"}


def changed(path: str = "", value: Any = ABSENT, *, of: Json = SMALLEST) -> Json:
    """A document with one field changed, or taken away; `containers.0.image` names one."""
    document = copy.deepcopy(of)
    *way, last = path.split(".")
    place: Any = document
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if value is ABSENT:
        place.pop(last, None)
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return document


def parsed(document: Any, rules: Rules = Rules(), *, strict: bool = False) -> JobDeployment:  # noqa: B008
    return parse_job_deployment(document_of(document), rules, strict=strict)


def refused(document: Any, rules: Rules = Rules(), *, strict: bool = False) -> str:  # noqa: B008
    """The error's place, as Verda's messages write it, and its text."""
    with pytest.raises(InvalidInput) as caught:
        parsed(document, rules, strict=strict)
    return f"{caught.value.where.replace(': index ', '.').replace(': ', '.')} {caught.value.what}".strip()


def full_document() -> Json:
    """With every key that there is, those of answers too."""
    container: Json = {
        "name": "app-0",
        "image": {"image": "registry.example/team/app:1.0", "last_updated_at": "2026-01-01T00:00:00.000Z"},
        "exposed_port": 8000,
        "should_use_cached_image": True,
        "healthcheck": {"enabled": True, "port": 8001, "path": "/ready"},
        "entrypoint_overrides": {"enabled": True, "entrypoint": ["python"], "cmd": ["app.py"]},
        "env": [dict(ENV)],
        "volume_mounts": [{"type": "scratch", "mount_path": "/data"}],
    }
    answer = {"kind": "JobDeployment", "created_at": "2026-01-01T00:00:00.000Z", "endpoint_base_url": "http://127.0.0.1/digits"}
    registry = {"is_private": True, "credentials": {"name": "hub"}}
    compute = {"name": "General Compute", "size": 1, "is_available": True}
    return {**SMALLEST, **answer, "containers": [container], "container_registry_settings": registry, "compute": compute}
