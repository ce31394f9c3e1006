"""The commands on jobs: submit, compile, get, logs, stop, resume."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from batchflow.cli.options import EXIT_ENDED_OTHERWISE, EXIT_INVALID, Context, common
from batchflow.errors import InvalidInput

__all__ = ["compile_command", "get", "logs", "resume", "stop", "submit"]

JOBS_SHOWN: Final = 50
SHOWN_EVERY_S: Final = 2.0  # as Cortex's --watch


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Follow the job to its end; its status decides the exit code.")
@click.option("--dry-run", is_flag=True, help="List the files and count the batches; create nothing.")
@click.option("--job-id", help="16 hex digits; submitting the same again under the same id gives the same job.")
@click.option("--workers", type=int, help="Instead of the file's `workers`.")
@click.option("--set", "sets", multiple=True, metavar="config.KEY=VALUE", help="Set a key of `config`; VALUE is YAML. May be repeated.")
@common
def submit(
    context: Context, file: Path, watch: bool, dry_run: bool, job_id: str | None, workers: int | None, sets: tuple[str, ...]
) -> None:
    """Submit the job in FILE (job.yaml)."""
    from batchflow.cli import show
    from batchflow.cli.watch import Upload
    from batchflow.client import Client
    from batchflow.client.documents import job_response
    from batchflow.spec.jobfile import load_submission

    if dry_run and watch:
        raise InvalidInput("there is nothing to watch", where="--dry-run --watch", hint="leave one of them out")
    submission = load_submission(file, overrides=_overrides(workers, sets))
    client = Client(context.settings)
    with _errors_of_its_source_name(file, submission.source.key):
        if dry_run:
            show.dry_run(context, client, submission)
            return
        job = client.submit(submission, job_id=job_id, on_upload=Upload())
    if watch:
        click.echo(f"submitted {job.api} {job.id}", err=not context.is_text)
        _watch_to_end(context, job, submitted_here=True)
    elif not context.is_text:
        context.print_document(job_response(job, job.status()))
    else:
        click.echo(f"submitted {job.api} {job.id}")
        click.echo(f"status: batchflow get {job.api} {job.id}{_local_flag(context)}")


@click.command("compile")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--job-id", default="0" * 16, help="16 hex digits.", show_default=True)
@common
def compile_command(context: Context, file: Path, job_id: str) -> None:
    """Print the Argo Workflow that FILE (job.yaml) becomes."""
    from batchflow import compile as compile_job
    from batchflow import load

    workflow = compile_job(load(file), job_id=job_id, settings=context.settings)
    if context.output == "json":
        context.print_document(workflow.to_dict())
    else:
        click.echo(workflow.to_yaml(), nl=False)


@click.command()
@click.argument("api", required=False)
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--watch", is_flag=True, help="Follow the job to its end; show a list anew every 2 s.")
@click.option("--failed", is_flag=True, help="List each failed batch with its reason and its items.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=f"Of API, list this many jobs.  [default: {JOBS_SHOWN}]")
@common
def get(context: Context, api: str | None, job_id: str | None, watch: bool, failed: bool, limit: int | None) -> None:
    """Show all apis and job deployments, the jobs of one, API, or one JOB."""
    from batchflow.cli import deployments, show
    from batchflow.client import Client

    if job_id is None and failed:
        raise InvalidInput("needs a job", where="--failed", hint="say batchflow get API JOB, and the flag")
    if job_id is None and watch and not context.is_text:
        raise InvalidInput("shows tables only", where="--watch", hint="leave out -o, or name a job")
    if limit is not None and (api is None or job_id is not None):
        raise InvalidInput("is for the jobs of an api", where="--limit", hint="say batchflow get API, and the flag")
    client = Client(context.settings)
    deployment = deployments.find(client, api) if api else None
    if deployment:
        _get_of_deployment(context, deployment, job_id, watch, failed, limit or JOBS_SHOWN)
    elif watch and job_id is None:
        _show_again(lambda: show.jobs_text(client, api, limit or JOBS_SHOWN) if api else show.apis_text(client))
    elif api is None:
        show.apis(context, client)
    elif job_id is None:
        show.jobs(context, client, api, limit or JOBS_SHOWN)
    elif failed:
        show.failures(context, client.get(api, job_id))
    elif watch:
        _watch_to_end(context, client.get(api, job_id), submitted_here=False)
    else:
        job = client.get(api, job_id)
        show.job(context, job, job.status())


@click.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@click.option("--worker", help="Only this worker's: its number, a step's name, or a pod's.")
@click.option("--container", help="Only this container's (main is the dequeuer).")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@common
def logs(context: Context, api: str, job_id: str, worker: str | None, container: str | None, follow: bool) -> None:
    """Print the logs of JOB's containers, a line each: worker/container | text."""
    from batchflow.cli import deployments, show
    from batchflow.client import Client

    client = Client(context.settings)
    deployment = deployments.find(client, api)
    if deployment:
        if worker:
            raise InvalidInput("is for the job of an api", where="--worker", hint="a job of a job deployment has one replica")
        deployments.logs(context, client, deployment, job_id, container=container, follow=follow)
        return
    for line in client.get(api, job_id).logs(worker=worker, container=container, follow=follow):
        show.log(context, line)


@click.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@common
def stop(context: Context, api: str, job_id: str) -> None:
    """Stop JOB: workers finish the batch in hand; `resume` goes on from there. A job deployment's ends for good."""
    from batchflow.cli import deployments, show
    from batchflow.client import Client

    client = Client(context.settings)
    deployment = deployments.find(client, api)
    if deployment:
        deployments.stop(context, deployment, job_id)
        return
    client.get(api, job_id).stop()
    show.message(context, f"stopped job {job_id}")


@click.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@click.option("--watch", is_flag=True, help="Follow the job to its end.")
@common
def resume(context: Context, api: str, job_id: str, watch: bool) -> None:
    """Start the next run of a JOB that ended without every outcome; only what is left is handled."""
    from batchflow.cli import deployments
    from batchflow.client import Client

    client = Client(context.settings)
    if deployments.find(client, api):
        raise InvalidInput("a job of a job deployment runs once", where=api, hint="send its request again, as a job of its own")
    job = client.get(api, job_id)
    job.resume()
    if watch:
        _watch_to_end(context, job, submitted_here=True)
    elif not context.is_text:
        context.print_document({"message": f"resumed job {job_id}", "workflow": job.workflow})
    else:
        click.echo(f"resumed job {job_id} as {job.workflow}")


def _get_of_deployment(context: Context, deployment: Any, job_id: str | None, watch: bool, failed: bool, limit: int) -> None:
    from batchflow.cli import deployments

    if failed:
        raise InvalidInput("is for the job of an api", where="--failed", hint="batchflow get NAME lists the errors of a job deployment's")
    if job_id is None and watch:
        _show_again(lambda: deployments.jobs_text(deployment, limit))
    elif job_id is None:
        deployments.jobs(context, deployment, limit)
    elif watch:
        deployments.watch(context, deployment, job_id)
    else:
        deployments.job(context, deployment, job_id)


def _watch_to_end(context: Context, job: Any, *, submitted_here: bool) -> None:
    """Ctrl-C stops a job that this command started on this machine, and leaves any other alone."""
    from batchflow.cli import show
    from batchflow.cli.watch import watch
    from batchflow.status import model

    local = context.settings.engine == "local"
    status = watch(job, stop_on_interrupt=submitted_here and local, flag=_local_flag(context), to_stderr=not context.is_text)
    show.job(context, job, status)
    if status.status != model.SUCCEEDED:
        sys.exit(EXIT_INVALID if status.status == model.ENQUEUE_FAILED else EXIT_ENDED_OTHERWISE)


def _show_again(text: Callable[[], str]) -> NoReturn:
    """Until Ctrl-C: on a terminal in the same place, else below each other."""
    while True:
        shown = text()
        click.clear()  # does nothing where there is no terminal
        click.echo(shown if sys.stdout.isatty() else f"{shown}\n")
        time.sleep(SHOWN_EVERY_S)


def _overrides(workers: int | None, sets: Iterable[str]) -> dict[str, Any]:
    from batchflow.spec.yamltext import parse_yaml

    overrides: dict[str, Any] = {} if workers is None else {"workers": workers}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.startswith("config.") or key == "config.":
            raise InvalidInput(f'"{text}" is not config.KEY=VALUE', where="--set", hint="for example --set config.threshold=0.7")
        try:
            overrides[key] = parse_yaml(value, "--set") if value else ""
        except InvalidInput:  # such as `a: b: c`
            overrides[key] = value
    return overrides


@contextlib.contextmanager
def _errors_of_its_source_name(file: Path, key: str) -> Iterator[None]:
    """What is wrong with globs, paths and items is found where nobody knows the file; such an error's place begins with the key."""
    from batchflow.spec.reader import shown_path

    try:
        yield
    except InvalidInput as error:
        if not error.where.startswith(key):
            raise
        raise InvalidInput(error.what, where=f"{shown_path(file)}: {error.where}", hint=error.hint, kind=error.kind) from error


def _local_flag(context: Context) -> str:
    return " --local" if context.settings.engine == "local" else ""
