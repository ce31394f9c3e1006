"""What `deploy`, `get`, `logs`, `stop` and `delete` do if it is a job deployment that they are asked about."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from batchflow.cli import show
from batchflow.cli.calltables import call_document, call_text, calls_text, deployment_document
from batchflow.cli.options import EXIT_ENDED_OTHERWISE, Context
from batchflow.client import Client
from batchflow.contract import ENV_CREDENTIALS, GATEWAY_PORT
from batchflow.deployments.calls import COMPLETED, Calls
from batchflow.deployments.deletion import Deletion
from batchflow.deployments.listing import CallView, call_view, deployment_view, find_call, latest_calls
from batchflow.deployments.replicalogs import replica_lines
from batchflow.deployments.service import UNCHANGED, Deployments
from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.spec.computeresource import Rules, parse_rules
from batchflow.spec.deploymentfile import check_job_deployments
from batchflow.spec.fields import Field
from batchflow.spec.reader import Document, read_document
from batchflow.store.deployments import PAUSED, TERMINATING, CallRecords, DeploymentRecords, JobDeployments

__all__ = ["delete", "deploy", "find", "job", "jobs", "jobs_text", "logs", "stop", "watch"]

_END_LIMIT_S: Final = 300.0
_POLL_S: Final = 0.5


def find(client: Client, name: str) -> DeploymentRecords | None:
    """The job deployment of that name; None if there is none: the name is an api's, or nobody's."""
    deployments = JobDeployments(client.services.store)
    try:
        return deployments.find(name)
    except NotFound:  # nobody can have that name
        return None


def deploy(context: Context, client: Client, file: Path, documents: list[Document]) -> None:
    """Create or update each of a file's; all are checked before the first is stored."""
    rules, services = _rules(), client.services
    check_job_deployments(documents, rules)
    service = Deployments(services.store, services.engine, services.completed, rules)
    deployed = service.deploy(documents, directory=str(file.absolute().parent))
    entries = []
    for record, change in deployed:
        name = record.spec["name"]
        message = f"{name} (JobDeployment) is up to date" if change == UNCHANGED else f"{change} {name} (JobDeployment)"
        entries.append({"job_deployment": {**record.spec, "created_at": record.created_time}, "message": message, "error": ""})
        if context.is_text:
            click.echo(message)
            if change != UNCHANGED:
                click.echo(_how_to_send(context, name))
    if not context.is_text:
        context.print_document(entries)


def jobs(context: Context, records: DeploymentRecords, limit: int) -> None:
    """`get NAME`."""
    if context.is_text:
        click.echo(jobs_text(records, limit))
        return
    view, calls = deployment_view(records), latest_calls(records, limit)
    context.print_document([{**deployment_document(view), "jobs": [call_document(call) for call in calls.calls]}] if view else [])
    if calls.more:
        click.echo(show.more(limit, calls.more), err=True)


def jobs_text(records: DeploymentRecords, limit: int) -> str:
    """The newest jobs, the deployment, and how many older jobs there are."""
    view, calls = deployment_view(records), latest_calls(records, limit)
    if view is None:
        raise _gone(records)
    text = calls_text(view, calls, datetime.now(UTC))
    return f"{text}\n{show.more(limit, calls.more)}" if calls.more else text


def job(context: Context, records: DeploymentRecords, name: str) -> None:
    """`get NAME ID`."""
    _show(context, _view(records, find_call(records, name)))


def watch(context: Context, records: DeploymentRecords, name: str) -> None:
    """`get NAME ID --watch`: a line for each change, then the job; exits 1 if it failed."""
    call = find_call(records, name)
    view, told = _view(records, call), ""
    while view.status != COMPLETED:
        now = f"{view.status}: {view.message}" if view.message else view.status
        if now != told:
            click.echo(now, err=not context.is_text)
            told = now
        time.sleep(_POLL_S)
        view = _view(records, call)
    _show(context, view)
    if view.ending and view.ending.error:
        sys.exit(EXIT_ENDED_OTHERWISE)


def logs(context: Context, client: Client, records: DeploymentRecords, name: str, *, container: str | None, follow: bool) -> None:
    """`logs NAME ID`."""
    call = find_call(records, name)
    for line in replica_lines(client.services.engine, call, container=container, follow=follow):
        show.log(context, line)


def stop(context: Context, records: DeploymentRecords, name: str) -> None:
    """`stop NAME ID`; raises InvalidInput if the job has ended, and its process too."""
    view = _view(records, find_call(records, name))
    if not Calls(records).stop(view.id):
        raise InvalidInput(f"job {view.id} of {records.name} has ended", hint=f"see batchflow get {records.name} {view.id}")
    show.message(context, f"stopped job {view.id}")


def delete(context: Context, client: Client, records: DeploymentRecords) -> None:
    """`delete NAME`: returns when it is gone; raises Unreachable if that takes too long. A repeat completes what was cut off.

    It does what else a gateway does, since there may be none.
    """
    services, name = client.services, records.name
    deletion = Deletion(records, services.engine)
    records.set_flag(TERMINATING, True)
    deadline = time.monotonic() + _END_LIMIT_S
    while (left := find(client, name)) and left.deployment_id == records.deployment_id:
        if time.monotonic() > deadline:
            hint = f"see what batchflow get {name} says, and try again"
            raise Unreachable(f"replicas still run {_END_LIMIT_S:.0f} s after they were to end", where=name, hint=hint)
        deletion.advance()
        time.sleep(_POLL_S)
    show.message(context, f"deleted {name}")


def _show(context: Context, view: CallView) -> None:
    if context.is_text:
        click.echo(call_text(view, datetime.now(UTC)))
    else:
        context.print_document(call_document(view))


def _view(records: DeploymentRecords, call: CallRecords) -> CallView:
    view = call_view(call, paused=records.has_flag(PAUSED), runs=bool(records.claims(call.ref.call)))
    if view is None:
        raise NotFound(f"a job of {call.ref.deployment} was deleted just now")
    return view


def _gone(records: DeploymentRecords) -> NotFound:
    return NotFound(f"job deployment {records.name} was deleted just now")


def _rules() -> Rules:
    """Those of the gateway's file, where this machine has it."""
    file = os.environ.get(ENV_CREDENTIALS, "")
    return parse_rules(Field.of(read_document(Path(file))).fields()) if file else Rules()


def _how_to_send(context: Context, name: str) -> str:
    if context.settings.engine == "local":
        return f"send it jobs: batchflow serve --engine local, then POST http://127.0.0.1:{GATEWAY_PORT}/{name}"
    return f"send it jobs: POST /{name} at the gateway (batchflow serve)"
