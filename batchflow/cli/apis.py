"""The commands on apis: deploy, delete; and prune."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from batchflow.cli.options import Context, common
from batchflow.errors import InvalidInput

__all__ = ["delete", "deploy", "prune"]

_AGE: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>[dhms])")
_UNITS_S: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_LONGEST: Final = timedelta(days=36_500)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@common
def deploy(context: Context, file: Path) -> None:
    """Deploy the apis in FILE (cortex.yaml), so that `api: NAME` in a job.yaml means them from anywhere; or its job deployments.

    Running jobs keep the version with which they were submitted.
    """
    from batchflow.cli import deployments, show
    from batchflow.client import Client
    from batchflow.spec.deploymentfile import job_deployments
    from batchflow.spec.reader import read_document

    client = Client(context.settings)
    if documents := job_deployments(read_document(file)):
        deployments.deploy(context, client, file, documents)
    else:
        show.deployments(context, client.deploy(file))


@click.command()
@click.argument("api")
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--keep-cache", is_flag=True, help="Of API: only undeploy it and stop its jobs; its versions and its jobs' records stay.")
@click.option("--force", is_flag=True, help="Of JOB: stop it first, if it runs.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@common
def delete(context: Context, api: str, job_id: str | None, keep_cache: bool, force: bool, yes: bool) -> None:
    """Delete API with all its jobs, or one JOB: their records, logs and workflows. API may also be a job deployment.

    Jobs of an API that run are stopped first. On a terminal you are asked before.
    """
    from batchflow.cli import deployments, show
    from batchflow.client import Client

    if job_id is None and force:
        raise InvalidInput("needs a job", where="--force", hint="the jobs of an api are stopped anyway")
    if job_id is not None and keep_cache:
        raise InvalidInput("is for a whole api", where="--keep-cache", hint="leave the flag out, or the job")
    client = Client(context.settings)
    if deployment := deployments.find(client, api):
        _refuse_flags_and_job(api, job_id, keep_cache)
        _confirm(f"delete {api} with all its jobs and their records?", yes)
        deployments.delete(context, client, deployment)
        return
    if job_id is not None:
        _confirm(f"delete job {job_id} of {api} with all its records?", yes)
        client.delete_job(api, job_id, force=force, told=_tell)
        show.message(context, f"deleted job {job_id}")
        return
    _confirm(f"undeploy {api} and stop its jobs?" if keep_cache else f"delete {api} with all its jobs and their records?", yes)
    client.delete_api(api, keep_cache=keep_cache, told=_tell)
    show.message(context, f"deleting {api}")


@click.command()
@click.argument("api", required=False, default="")
@click.option("--older-than", required=True, metavar="AGE", help="How long ago a job must have ended: 30d, 12h, 90m or 45s.")
@click.option("--dry-run", is_flag=True, help="List what would be removed; remove nothing.")
@common
def prune(context: Context, api: str, older_than: str, dry_run: bool) -> None:
    """Remove the jobs that ended long ago, and then what no job and no deployment needs any more.

    With API only its jobs and versions.
    """
    from batchflow.cli import deployments, show
    from batchflow.client import Client

    age = parse_age(older_than)
    client = Client(context.settings)
    if api and deployments.find(client, api):
        raise InvalidInput("is a job deployment", where=api, hint="24 h after the end of a job its records go by themselves")
    pruned = client.prune(age, api=api, dry_run=dry_run, told=_tell)
    show.pruned(context, pruned, dry_run=dry_run)


def parse_age(text: str) -> timedelta:
    """`30d` and the like; raises InvalidInput."""
    match = _AGE.fullmatch(text)
    seconds = int(match["number"]) * _UNITS_S[match["unit"]] if match else 0
    if not match or seconds > _LONGEST.total_seconds():
        raise InvalidInput(f'"{text}" is not an age', where="--older-than", hint="say for example 30d, 12h, 90m or 45s")
    return timedelta(seconds=seconds)


def _refuse_flags_and_job(name: str, job_id: str | None, keep_cache: bool) -> None:
    if job_id is not None:
        hint = f"batchflow stop {name} {job_id} ends it; 24 h after its end its records go by themselves"
        raise InvalidInput("a single job of a job deployment can't be deleted", where=name, hint=hint)
    if keep_cache:
        raise InvalidInput("is for an api", where="--keep-cache", hint=f"{name} is a job deployment: leave the flag out")


def _confirm(question: str, yes: bool) -> None:
    """Raises click.Abort unless the answer is yes; whoever is not at a terminal is not asked."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _tell(line: str) -> None:
    click.echo(line, err=True)
