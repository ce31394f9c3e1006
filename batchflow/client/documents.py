"""The JSON documents of Cortex's API view and job status (spec/cortex.md section 6), which the command line and the HTTP API answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from batchflow.client.deployment import CREATED, UNCHANGED, UPDATED, Deployment
from batchflow.client.job import Job
from batchflow.records import DeploymentRecord
from batchflow.spec.model import Api
from batchflow.status.model import JobStatus

__all__ = ["KIND", "api_document", "api_view", "deployment_document", "deployment_message", "job_response"]

KIND: Final = "BatchAPI"
_MESSAGES: Final = {CREATED: "created {} (BatchAPI)", UPDATED: "updated {} (BatchAPI)", UNCHANGED: "{} (BatchAPI) is up to date"}


def job_response(job: Job, status: JobStatus, *, base_url: str = "") -> dict[str, Any]:
    """The body of Cortex's GET, both generations' keys in it (docs/status.md); `base_url` begins its endpoint."""
    document = status.to_dict()
    api = job.api_version()
    return {
        "job_status": document,
        "api_spec": dict(api.raw),
        "metrics": document["metrics"],
        "endpoint": f"{base_url}{api.endpoint}?jobID={job.id}",
    }


def api_document(api: Api, record: DeploymentRecord, *, base_url: str = "") -> dict[str, Any]:
    """A deployed api, as `POST /deploy` and `GET /get` show it."""
    return {"spec": _spec(api, record.api_id), "metadata": _metadata(api.name, record), "endpoint": f"{base_url}{api.endpoint}"}


def api_view(
    api: Api, record: DeploymentRecord, versions: Iterable[str], jobs: Iterable[JobStatus], *, base_url: str = ""
) -> dict[str, Any]:
    """An element of the body of Cortex's GET /get and /get/<api>: an api with its stored versions, and those of its jobs that are shown.

    An api that is not deployed, as the command line runs them, has an empty `deployed_time`, and null for `last_updated`.
    """
    document = api_document(api, record, base_url=base_url)
    updated = document["metadata"]["last_updated"]
    return {
        **document,
        "dashboard_url": "",
        "batch_job_statuses": [status.to_dict() for status in jobs],
        "api_versions": [{"api_id": version, "last_updated": updated if version == record.api_id else None} for version in versions],
    }


def deployment_document(deployment: Deployment, *, base_url: str = "") -> dict[str, Any]:
    """An element of the body of Cortex's POST /deploy; with `warnings`, a list of strings, if there are any."""
    warnings = {"warnings": list(deployment.api.warnings)} if deployment.api.warnings else {}
    return {
        "api": api_document(deployment.api, deployment.record, base_url=base_url),
        "message": deployment_message(deployment),
        "error": "",
        **warnings,
    }


def deployment_message(deployment: Deployment) -> str:
    """What became of an api, in Cortex's words."""
    return _MESSAGES[deployment.change].format(deployment.api.name)


def _spec(api: Api, api_id: str) -> Mapping[str, Any]:
    return {**api.raw, "id": api_id}


def _metadata(name: str, record: DeploymentRecord) -> dict[str, Any]:
    """`last_updated` is in Unix seconds."""
    updated = int(datetime.fromisoformat(record.deployed_time).timestamp()) if record.deployed_time else None
    return {"name": name, "kind": KIND, "id": record.api_id, "last_updated": updated}
