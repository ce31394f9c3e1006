"""An api and a submission as JSON documents, as the store keeps them, and back. Reading goes through the rules that files go through."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from batchflow.errors import InvalidInput
from batchflow.spec.api import parse_api
from batchflow.spec.model import Api, ItemList, Source, Submission
from batchflow.spec.submission import parse_submission

__all__ = ["api_document", "api_from_document", "api_id", "submission_document", "submission_from_document"]

_API_ID_DIGITS: Final = 32


def api_document(api: Api) -> dict[str, Any]:
    """apis/<api>/<api_id>.json: the entry as written, and what was learned from the project's files."""
    return {"api": dict(api.raw), "project": api.project, "has_hook": api.has_hook}


def api_from_document(document: Mapping[str, Any]) -> Api:
    """Reverse of `api_document`; raises InvalidInput for a document that it did not make."""
    where = "stored api"
    entry, project, has_hook = document.get("api"), document.get("project"), document.get("has_hook")
    if not isinstance(entry, Mapping) or not isinstance(project, str | None) or not isinstance(has_hook, bool):
        raise InvalidInput("is not what batchflow stores for an api", where=where, hint="deploy the api again")
    return replace(parse_api(entry, where=where), project=project, has_hook=has_hook)


def api_id(document: Mapping[str, Any]) -> str:
    """32 hex digits of the document's SHA-256: the same content has the same id, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_API_ID_DIGITS]


def submission_document(submission: Submission) -> dict[str, Any]:
    """The body in Cortex's schema (spec/cortex.md section 4), without `api`; what was not said is left out."""
    queue = submission.dead_letter_queue
    document = {
        "workers": submission.workers,
        "timeout": submission.timeout_s,
        "sqs_dead_letter_queue": queue and {"arn": queue.arn, "max_receive_count": queue.max_receive_count},
        "config": submission.config,
        submission.source.key: _source_document(submission.source),
    }
    return {key: value for key, value in document.items() if value is not None}


def submission_from_document(document: Mapping[str, Any], *, api: str) -> Submission:
    """Reverse of `submission_document`, checked again."""
    return parse_submission(document, api=api, strict=True)


def _source_document(source: Source) -> dict[str, Any]:
    if isinstance(source, ItemList):
        return {"items": source.items, "batch_size": source.batch_size}
    document = {
        "s3_paths": list(source.s3_paths),
        "includes": list(source.includes),
        "excludes": list(source.excludes),
        "batch_size": source.batch_size,
    }
    return {key: value for key, value in document.items() if value}
