"""Job deployments and their jobs as text and as documents: pure functions of what is shown and of the time. Texts end without a newline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from batchflow.cli.tables import clock, pairs, shown_time, since, table
from batchflow.deployments.listing import CallList, CallView, DeploymentView
from batchflow.spec.jobdeployment import KIND

__all__ = ["call_document", "call_text", "calls_text", "deployment_document", "deployments_table"]


def deployments_table(views: Sequence[DeploymentView]) -> str:
    """`batchflow get`: every job deployment."""
    return table(("job deployment", "status", "running", "waiting", "max replicas"), [(view.name, *_counts(view)) for view in views])


def calls_text(view: DeploymentView, calls: CallList, now: datetime) -> str:
    """`batchflow get NAME`: its jobs, newest first, then the deployment itself."""
    rows = [(call.id, call.status, since(_iso(call.arrived), now), _error(call)) for call in calls.calls]
    blocks = [
        table(("job id", "status", "age", "error"), rows) if rows else "no jobs",
        f"endpoint: /{view.name}",
        table(("status", "running", "waiting", "max replicas", "image"), [(*_counts(view), _image(view))]),
    ]
    return "\n\n".join(blocks)


def call_text(call: CallView, now: datetime) -> str:
    """`batchflow get NAME ID`."""
    ended = _iso(call.ending.ended) if call.ending else None
    seconds = (datetime.fromisoformat(ended) if ended else now).timestamp() - call.arrived
    exit_code = call.ending and call.ending.exit_code
    first = {"job id": call.id, "status": call.status, "message": call.message, "error": _error(call)}
    times = {"start time": shown_time(_iso(call.arrived)), "end time": shown_time(ended), "duration": clock(max(0, int(seconds)))}
    last = {
        "request": call.request and f"{call.request.method} {call.request.target} ({call.request.body_bytes} bytes)",
        "reply": call.reply and f"{call.reply.status} {call.reply.content_type} ({call.reply.body_bytes} bytes)",
        "exit code": None if exit_code is None else str(exit_code),
        "workflow": call.workflow,
    }
    return "\n\n".join(pairs({name: text for name, text in block.items() if text}) for block in (first, times, last))


def deployment_document(view: DeploymentView) -> dict[str, Any]:
    """In Verda's schema, with its kind and what is known of it now."""
    state = {"status": view.status, "running": view.running, "waiting": view.waiting}
    return {"kind": KIND, **view.record.spec, "created_at": view.record.created_time, "endpoint": f"/{view.name}", **state}


def call_document(call: CallView) -> dict[str, Any]:
    """Verda's answer for a status, and what else is known."""
    request, reply, ending = call.request, call.reply, call.ending
    return {
        "Id": call.id,
        "Status": call.status,
        "Error": _error(call) or None,
        "message": call.message,
        "start_time": _iso(call.arrived),
        "end_time": ending and _iso(ending.ended),
        "exit_code": ending and ending.exit_code,
        "request": request and {"method": request.method, "target": request.target, "body_bytes": request.body_bytes},
        "reply": reply and {"status": reply.status, "content_type": reply.content_type, "body_bytes": reply.body_bytes},
        "workflow": call.workflow,
    }


def _counts(view: DeploymentView) -> tuple[str, str, str, str]:
    return view.status, str(view.running), str(view.waiting), str(view.record.spec["scaling"]["max_replica_count"])


def _image(view: DeploymentView) -> str:
    return str(view.record.spec["containers"][0]["image"]["image"])


def _error(call: CallView) -> str:
    return " ".join(call.ending.error.split()) if call.ending else ""


def _iso(unix_s: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
