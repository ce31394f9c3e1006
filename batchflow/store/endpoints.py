"""Which paths of a gateway are whose: those of deployed apis, and the names of job deployments that they begin with."""

from __future__ import annotations

from contextlib import suppress

from batchflow.errors import NotFound
from batchflow.store.jobs import ApiRecords
from batchflow.store.parallel import in_parallel

__all__ = ["endpoints", "first_part"]


def endpoints(apis: ApiRecords) -> dict[str, str]:
    """The names of the deployed apis by their endpoints."""

    def endpoint(name: str) -> tuple[str, str] | None:
        current = apis.deployed(name)
        with suppress(NotFound):  # it is being deleted
            return (apis.api(name, current.api_id).endpoint, name) if current else None
        return None

    return dict(filter(None, in_parallel(endpoint, apis.names())))


def first_part(endpoint: str) -> str:
    """Where a job deployment has this name, the path is the deployment's."""
    return endpoint.removeprefix("/").partition("/")[0]
