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
from batchflow.client import ApiSummary, Client, Deployment, Job, Pruned
from batchflow.client.deployment import CREATED, UNCHANGED, UPDATED
from batchflow.engines.protocol import LogLine
from batchflow.records import DeploymentRecord
from batchflow.spec.model import Submission
from batchflow.status.model import DISPLAY, JobStatus

__all__ = ["apis", "deployments", "dry_run", "failures", "job", "jobs", "log_json", "log_line", "pruned", "response"]

TIME_FORMAT: Final = "%d %b %y %H:%M:%S UTC"
GAP: Final = "   "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three spaces apart."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))
    return "\n".join(lines)


def apis(client: Client, *, as_json: bool) -> None:
    """`batchflow get`: every api, with its jobs' number and the latest one."""
    found = client.apis()
    if as_json:
        print_json([_api_json(api) for api in found])
    elif found:
        rows = [(api.name, str(api.running_jobs), _latest(api), _last_update(api.deployed)) for api in found]
        click.echo(table(("batch api", "running jobs", "latest job id", "last update"), rows))
    else:
        click.echo(f"no apis are deployed in {client.store_url}")


def jobs(client: Client, api: str, limit: int, *, as_json: bool) -> None:
    """`batchflow get API`: its jobs, newest first, then where it is deployed."""
    found = client.jobs(api, limit=limit)
    statuses = found.statuses
    if as_json:
        print_json([status.to_dict() for status in statuses])
    elif statuses:
        rows = [(s.job_id, DISPLAY[s.status], str(s.total_batch_count), _time(s.created_time), _duration(s)) for s in statuses]
        click.echo(table(("job id", "status", "total batches", "start time", "duration"), rows))
    else:
        click.echo("no submitted batch jobs")
    if found.more:
        click.echo(f"{found.more} more; to see all say --limit {len(statuses) + found.more}", err=as_json)
    if found.deployed and not as_json:
        lines = [("endpoint:", found.endpoint), ("api id:", found.deployed.api_id), ("last deployed:", _time(found.deployed.deployed_time))]
        click.echo("\n" + "\n".join(f"{name:<15}{value}" for name, value in lines))


def deployments(deployed: Sequence[Deployment], *, as_json: bool) -> None:
    """`batchflow deploy`: a line for each api in Cortex's words, or the body of its POST /deploy."""
    messages = {CREATED: "created {} (BatchAPI)", UPDATED: "updated {} (BatchAPI)", UNCHANGED: "{} (BatchAPI) is up to date"}
    told = [(deployment, messages[deployment.change].format(deployment.api.name)) for deployment in deployed]
    if as_json:
        print_json([{"api": _deployment_json(deployment), "message": message, "error": ""} for deployment, message in told])
    else:
        click.echo("\n".join(message for _, message in told))


def pruned(pruned: Pruned, *, dry_run: bool, as_json: bool) -> None:
    """`batchflow prune`: a line for each thing."""
    shared = pruned.shared
    jobs = [(job.api, job.job_id, job.status) for job in pruned.jobs]
    versions, projects, uploads = sorted(shared.versions), sorted(shared.projects), sorted(shared.uploads)
    if pruned.held:
        click.echo("somebody submits or deploys just now: versions, projects and uploads are left for the next time", err=True)
    if as_json:
        entries = [{"api_name": api, "job_id": job_id, "status": status or None} for api, job_id, status in jobs]
        ids = [{"api_name": api, "api_id": api_id} for api, api_id in versions]
        print_json({"jobs": entries, "versions": ids, "projects": projects, "uploads": uploads})
        return
    lines = [f"job {api} {job_id} {DISPLAY.get(status, 'without a final status')}" for api, job_id, status in jobs]
    lines += [f"version {api} {api_id}" for api, api_id in versions]
    lines += [f"project {sha256}" for sha256 in projects] + [f"upload {name}" for name in uploads]
    verb = "would remove" if dry_run else "removed"
    click.echo("\n".join(f"{verb} {line}" for line in lines) if lines else "nothing to remove")


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


def _api_json(api: ApiSummary) -> dict[str, Any]:
    deployed = api.deployed
    return {
        "api_name": api.name,
        "api_id": deployed.api_id if deployed else None,
        "running_jobs": api.running_jobs,
        "latest_job_id": api.latest.job_id if api.latest else None,
        "last_updated": deployed.deployed_time if deployed else None,
    }


def _deployment_json(deployment: Deployment) -> dict[str, Any]:
    api, record = deployment.api, deployment.record
    updated = int(datetime.fromisoformat(record.deployed_time).timestamp())
    metadata = {"name": api.name, "kind": "BatchAPI", "id": record.api_id, "last_updated": updated}
    return {"spec": dict(api.raw), "metadata": metadata, "endpoint": api.endpoint}


def _latest(api: ApiSummary) -> str:
    return f"{api.latest.job_id} (submitted {_since(api.latest.created_time)} ago)" if api.latest else "-"


def _last_update(deployed: DeploymentRecord | None) -> str:
    return f"{_since(deployed.deployed_time)} ago" if deployed else "-"


def _since(time: str) -> str:
    return _ago((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())


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
