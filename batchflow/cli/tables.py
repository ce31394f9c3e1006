"""Cortex's tables (spec/cortex.md section 6, "CLI"): pure functions of what is shown and of the time. All end without a newline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from batchflow.client import ApiSummary, JobList
from batchflow.status.model import DISPLAY, ENQUEUING, PENDING, JobStatus, WorkerCounts

__all__ = ["apis_table", "clock", "job_text", "jobs_table", "pairs", "shown_time", "since", "table"]

TIME_FORMAT: Final = "%d %b %y %H:%M:%S UTC"
GAP: Final = "   "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))
    return "\n".join(lines)


def apis_table(apis: Sequence[ApiSummary], now: datetime) -> str:
    """`batchflow get`: every api, with its jobs' number and the latest one."""
    rows = [(api.name, str(api.running_jobs), _latest(api, now), _last_update(api, now)) for api in apis]
    return table(("batch api", "running jobs", "latest job id", "last update"), rows)


def jobs_table(jobs: JobList, now: datetime) -> str:
    """`batchflow get API`: its jobs, newest first, then where it is deployed, if it is."""
    rows = [
        (status.job_id, DISPLAY[status.status], str(status.total_batch_count), shown_time(status.created_time), _duration(status, now))
        for status in jobs.statuses
    ]
    head = ("job id", "status", "total batches", "start time", "duration")
    blocks = [table(head, rows) if rows else "no submitted batch jobs"]
    if jobs.deployed:
        blocks += [f"endpoint: {jobs.endpoint}"]
        blocks += [table(("api id", "last deployed"), [(jobs.deployed.api_id, since(jobs.deployed.deployed_time, now))])]
    return "\n\n".join(blocks)


def job_text(status: JobStatus, endpoint: str, now: datetime) -> str:
    """`batchflow get API JOB`. What Cortex has not is there only if it says something: run, message, failed batches."""
    ours = {"run": str(status.run) if status.run > 1 else "", "message": status.message}
    blocks = [
        pairs({"job id": status.job_id, "status": DISPLAY[status.status]}),
        pairs({name: text for name, text in ours.items() if text}),
        pairs({"start time": shown_time(status.created_time), "end time": shown_time(status.end_time), "duration": _duration(status, now)}),
        "batch stats\n" + _batch_stats(status),
        _worker_stats(status),
        f"job endpoint: {endpoint}",
        "job configuration\n" + json.dumps(_configuration(status), indent=2, ensure_ascii=False),
    ]
    return "\n\n".join(filter(None, blocks))


def pairs(texts: Mapping[str, str]) -> str:
    """A line for each text, with its name before it."""
    width = max(map(len, texts), default=0) + 2
    return "\n".join(f"{f'{name}:':<{width}}{text}" for name, text in texts.items())


def _batch_stats(status: JobStatus) -> str:
    metrics = status.batch_metrics
    columns = {
        "total": str(status.total_batch_count),
        "succeeded": str(metrics.succeeded),
        **({"failed": str(status.batches_failed)} if status.batches_failed else {}),
        "failed attempts": str(metrics.failed),
        "avg time per batch": "-" if metrics.avg_time_per_batch is None else _seconds(metrics.avg_time_per_batch),
    }
    return table(tuple(columns), [tuple(columns.values())])


def _worker_stats(status: JobStatus) -> str:
    if status.status in (PENDING, ENQUEUING):
        return "still enqueuing, workers have not been allocated for this job yet"
    if status.worker_counts is None:
        return "worker stats are not available because this job is not currently running"
    columns = _worker_columns(status.workers, status.worker_counts)
    return "worker stats\n" + table(tuple(columns), [tuple(map(str, columns.values()))])


def _worker_columns(requested: int, counts: WorkerCounts) -> dict[str, int]:
    """What went wrong is shown only if it did."""
    wrong = {"Failed": counts.failed, "Stalled": counts.stalled}
    return {
        "Requested": requested,
        "Pending": counts.pending,
        "Initializing": counts.initializing,
        "Running": counts.running,
        **{name: number for name, number in wrong.items() if number},
        "Succeeded": counts.succeeded,
    }


def _configuration(status: JobStatus) -> dict[str, Any]:
    """The job document (spec/cortex.md section 3)."""
    document = status.to_dict()
    names = ("job_id", "api_name", "kind", "workers", "sqs_dead_letter_queue", "config", "timeout", "api_id", "sqs_url")
    return {name: document[name] for name in (*names, "total_batch_count", "start_time")}


def _latest(api: ApiSummary, now: datetime) -> str:
    return f"{api.latest.job_id} (submitted {since(api.latest.created_time, now)} ago)" if api.latest else "-"


def _last_update(api: ApiSummary, now: datetime) -> str:
    return since(api.deployed.deployed_time, now) if api.deployed else "-"


def shown_time(text: str | None) -> str:
    """As Cortex showed a time; a dash for none."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime(TIME_FORMAT) if text else "-"


def since(text: str, now: datetime) -> str:
    """`12s`, `3m`, `5h` or `2d`."""
    whole = max(0, int((now - datetime.fromisoformat(text)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def _duration(status: JobStatus, now: datetime) -> str:
    end = datetime.fromisoformat(status.end_time) if status.end_time else now
    return clock(max(0, int((end - datetime.fromisoformat(status.created_time)).total_seconds())))


def _seconds(seconds: float) -> str:
    """Cut to the millisecond: `350µs`, `12ms`, `1.25s`, `2m3.5s`."""
    if seconds < 1:
        return f"{int(seconds * 1e3)}ms" if seconds >= 0.001 else f"{int(seconds * 1e6)}µs"
    thousandths = int(seconds * 1e3) % 1000
    return clock(int(seconds), f".{thousandths:03}".rstrip("0") if thousandths else "")


def clock(seconds: int, fraction: str = "") -> str:
    """As Go writes a duration: `1h0m5s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}{fraction}s"
