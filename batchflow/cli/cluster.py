"""`batchflow install` and `batchflow doctor`: what an administrator runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys

import click

from batchflow.cli.options import EXIT_ENDED_OTHERWISE, EXIT_UNREACHABLE, Context, common
from batchflow.errors import InvalidInput

__all__ = ["doctor", "install"]


@click.command()
@click.option("--store", help="Where job records live: s3://bucket/prefix.")
@click.option("--image", help="Of our containers; without it the one that belongs to this version.")
@click.option("--region", help="The region of S3 and SQS.")
@click.option("--endpoint-url", help="Of S3 and SQS, where they are not AWS's.")
@click.option("--s3-endpoint-url", help="Of S3 alone.")
@click.option("--sqs-endpoint-url", help="Of SQS alone.")
@click.option("--log-level", help="Of our steps: debug, info, warning or error.")
@click.option("--role-arn", default="", help="The AWS role that our pods take on (EKS, IRSA).")
@click.option("--create-namespace", is_flag=True, help="Print the namespace, too.")
@click.option("--gateway", is_flag=True, help="Print the gateway, too: batchflow serve, the HTTP API.")
@click.option("--gateway-url", help="Where workers find the gateway, if not by the name of its Service.")
@common
def install(context: Context, role_arn: str, create_namespace: bool, gateway: bool, **values: str | None) -> None:
    """Print what a namespace needs, for kubectl apply -f -.

    What no flag says comes from the shell's BATCHFLOW_* and AWS_* variables.
    """
    import yaml

    from batchflow.cli.init import templates_directory
    from batchflow.cluster.install import manifests, plan_installation

    flags = {f"--{name.replace('_', '-')}": value for name, value in values.items() if value is not None}
    plan = plan_installation(
        context.settings.namespace, flags, os.environ, role_arn=role_arn, create_namespace=create_namespace, gateway=gateway
    )
    text = manifests(plan, templates_directory() / "install")
    if context.output == "json":
        context.print_document({"apiVersion": "v1", "kind": "List", "items": list(yaml.safe_load_all(text))})
    else:
        click.echo(text, nl=False)


@click.command()
@click.option("--store", help="Where job records live, if this is not yet installed: s3://bucket/prefix.")
@click.option("--delete-orphans", is_flag=True, help="Delete queues that no run needs any more.")
@common
def doctor(context: Context, store: str | None, delete_orphans: bool) -> None:
    """Check a cluster, what is installed there, the store and SQS, from here and from pods.

    Prints a line for each finding, and how to mend it. Takes up to three minutes; what it makes to try things it removes.
    """
    from batchflow.cluster.doctor import FAIL
    from batchflow.cluster.examine import Examination

    settings = context.settings
    if settings.engine == "local":
        raise InvalidInput("doctor looks at a cluster", where="--local", hint="leave it out, or unset BATCHFLOW_ENGINE")
    settings = dataclasses.replace(settings, store=(store or settings.store).rstrip("/"))
    examination = Examination(settings, os.environ, delete_orphans=delete_orphans)
    seen = []
    with contextlib.closing(examination.findings()) as findings:
        for finding in findings:
            seen.append(finding)
            if context.is_text:
                mend = f"; {finding.hint}" if finding.hint else ""
                click.echo(f"{finding.level:<5} {finding.check:<12} {finding.what}{mend}")
    if not context.is_text:
        context.print_document([dataclasses.asdict(finding) for finding in seen])
    if not examination.reached:
        sys.exit(EXIT_UNREACHABLE)
    if any(finding.level == FAIL for finding in seen):
        sys.exit(EXIT_ENDED_OTHERWISE)
