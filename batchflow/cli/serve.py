"""`batchflow serve`."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from batchflow.cli.options import Context, common
from batchflow.contract import GATEWAY_PORT
from batchflow.errors import InvalidInput
from batchflow.settings import ENGINES, Settings

__all__ = ["serve"]


@click.command()
@click.option("--engine", type=click.Choice(ENGINES), help="What runs the jobs.  [default: BATCHFLOW_ENGINE, else argo]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback need credentials.")
@click.option("--port", type=int, default=GATEWAY_PORT, show_default=True, help="0: any free one.")
@common
def serve(context: Context, engine: str | None, host: str, port: int) -> None:
    """Serve Cortex's HTTP API: POST /<api> submits a job, GET and DELETE with ?jobID= show and stop it.

    And Verda's: /v1 manages job deployments, any request to /<name> is a job of one. While this runs, it starts these jobs.

    BATCHFLOW_CREDENTIALS names a YAML file of tokens, clients and keys: see docs/http-api.md and docs/verda-api.md.
    """
    try:
        from batchflow.gateway.serve import serve as run
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{error.name} is not installed", where="batchflow serve", hint="pip install 'batchflow-argo[serve]'") from error
    settings = context.settings
    if engine and engine != settings.engine:
        chosen = Settings.from_env({**os.environ, "BATCHFLOW_ENGINE": engine})
        settings = replace(chosen, namespace=settings.namespace, kube_context=settings.kube_context)
    run(settings, host, port, told=click.echo)
    os._exit(0)  # a thread that still asks a store which does not answer would keep the process for minutes
