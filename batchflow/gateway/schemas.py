"""The OpenAPI document's schemas: what is answered, and what may be posted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from batchflow.gateway.guard import OPEN_PATHS

__all__ = [
    "DEPLOY_BODY",
    "SUBMISSION_BODY",
    "ApiDocument",
    "DeploymentDocument",
    "JobDocument",
    "JobResponse",
    "Message",
    "Problem",
    "complete",
    "documented_methods",
    "errors",
]

_WORDS: Final = {
    400: "what Cortex refuses, in its words; kind tells which rule",
    401: "no token, or none that is valid",
    403: "a request on another site's behalf",
    404: "no api has this endpoint",
    422: "the Idempotency-Key came with another body before",
    503: "store, queue service or cluster is out of reach; try again",
}


class _Document(BaseModel):
    """More keys may come with later versions."""

    model_config = ConfigDict(extra="allow")


class Problem(_Document):
    """An error."""

    kind: str
    message: str


class Message(_Document):
    """What was done."""

    message: str


class DeadLetterQueue(_Document):
    """Where failed batches go."""

    arn: str
    max_receive_count: int


class JobDocument(_Document):
    """A job as submitted; docs/status.md explains each key."""

    job_id: str
    api_name: str
    kind: str
    workers: int
    sqs_dead_letter_queue: DeadLetterQueue | None
    config: dict[str, Any] | None
    timeout: int | None
    api_id: str
    sqs_url: str
    start_time: str
    created_time: str


class JobStatusDocument(JobDocument):
    """A job as it is now."""

    status: str
    batches_in_queue: int
    batch_metrics: dict[str, Any]


class JobResponse(_Document):
    """Cortex's answer about a job."""

    job_status: JobStatusDocument
    api_spec: dict[str, Any]
    metrics: dict[str, Any]
    endpoint: str


class ApiMetadata(_Document):
    """`last_updated` is in Unix seconds."""

    name: str
    kind: str
    id: str
    last_updated: int


class DeployedApi(_Document):
    """An api as deployed."""

    spec: dict[str, Any]
    metadata: ApiMetadata
    endpoint: str


class ApiVersion(_Document):
    """`last_updated` is known of the deployed version only."""

    api_id: str
    last_updated: int | None


class ApiDocument(DeployedApi):
    """An api with its jobs."""

    dashboard_url: str
    batch_job_statuses: list[JobStatusDocument]
    api_versions: list[ApiVersion]


class DeploymentDocument(_Document):
    """What became of an api of the file."""

    api: DeployedApi
    message: str
    error: str


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with what FastAPI can't know: how a token is sent, and that our own code asks for `jobID`."""
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "cortex": {"type": "apiKey", "in": "header", "name": "X-Cortex-Authorization"},
    }
    document.setdefault("components", {})["securitySchemes"] = schemes
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path not in OPEN_PATHS:
                operation["security"] = [{name: []} for name in schemes]
            for parameter in operation.get("parameters", ()):
                parameter["required"] = parameter["required"] or parameter["name"] == "jobID"
    return document


def documented_methods(document: Mapping[str, Any], path: str) -> list[str]:
    """The methods of a path; the document has the paths in the order in which they are tried, an api's own endpoint, any path, last."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)) if template != ANY_PATH else ".*"
        if re.fullmatch(pattern, path, re.DOTALL):
            return sorted(method.upper() for method in operations)
    return []


def errors(*statuses: int, text: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint; `text`: its 400 and 503 may be those of a dry run."""
    plain = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        status: {"model": Problem, "description": _WORDS[status], **(plain if text and status in (400, 503) else {})} for status in statuses
    }


ANY_PATH: Final = "/{endpoint}"
_SOURCES: Final = ("item_list", "file_path_lister", "delimited_files")
_STRINGS: Final = {"type": ["array", "null"], "items": {"type": "string"}}
_SIZE: Final = {"type": "integer", "minimum": 1}


def _files(what: str) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": what,
        "required": ["s3_paths", "batch_size"],
        "properties": {
            "s3_paths": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "includes": _STRINGS,
            "excludes": _STRINGS,
            "batch_size": _SIZE,
        },
    }


SUBMISSION_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "At most 10 MiB. Exactly one of item_list, file_path_lister and delimited_files; unknown keys are ignored.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["workers"],
                    "oneOf": [{"required": [key], "properties": {key: {"type": "object"}}} for key in _SOURCES],
                    "properties": {
                        "workers": _SIZE,
                        "timeout": {"type": ["integer", "null"], "minimum": 1, "description": "seconds"},
                        "config": {"type": ["object", "null"]},
                        "sqs_dead_letter_queue": {
                            "type": ["object", "null"],
                            "required": ["arn", "max_receive_count"],
                            "properties": {"arn": {"type": "string", "minLength": 1}, "max_receive_count": _SIZE},
                        },
                        "item_list": {
                            "type": ["object", "null"],
                            "required": ["items", "batch_size"],
                            "properties": {"items": {"type": "array", "minItems": 1, "items": {}}, "batch_size": _SIZE},
                        },
                        "file_path_lister": _files("Each path is an item"),
                        "delimited_files": _files("Each JSON value in the files is an item"),
                    },
                }
            }
        },
    }
}
DEPLOY_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A cortex.yaml alone, or as a form with the files beside it.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["config"],
                    "properties": {
                        "config": {"type": "string", "format": "binary"},
                        "project.zip": {"type": "string", "format": "binary"},
                    },
                }
            },
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
