"""Prints results: Cortex's tables as text (spec/cortex.md section 6, "CLI"), or its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import click
import orjson

from batchflow.cli.options import print_json
from batchflow.client import Client, Job
from batchflow.engines.protocol import LogLine
from batchflow.records import submission_time
from batchflow.spec.model import Submission
from batchflow.status.model import DISPLAY, JobStatus

__all__ = ["apis", "dry_run", "failures", "job", "jobs", "log_json", "log_line", "response"]

TIME_FORMAT: Final = "%d %b %y %H:%M:%S UTC"
GAP: Final = "   "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))
    return "\n".join(lines)


def apis(client: Client, *, as_json: bool) -> None:
    """`batchflow get`: every api, with its jobs' number and the latest one."""
    entries = []
    for name in client.apis.names():
        ids = client.job_ids(name)
        running = sum(not client.get(name, job_id).status().ended for job_id in ids)
        entries.append((name, running, ids[0] if ids else None))
    if as_json:
        print_json([{"api_name": name, "running_jobs": running, "latest_job_id": latest} for name, running, latest in entries])
    elif entries:
        rows = [(name, str(running), _latest(latest)) for name, running, latest in entries]
        click.echo(table(("batch api", "running jobs", "latest job id"), rows))
    else:
        click.echo(f"no apis are deployed in {client.apis.store.url}")


def jobs(client: Client, api: str, *, as_json: bool) -> None:
    """`batchflow get API`: its jobs, newest first."""
    statuses = [client.get(api, job_id).status() for job_id in client.job_ids(api)]
    if as_json:
        print_json([status.to_dict() for status in statuses])
    elif statuses:
        rows = [(s.job_id, DISPLAY[s.status], str(s.total_batch_count), _time(s.created_time), _duration(s)) for s in statuses]
        click.echo(table(("job id", "status", "total batches", "start time", "duration"), rows))
    else:
        click.echo("no submitted batch jobs")


def job(job: Job, status: JobStatus, *, as_json: bool) -> None:
    """`batchflow get API JOB`."""
    if as_json:
        print_json(response(job, status))
        return
    metrics = status.batch_metrics
    average = "-" if metrics.avg_time_per_batch is None else f"{metrics.avg_time_per_batch:.3g} s"
    lines = [("job id:", status.job_id), ("status:", DISPLAY[status.status])]
    lines += [("message:", status.message)] if status.message else []
    lines += [("run:", str(status.run))] if status.run > 1 else []
    lines += [("start time:", _time(status.created_time)), ("end time:", _time(status.end_time)), ("duration:", _duration(status))]
    click.echo("\n".join(f"{name:<12}{value}" for name, value in lines))
    head = ("total", "succeeded", "failed", "failed attempts", "avg time per batch")
    counts = (status.total_batch_count, metrics.succeeded, status.batches_failed, metrics.failed)
    click.echo("\nbatch stats\n" + table(head, [(*map(str, counts), average)]))
    if status.worker_counts:
        workers = {"requested": status.workers, **asdict(status.worker_counts)}
        click.echo("\nworker stats\n" + table(tuple(workers), [tuple(map(str, workers.values()))]))
    if status.config:
        click.echo("\njob configuration\n" + json.dumps({"config": status.config}, indent=2, ensure_ascii=False))


def response(job: Job, status: JobStatus) -> dict[str, Any]:
    """The body of Cortex's GET, both generations' keys in it (docs/status.md)."""
    document = status.to_dict()
    return {
        "job_status": document,
        "api_spec": job.api_spec(),
        "metrics": document["metrics"],
        "endpoint": job.endpoint,
    }


def failures(job: Job, *, as_json: bool) -> None:
    """`--failed`: a failed batch each, in order; JSON lines with -o json."""
    found = False
    for batch in job.failures():
        found = True
        outcome = batch.outcome
        if as_json:
            items = None if batch.items is None else orjson.loads(batch.items)
            click.echo(json.dumps({"batch": outcome.index, "attempts": outcome.attempts, "error": outcome.error, "items": items}))
        else:
            click.echo(f"batch {outcome.index}: {outcome.error} ({outcome.attempts} attempts)")
            click.echo(f"  items: {batch.items if batch.items is not None else 'the input can not be read again'}")
    if not found and not as_json:
        click.echo("no failed batches")


def dry_run(client: Client, submission: Submission, *, as_json: bool) -> None:
    """Each file on a line as it is found, as in Cortex's dry run; then the counts."""
    files: list[str] = []
    told = files.append if as_json else click.echo
    result = client.dry_run(submission, on_file=lambda file: told(file.path))
    if as_json:
        print_json({"files": files, "items": result.items, "batches": result.batches})
    else:
        click.echo(f"validations passed; items: {result.items}, batches: {result.batches}")


def log_line(line: LogLine) -> str:
    """`3/handler | text`, the worker first."""
    return f"{line.worker}/{line.container} | {line.text}"


def log_json(line: LogLine) -> str:
    """The same as an object on a line."""
    return json.dumps(asdict(line), ensure_ascii=False)


def _latest(job_id: str | None) -> str:
    if job_id is None:
        return "-"
    return f"{job_id} (submitted {_ago((datetime.now(UTC) - submission_time(job_id)).total_seconds())} ago)"


def _time(text: str | None) -> str:
    return "-" if text is None else datetime.fromisoformat(text).astimezone(UTC).strftime(TIME_FORMAT)


def _duration(status: JobStatus) -> str:
    end = datetime.fromisoformat(status.end_time) if status.end_time else datetime.now(UTC)
    return _ago((end - datetime.fromisoformat(status.created_time)).total_seconds())


def _ago(seconds: float) -> str:
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0s"
