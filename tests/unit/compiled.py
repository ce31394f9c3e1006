"""Compiles an entry of cortex.yaml, and finds things in what comes out."""

from __future__ import annotations

from typing import Any

from batchflow.compiler import compile_job
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.spec.api import parse_api
from batchflow.spec.model import ItemList, Submission

SKIPPED = "eks.amazonaws.com/skip-containers"
JOB = JobRef("words", "69a1b2c3d4e5f607")
SUBMISSION = Submission(api="words", workers=3, source=ItemList(items=[1, 2, 3], batch_size=2))

HANDLER_API = {"name": "words", "kind": "BatchAPI", "handler": {"type": "python", "path": "h.py"}}


def pod_api(**container: Any) -> dict[str, Any]:
    first = {"name": "server", "image": "server:1", "command": ["serve"], **container}
    return {"name": "words", "kind": "BatchAPI", "pod": {"containers": [first]}}


def compiled(entry: dict[str, Any], submission: Submission = SUBMISSION, **settings: Any) -> dict[str, Any]:
    api = parse_api(entry, where="cortex.yaml")
    return compile_job(submission, api, JOB, Settings(**settings)).to_dict()  # type: ignore[no-any-return]


def pods_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [t for t in workflow["spec"]["templates"] if "container" in t]


def template(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    return next(t for t in workflow["spec"]["templates"] if t["name"] == name)
