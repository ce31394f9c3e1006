"""Puts the documents, and for a Handler its project, its models and the runtime, where containers look for them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from batchflow import contract
from batchflow.errors import InvalidInput, NotFound
from batchflow.prepare.models import fetch_models
from batchflow.prepare.project import unpack
from batchflow.spec.model import Api, Handler
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.sources import UserSources

__all__ = ["prepare"]

_RUNTIME_SOURCE: Final = Path(__file__).parents[1] / "runtime"
_MODULES: Final = "modules"
_ANYBODY: Final = 0o777  # the handler's container may run as any user
_CLIENT_ENVIRONMENT: Final = "default"  # what `cortex.client()` calls the gateway


def prepare(records: JobRecords, apis: ApiRecords, sources: UserSources, environ: Mapping[str, str]) -> None:
    """Write what the job's containers read; repeating it changes nothing.

    `sources`: where models are read from. The paths are those of the contract, or the values that its env names have in `environ`.
    Raises NotFound or InvalidInput if the store does not hold what it should, or a model is not where the api says.
    """
    document = records.document()
    if document is None:
        raise NotFound("the job has no job.json", where=records.store.url, hint="its enqueuer writes it; look at the enqueuer's log")
    submission = records.request()
    api = apis.api(submission.api_name, submission.api_id)
    job = orjson.loads(document)
    _write_json(Path(environ.get(contract.ENV_JOB_DOCUMENT, contract.JOB_DOCUMENT)), _container_document(job))
    if api.additions.cortex_client:
        _write_client_config(api, environ)
    if api.handler:
        _prepare_handler(api, api.handler, apis, job, environ)
        if api.handler.models:
            folder = Path(environ.get(contract.ENV_MODELS, contract.MODEL_DIR))
            fetch_models(api.handler.models, sources, _project_folder(environ), folder)


def _container_document(job: Mapping[str, Any]) -> dict[str, Any]:
    """Cortex's containers found no `total_batch_count` where it was 0."""
    return {key: value for key, value in job.items() if key != "total_batch_count" or value}


def _handler_document(job: Mapping[str, Any], handler: Handler) -> dict[str, Any]:
    """Cortex's handler generation had two further ids; both change when the api does."""
    ids = {"spec_id": job["api_id"], f"{handler.key}_id": job["api_id"]}
    document: dict[str, Any] = {}
    for key, value in job.items():
        document |= {key: value} | (ids if key == "api_id" else {})
    return document


def _prepare_handler(api: Api, handler: Handler, apis: ApiRecords, job: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    if api.project is None:
        raise InvalidInput("has a handler but no project files", where=api.name, hint="deploy the api again")
    project = _project_folder(environ)
    unpack(apis.project(api.project), api.project, project)
    _write_json(Path(environ.get(contract.ENV_JOB_SPEC, contract.JOB_SPEC)), _handler_document(job, handler))
    _write_json(Path(environ.get(contract.ENV_API_SPEC, contract.API_SPEC)), api.raw)
    _copy_runtime(Path(environ.get(contract.ENV_RUNTIME, contract.RUNTIME_DIR)))
    failures = Path(environ.get(contract.ENV_MNT, contract.MNT_DIR), contract.FAILURES_FILE)
    for folder in (project, failures.parent, Path(environ.get(contract.ENV_VENVS, contract.VENV_DIR))):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_ANYBODY)


def _project_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get(contract.ENV_PROJECT, contract.PROJECT_DIR))


def _copy_runtime(folder: Path) -> None:
    """The packages batchflow_runtime and, beside it, those that a handler may import."""
    own = shutil.ignore_patterns("__pycache__", _MODULES)
    shutil.copytree(_RUNTIME_SOURCE, folder / "batchflow_runtime", ignore=own, dirs_exist_ok=True)
    shutil.copytree(_RUNTIME_SOURCE / _MODULES, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def _write_client_config(api: Api, environ: Mapping[str, str]) -> None:
    """The file in which Cortex's client looks for its environments."""
    url = environ.get(contract.ENV_GATEWAY_URL)
    if not url:
        raise InvalidInput(
            "is not set, and the api has cortex_client: true",
            where=contract.ENV_GATEWAY_URL,
            hint="install the gateway (batchflow install --gateway), or leave cortex_client out",
        )
    default = contract.HANDLER_CLIENT_DIR if api.handler else contract.CLIENT_DIR
    environment = {"name": _CLIENT_ENVIRONMENT, "operator_endpoint": url}
    config = yaml.safe_dump({"default_environment": _CLIENT_ENVIRONMENT, "environments": [environment]}, sort_keys=False)
    _write(Path(environ.get(contract.ENV_CLIENT_CONFIG, default), contract.CLIENT_CONFIG), config.encode())


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Indented as Cortex wrote it."""
    _write(path, orjson.dumps(dict(document), option=orjson.OPT_INDENT_2))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
