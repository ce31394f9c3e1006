"""What all commands share: flags, exit codes, how an error and a result are printed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Final

import click

from batchflow.cli.formats import FORMATS, as_json, as_yaml
from batchflow.errors import BatchflowError, InvalidInput, NotFound, Unreachable
from batchflow.settings import Settings

__all__ = ["EXIT_ENDED_OTHERWISE", "EXIT_INTERRUPTED", "EXIT_INVALID", "Context", "common", "exit_code"]

EXIT_ENDED_OTHERWISE: Final = 1
EXIT_INVALID: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The flags that every command takes.

    Attributes:
        settings: what they say and the environment says.
        output: how to print the result, one of FORMATS.
    """

    settings: Settings
    output: str

    @property
    def is_text(self) -> bool:
        """For people; else a document is wanted, and only that on stdout."""
        return self.output == "text"

    def print_document(self, value: Any) -> None:
        """Print a result that is not text, whole."""
        click.echo(as_yaml(value) if self.output == "yaml" else as_json(value))

    def print_entry(self, value: Any) -> None:
        """Print one of many: JSON on a line, or a document of a YAML stream."""
        click.echo(f"---\n{as_yaml(value)}" if self.output == "yaml" else as_json(value, one_line=True))


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add `-n`, `--context`, `-o` and `--local`; the command gets one `context` instead."""

    @click.option("-n", "--namespace", help="Kubernetes namespace.  [default: batchflow]")
    @click.option("--context", "kube_context", metavar="NAME", help="Of the kubeconfig, instead of its current one.")
    @click.option("-o", "--output", type=click.Choice(FORMATS), default="text", show_default=True, help="How to print the result.")
    @click.option("--local", is_flag=True, help="Run on this machine (as BATCHFLOW_ENGINE=local does).")
    def with_context(namespace: str | None, kube_context: str | None, output: str, local: bool, **arguments: Any) -> None:
        settings = Settings.from_env(os.environ, local=local)
        settings = dataclasses.replace(
            settings, namespace=namespace or settings.namespace, kube_context=kube_context or settings.kube_context
        )
        command(context=Context(settings, output), **arguments)

    with_context.__name__ = command.__name__
    with_context.__doc__ = command.__doc__
    # click keeps the parameters of decorators below this one on the function
    with_context.__click_params__ = getattr(command, "__click_params__", []) + with_context.__click_params__  # type: ignore[attr-defined]
    return with_context


def exit_code(error: BatchflowError) -> int:
    """The command's exit code for an error (DESIGN.md section 8)."""
    if isinstance(error, InvalidInput):
        return EXIT_INVALID
    if isinstance(error, NotFound):
        return EXIT_NOT_FOUND
    return EXIT_UNREACHABLE if isinstance(error, Unreachable) else EXIT_ENDED_OTHERWISE
