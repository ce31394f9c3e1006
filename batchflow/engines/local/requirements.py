"""What a job needs of this machine, looked for before the job begins."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Final

from batchflow.engines.local.environment import KeyRef
from batchflow.engines.local.launch import search_path
from batchflow.engines.local.manifest import Container, Job
from batchflow.errors import InvalidInput

__all__ = ["check_requirements"]

# A pod finds these in their images. Others are the user's, who may bring them with the job itself.
_PROGRAMS: Final = {"tensorflow_model_server": "install TensorFlow Serving"}


def check_requirements(job: Job, environ: Mapping[str, str]) -> None:
    """Raise InvalidInput naming the variable or the program that is missing; `environ` is the engine's."""
    for template in job.templates.values():
        for container in (*template.init, template.main):
            _check_variables(container, environ)
            _check_program(container, environ)


def _check_variables(container: Container, environ: Mapping[str, str]) -> None:
    for _, value in container.env:
        if isinstance(value, KeyRef) and not value.optional and value.find(environ) is None:
            name = value.stand_ins[0]
            hint = "set it; or submit through `batchflow serve`, which sets it"
            if not name.startswith("BATCHFLOW_"):
                hint = "set it in the shell from which the job is run: on this machine it stands for the Secret"
            raise InvalidInput(f"is not set, and container {container.name} needs it", where=name, hint=hint)


def _check_program(container: Container, environ: Mapping[str, str]) -> None:
    program = container.command[0]
    if program in _PROGRAMS and shutil.which(program, path=search_path(environ)) is None:
        raise InvalidInput("is not on PATH of this machine", where=program, hint=f"{_PROGRAMS[program]}, or run the job on a cluster")
