"""Batch jobs on Kubernetes: Cortex's Batch APIs, compiled through Hera into Argo Workflows, and runnable unchanged on a laptop.

    import batchflow
    job = batchflow.submit("job.yaml", engine="local")
    print(job.wait().status)

The services behind these functions are imported when first used, so that the command line starts quickly.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batchflow.errors import BatchflowError, Conflict, HandlerDown, InvalidInput, NotFound, SeveralErrors, Unreachable

if TYPE_CHECKING:  # at run time `__getattr__` imports them when they are used: they would triple the start-up time
    from hera.workflows import Workflow

    from batchflow.client import Client, Job
    from batchflow.settings import Settings
    from batchflow.spec.model import Submission
    from batchflow.status.model import JobStatus

__all__ = [
    "BatchflowError",
    "Client",
    "Conflict",
    "HandlerDown",
    "InvalidInput",
    "Job",
    "JobStatus",
    "NotFound",
    "Settings",
    "SeveralErrors",
    "Submission",
    "Unreachable",
    "compile",
    "get",
    "load",
    "submit",
]
__version__ = "0.1.0"

_MODULES: Final = {
    "Client": "batchflow.client",
    "Job": "batchflow.client",
    "JobStatus": "batchflow.status.model",
    "Settings": "batchflow.settings",
    "Submission": "batchflow.spec.model",
}

if not TYPE_CHECKING:  # else a checker would believe that the module has every attribute

    def __getattr__(name: str) -> Any:
        """The types that users annotate with."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def load(path: str | Path, **overrides: Any) -> Submission:
    """Read and check a job.yaml (or .json). `overrides` replace its fields, such as `workers=4`. Raises InvalidInput."""
    from batchflow.spec.jobfile import load_submission

    return load_submission(Path(path), overrides=overrides)


def compile(submission: Submission, *, job_id: str = "0" * 16, settings: Settings | None = None) -> Workflow:
    """The Argo Workflow that a cluster would get. Pure but for reading the api's own files: same input, same bytes."""
    from batchflow.client import Client
    from batchflow.compiler import compile_job
    from batchflow.records import JobRef

    chosen = _settings(None, settings)
    api = Client(chosen).plan(submission).api
    return compile_job(submission, api, JobRef(api.name, job_id), chosen)


def submit(
    submission: Submission | str | Path, *, engine: str | None = None, job_id: str | None = None, settings: Settings | None = None
) -> Job:
    """Start a job on `engine` ("argo" or "local"; default: BATCHFLOW_ENGINE, else argo) and return at once."""
    chosen = load(submission) if isinstance(submission, str | Path) else submission
    return _client(engine, settings).submit(chosen, job_id=job_id)


def get(api: str, job_id: str, *, engine: str | None = None, settings: Settings | None = None) -> Job:
    """A submitted job. Raises NotFound."""
    return _client(engine, settings).get(api, job_id)


def _client(engine: str | None, settings: Settings | None) -> Client:
    from batchflow.client import Client

    return Client(_settings(engine, settings))


def _settings(engine: str | None, settings: Settings | None) -> Settings:
    from batchflow.settings import ENGINES, Settings

    if engine not in (None, *ENGINES):
        raise InvalidInput(f'"{engine}" is none of {", ".join(ENGINES)}', where="engine")
    chosen = settings or Settings.from_env(local=engine == "local")
    return replace(chosen, engine=engine) if engine else chosen
