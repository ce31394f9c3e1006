"""What is kept of a recording: the parts that describe a job, none that say where it was made, and a form that can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["render", "trimmed"]

WIDTH: Final = 140
NAMESPACE: Final = "batchflow"
NOBODYS_ADDRESS: Final = "192.0.2.1"
_ADDRESS: Final = re.compile(r"\b(?!127\.)\d{1,3}(\.\d{1,3}){3}\b")
_ARGO: Final = "workflows.argoproj.io/"

Shape = Mapping[str, Any] | None  # what is kept of an object's fields; None: everything


def _fields(names: str, **shapes: Shape) -> Shape:
    return {**dict.fromkeys(names.split()), **shapes}


_METADATA: Final = _fields(
    "name namespace creationTimestamp deletionTimestamp deletionGracePeriodSeconds",
    annotations={f"{_ARGO}node-id": None, f"{_ARGO}node-name": None},
    labels={f"{_ARGO}controller-instanceid": None},
)
_NODE: Final = _fields(
    "id name displayName type templateName phase message startedAt finishedAt children boundaryID nodeFlag progress",
    outputs=_fields("exitCode", parameters=_fields("name value")),
)
_STATE: Final = _fields("waiting running", terminated=_fields("exitCode signal reason message startedAt finishedAt"))
_CONTAINER: Final = _fields("name ready started restartCount", state=_STATE, lastState=_STATE)
_WORKFLOW: Final = _fields(
    "",
    metadata=_METADATA,
    spec=_fields("shutdown activeDeadlineSeconds"),
    status=_fields("phase message startedAt finishedAt progress", conditions=_fields("type status message"), nodes={"*": _NODE}),
)
_POD: Final = _fields(
    "",
    metadata=_METADATA,
    status=_fields(
        "phase reason message startTime",
        conditions=_fields("type status reason message"),
        initContainerStatuses=_CONTAINER,
        containerStatuses=_CONTAINER,
    ),
)
_SUBMISSION: Final = _fields("api_name api_id job_id created_time", submission=_fields("workers timeout config sqs_dead_letter_queue"))
_SNAPSHOT: Final = _fields("now run hook_due queue", workflow=_WORKFLOW, pods=_POD, store={"submission.json": _SUBMISSION, "*": None})


def trimmed(snapshot: Mapping[str, Any], namespace: str) -> str:
    """The snapshot as the text of a file; `namespace` is where it was made."""
    text = _ADDRESS.sub(NOBODYS_ADDRESS, render(_kept(snapshot, _SNAPSHOT)))
    return re.sub(rf"\b{re.escape(namespace)}\b", NAMESPACE, text) + "\n"


def render(value: Any, indent: str = "") -> str:
    """JSON in which whatever fits into a line is on one."""
    flat = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + " "
    if isinstance(value, list):
        parts = [deeper + render(inner, deeper) for inner in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    parts = [f"{deeper}{json.dumps(name)}: {render(inner, deeper)}" for name, inner in sorted(value.items())]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _kept(value: Any, shape: Shape) -> Any:
    if isinstance(value, list):
        return [_kept(inner, shape) for inner in value]
    if shape is None or not isinstance(value, dict):
        return value
    kept = {name: _kept(inner, shape.get(name, shape.get("*"))) for name, inner in value.items() if name in shape or "*" in shape}
    return {name: inner for name, inner in kept.items() if inner != {}}
