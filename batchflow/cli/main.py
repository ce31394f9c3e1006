"""The command `batchflow`. Imports of each command's needs are inside it, so that `--help` is quick."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from batchflow.cli.options import EXIT_ENDED_OTHERWISE, EXIT_INTERRUPTED, EXIT_INVALID, Context, common, exit_code, print_json
from batchflow.errors import BatchflowError, InvalidInput

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 accepted (succeeded, with --watch), 1 the job ended otherwise, 2 invalid input, 3 not found, "
    "4 cluster or store out of reach, 130 interrupted.",
)
@click.version_option(package_name="batchflow-argo", prog_name="batchflow")
def cli() -> None:
    """Run batch jobs on Kubernetes through Argo Workflows, or unchanged on this machine.

    \b
    batchflow init my-job                          a project to start from
    batchflow submit my-job/job.yaml --local --watch
    batchflow get my-job --local                   its jobs
    """  # noqa: D301 - \b is click's


@cli.command()
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
    from batchflow.client import Client
    from batchflow.spec.jobfile import load_submission

    if dry_run and watch:
        raise InvalidInput("there is nothing to watch", where="--dry-run --watch", hint="leave one of them out")
    submission = load_submission(file, overrides=_overrides(workers, sets))
    client = Client(context.settings)
    with _errors_of_its_source_name(file, submission.source.key):
        if dry_run:
            show.dry_run(client, submission, as_json=context.as_json)
            return
        job = client.submit(submission, job_id=job_id)
    if watch:
        click.echo(f"submitted {job.api} {job.id}", err=context.as_json)
        _watch_to_end(context, job, submitted_here=True)
    elif context.as_json:
        print_json(show.response(job, job.status()))
    else:
        click.echo(f"submitted {job.api} {job.id}")
        click.echo(f"status: batchflow get {job.api} {job.id}{_local_flag(context)}")


@cli.command("compile")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--job-id", default="0" * 16, help="16 hex digits.", show_default=True)
@common
def compile_command(context: Context, file: Path, job_id: str) -> None:
    """Print the Argo Workflow that FILE (job.yaml) becomes."""
    from batchflow import compile as compile_job
    from batchflow import load

    workflow = compile_job(load(file), job_id=job_id, settings=context.settings)
    if context.as_json:
        print_json(workflow.to_dict())
    else:
        click.echo(workflow.to_yaml(), nl=False)


@cli.command()
@click.argument("api", required=False)
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--watch", is_flag=True, help="Follow the job to its end.")
@click.option("--failed", is_flag=True, help="List each failed batch with its reason and its items.")
@common
def get(context: Context, api: str | None, job_id: str | None, watch: bool, failed: bool) -> None:
    """Show all apis, the jobs of API, or one JOB."""
    from batchflow.cli import show
    from batchflow.client import Client

    if job_id is None and (watch or failed):
        raise InvalidInput("needs a job", where="--watch" if watch else "--failed", hint="say batchflow get API JOB, and the flag")
    client = Client(context.settings)
    if api is None:
        show.apis(client, as_json=context.as_json)
    elif job_id is None:
        show.jobs(client, api, as_json=context.as_json)
    elif failed:
        show.failures(client.get(api, job_id), as_json=context.as_json)
    elif watch:
        _watch_to_end(context, client.get(api, job_id), submitted_here=False)
    else:
        job = client.get(api, job_id)
        show.job(job, job.status(), as_json=context.as_json)


@cli.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@click.option("--worker", help="Only this worker's: its number, a step's name, or a pod's.")
@click.option("--container", help="Only this container's (main is the dequeuer).")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@common
def logs(context: Context, api: str, job_id: str, worker: str | None, container: str | None, follow: bool) -> None:
    """Print the logs of JOB's containers, a line each: worker/container | text."""
    from batchflow.cli import show
    from batchflow.client import Client

    lines = Client(context.settings).get(api, job_id).logs(worker=worker, container=container, follow=follow)
    for line in lines:
        if context.as_json:
            click.echo(show.log_json(line))
        else:
            click.echo(show.log_line(line))


@cli.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@common
def stop(context: Context, api: str, job_id: str) -> None:
    """Stop JOB: workers finish the batch in hand; `resume` goes on from there."""
    from batchflow.client import Client

    Client(context.settings).get(api, job_id).stop()
    message = f"stopped job {job_id}"
    if context.as_json:
        print_json({"message": message})
    else:
        click.echo(message)


@cli.command()
@click.argument("api")
@click.argument("job_id", metavar="JOB")
@click.option("--watch", is_flag=True, help="Follow the job to its end.")
@common
def resume(context: Context, api: str, job_id: str, watch: bool) -> None:
    """Start the next run of a JOB that ended without every outcome; only what is left is handled."""
    from batchflow.client import Client

    job = Client(context.settings).get(api, job_id)
    job.resume()
    if watch:
        _watch_to_end(context, job, submitted_here=True)
    elif context.as_json:
        print_json({"message": f"resumed job {job_id}", "workflow": job.workflow})
    else:
        click.echo(f"resumed job {job_id} as {job.workflow}")


@cli.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@common
def init(context: Context, directory: Path) -> None:
    """Write a small project into DIR: cortex.yaml, handler.py, job.yaml."""
    from batchflow.cli.init import write_project

    files = write_project(directory)
    if context.as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(f"wrote {file}")
    click.echo(f"run it: batchflow submit {shlex.quote(str(directory / 'job.yaml'))} --local --watch")


@cli.command(hidden=True)
@click.argument("name")
def step(name: str) -> None:
    """Run a step of a job's workflow; configured by the environment only."""
    from batchflow.cli.steps import run_step

    sys.exit(run_step(name))


def _watch_to_end(context: Context, job: Any, *, submitted_here: bool) -> None:
    """Ctrl-C stops a job that this command started on this machine, and leaves any other alone."""
    from batchflow.cli import show
    from batchflow.cli.watch import watch
    from batchflow.status import model

    local = context.settings.engine == "local"
    status = watch(job, stop_on_interrupt=submitted_here and local, flag=_local_flag(context), to_stderr=context.as_json)
    show.job(job, status, as_json=context.as_json)
    if status.status != model.SUCCEEDED:
        sys.exit(EXIT_INVALID if status.status == model.ENQUEUE_FAILED else EXIT_ENDED_OTHERWISE)


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


def main() -> None:
    """Run the command line; every error of ours is one line on stderr and an exit code."""
    try:
        cli(standalone_mode=False)
    except BatchflowError as error:
        click.echo(f"batchflow: {error}", err=True)
        sys.exit(exit_code(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_INVALID)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "batchflow"
        click.echo(f"batchflow: {error.format_message().rstrip('.')}; see {command} --help", err=True)
        sys.exit(EXIT_INVALID)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
