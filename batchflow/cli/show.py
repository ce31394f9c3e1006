"""Prints results, as text for people or as a document: Cortex's tables and bodies where Cortex has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from batchflow.cli import calltables
from batchflow.cli.options import Context
from batchflow.cli.tables import apis_table, job_text, jobs_table
from batchflow.client import ApiSummary, Client, Deployment, Job, Pruned
from batchflow.client.documents import api_view, deployment_document, deployment_message, job_response
from batchflow.deployments.listing import list_deployments
from batchflow.engines.protocol import LogLine
from batchflow.records import DeploymentRecord
from batchflow.spec.model import Submission
from batchflow.status.model import DISPLAY, JobStatus
from batchflow.store.deployments import JobDeployments

__all__ = [
    "apis",
    "apis_text",
    "deployments",
    "dry_run",
    "failures",
    "job",
    "jobs",
    "jobs_text",
    "log",
    "log_line",
    "message",
    "more",
    "pruned",
]


def apis(context: Context, client: Client) -> None:
    """`batchflow get`: tables, or the body of Cortex's GET /get: each api with the jobs that run, else the latest one.

    Behind the apis come the job deployments.
    """
    if context.is_text:
        click.echo(apis_text(client))
    else:
        views = [_view(client, api.name, _live_or_latest(client, api)) for api in client.apis()]
        found = [calltables.deployment_document(view) for view in list_deployments(JobDeployments(client.services.store))]
        context.print_document([*filter(None, views), *found])


def apis_text(client: Client) -> str:
    """Every api, with its jobs' number and the latest one; then every job deployment."""
    apis, deployments = client.apis(), list_deployments(JobDeployments(client.services.store))
    tables = [apis_table(apis, datetime.now(UTC))] if apis else []
    tables += [calltables.deployments_table(deployments)] if deployments else []
    return "\n\n".join(tables) or f"neither apis nor job deployments are deployed in {client.store_url}"


def jobs(context: Context, client: Client, api: str, limit: int) -> None:
    """`batchflow get API`: a table, or the body of Cortex's GET /get/<api>."""
    if context.is_text:
        click.echo(jobs_text(client, api, limit))
        return
    found = client.jobs(api, limit=limit)
    view = _view(client, api, found.statuses)
    context.print_document([view] if view else [])
    if found.more:
        click.echo(more(limit, found.more), err=True)


def jobs_text(client: Client, api: str, limit: int) -> str:
    """An api's newest jobs, where it is deployed, and how many older jobs there are."""
    found = client.jobs(api, limit=limit)
    text = jobs_table(found, datetime.now(UTC))
    return f"{text}\n{more(limit, found.more)}" if found.more else text


def deployments(context: Context, deployed: Sequence[Deployment]) -> None:
    """`batchflow deploy`: a line for each api in Cortex's words, or the body of its POST /deploy."""
    if not context.is_text:
        context.print_document([deployment_document(deployment) for deployment in deployed])
        return
    for deployment in deployed:
        click.echo(deployment_message(deployment))
        for warning in deployment.api.warnings:
            click.echo(f"warning: {warning}", err=True)


def pruned(context: Context, pruned: Pruned, *, dry_run: bool) -> None:
    """`batchflow prune`: a line for each thing."""
    shared = pruned.shared
    jobs = [(job.api, job.job_id, job.status) for job in pruned.jobs]
    versions, projects, uploads = sorted(shared.versions), sorted(shared.projects), sorted(shared.uploads)
    if pruned.held:
        click.echo("somebody submits or deploys just now: versions, projects and uploads are left for the next time", err=True)
    if not context.is_text:
        entries = [{"api_name": api, "job_id": job_id, "status": status or None} for api, job_id, status in jobs]
        ids = [{"api_name": api, "api_id": api_id} for api, api_id in versions]
        context.print_document({"jobs": entries, "versions": ids, "projects": projects, "uploads": uploads})
        return
    lines = [f"job {api} {job_id} {DISPLAY.get(status, 'without a final status')}" for api, job_id, status in jobs]
    lines += [f"version {api} {api_id}" for api, api_id in versions]
    lines += [f"project {sha256}" for sha256 in projects] + [f"upload {name}" for name in uploads]
    verb = "would remove" if dry_run else "removed"
    click.echo("\n".join(f"{verb} {line}" for line in lines) if lines else "nothing to remove")


def job(context: Context, job: Job, status: JobStatus) -> None:
    """`batchflow get API JOB`, or the body of Cortex's GET <endpoint>?jobID=<id>."""
    if context.is_text:
        click.echo(job_text(status, job.endpoint, datetime.now(UTC)))
    else:
        context.print_document(job_response(job, status))


def failures(context: Context, job: Job) -> None:
    """`--failed`: a failed batch each, in order."""
    found = False
    for batch in job.failures():
        found = True
        outcome = batch.outcome
        if not context.is_text:
            items = None if batch.items is None else orjson.loads(batch.items)
            context.print_entry({"batch": outcome.index, "attempts": outcome.attempts, "error": outcome.error, "items": items})
        else:
            click.echo(f"batch {outcome.index}: {outcome.error} ({outcome.attempts} attempts)")
            click.echo(f"  items: {batch.items if batch.items is not None else 'the input can not be read again'}")
    if not found and context.is_text:
        click.echo("no failed batches")


def dry_run(context: Context, client: Client, submission: Submission) -> None:
    """Each file on a line as it is found, as in Cortex's dry run; then the counts."""
    files: list[str] = []
    told = click.echo if context.is_text else files.append
    result = client.dry_run(submission, on_file=lambda file: told(file.path))
    if context.is_text:
        click.echo(f"validations passed; items: {result.items}, batches: {result.batches}")
    else:
        context.print_document({"files": files, "items": result.items, "batches": result.batches})


def message(context: Context, text: str) -> None:
    """A line, or Cortex's body for what has no other answer."""
    if context.is_text:
        click.echo(text)
    else:
        context.print_document({"message": text})


def log(context: Context, line: LogLine) -> None:
    """A line of a container."""
    if context.is_text:
        click.echo(log_line(line))
    else:
        context.print_entry(asdict(line))


def log_line(line: LogLine) -> str:
    """`3/handler | text`, the worker first."""
    return f"{line.worker}/{line.container} | {line.text}"


def more(limit: int, more: int) -> str:
    """How to see what a list left out."""
    return f"{more} more; to see all say --limit {limit + more}"


def _live_or_latest(client: Client, api: ApiSummary) -> list[JobStatus]:
    live = [job.status() for job in client.running(api.name)] if api.running_jobs else []
    return live or (client.jobs(api.name, limit=1).statuses if api.latest else [])


def _view(client: Client, name: str, jobs: Sequence[JobStatus]) -> dict[str, Any] | None:
    """An api with its jobs, newest first; one that is not deployed as its latest job found it; None if it is being deleted."""
    found = client.deployed(name)
    if found is None and jobs:
        found = client.get(name, jobs[0].job_id).api_version(), DeploymentRecord(jobs[0].api_id, "")
    return api_view(*found, client.versions(name), jobs) if found else None
