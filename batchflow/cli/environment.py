"""What every step's environment must say; see contract.py for the names."""

from __future__ import annotations

from collections.abc import Mapping

from batchflow import contract
from batchflow.errors import InvalidInput

__all__ = ["check_version", "required"]


def required(environ: Mapping[str, str], name: str) -> str:
    """The variable's value; raises InvalidInput without one."""
    if not environ.get(name):
        raise InvalidInput("is not set", where=name, hint="steps are run by a workflow that batchflow compiled")
    return environ[name]


def check_version(environ: Mapping[str, str]) -> None:
    """Raises InvalidInput unless the workflow was compiled for this version's steps."""
    if (compiled_by := required(environ, contract.ENV_VERSION)) != contract.VERSION:
        raise InvalidInput(
            f"the workflow was compiled by batchflow {compiled_by}, this image holds {contract.VERSION}",
            where=contract.ENV_VERSION,
            hint="submit with the version of the image, or set BATCHFLOW_IMAGE to an image of the client's",
        )
