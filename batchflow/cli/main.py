"""The command `batchflow`. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from batchflow.cli.apis import delete, deploy, prune
from batchflow.cli.cluster import doctor, install
from batchflow.cli.jobs import compile_command, get, logs, resume, stop, submit
from batchflow.cli.options import EXIT_INTERRUPTED, EXIT_INVALID, Context, common, exit_code
from batchflow.cli.serve import serve
from batchflow.errors import BatchflowError, SeveralErrors

__all__ = ["cli", "main"]


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
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@common
def init(context: Context, directory: Path) -> None:
    """Write a small project into DIR: cortex.yaml, handler.py, job.yaml."""
    from batchflow.cli.init import write_project

    files = write_project(directory)
    if not context.is_text:
        context.print_document({"files": [str(file) for file in files]})
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


for command in (submit, compile_command, get, logs, stop, resume, deploy, delete, prune, install, doctor, serve):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error of ours is a line on stderr; the exit code says of which sort it is."""
    try:
        cli(standalone_mode=False)
    except BatchflowError as error:
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            click.echo(f"batchflow: {one}", err=True)
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
