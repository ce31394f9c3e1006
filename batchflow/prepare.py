"""The init container `prepare`: puts the job document, and for a Handler its project and the runtime, where containers look."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import orjson

from batchflow import contract
from batchflow.errors import InvalidInput, NotFound
from batchflow.spec.model import Api
from batchflow.spec.project import MAX_PROJECT_BYTES
from batchflow.store.jobs import ApiRecords, JobRecords

__all__ = ["prepare", "unpack"]

_RUNTIME_SOURCE: Final = Path(__file__).with_name("runtime")
_MODULES: Final = "modules"
_ANYBODY: Final = 0o777  # the handler's container may run as any user


def prepare(records: JobRecords, apis: ApiRecords, environ: Mapping[str, str]) -> None:
    """Write what the job's containers read; repeating it changes nothing.

    The paths are those of the contract, or the values that its env names have in `environ`. Raises NotFound or InvalidInput if the
    store does not hold what it should.
    """
    document = records.document()
    if document is None:
        raise NotFound("the job has no job.json", where=records.store.url, hint="its enqueuer writes it; look at the enqueuer's log")
    submission = records.request()
    api = apis.api(submission.api_name, submission.api_id)
    _write(Path(environ.get(contract.ENV_JOB_DOCUMENT, contract.JOB_DOCUMENT)), document)
    if api.handler:
        _prepare_handler(api, apis, document, environ)


def _prepare_handler(api: Api, apis: ApiRecords, document: bytes, environ: Mapping[str, str]) -> None:
    if api.project is None:
        raise InvalidInput("has a handler but no project files", where=api.name, hint="deploy the api again")
    project = Path(environ.get(contract.ENV_PROJECT, contract.PROJECT_DIR))
    unpack(apis.project(api.project), api.project, project)
    _write(Path(environ.get(contract.ENV_JOB_SPEC, contract.JOB_SPEC)), document)
    _write(Path(environ.get(contract.ENV_API_SPEC, contract.API_SPEC)), orjson.dumps(dict(api.raw), option=orjson.OPT_INDENT_2))
    _copy_runtime(Path(environ.get(contract.ENV_RUNTIME, contract.RUNTIME_DIR)))
    failures = Path(environ.get(contract.ENV_MNT, contract.MNT_DIR), contract.FAILURES_FILE)
    for folder in (project, failures.parent, Path(environ.get(contract.ENV_VENVS, contract.VENV_DIR))):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_ANYBODY)


def unpack(data: bytes, sha256: str, folder: Path) -> None:
    """Unpack a project's zip below `folder`; raises InvalidInput, with nothing written, if it is not the one, too big or not safe."""
    where = f"project {sha256}"
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidInput("its content does not match its name", where=where, hint="deploy the api again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in archive.infolist():
                _check(entry, where)
            # What is read from an entry is never longer than the size that it declares.
            if sum(entry.file_size for entry in files) > MAX_PROJECT_BYTES:
                raise InvalidInput("is larger than 32 MiB when unpacked", where=where, hint="leave files out with .cortexignore")
            if archive.testzip() is not None:
                raise InvalidInput("is damaged", where=where, hint="deploy the api again")
            for entry in files:
                _extract(archive, entry, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise InvalidInput(f"is not a zip file that can be read: {error}", where=where, hint="deploy the api again") from error


def _check(entry: zipfile.ZipInfo, where: str) -> None:
    name = entry.orig_filename
    mode = entry.external_attr >> 16
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or (parts and ":" in parts[0])
    if outside or not parts:
        raise InvalidInput(f"holds the path {name!r}", where=where, hint="paths must be relative and stay inside the project")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidInput(f"{name} is a link or a device", where=where, hint="put the file itself into the project")
    if entry.flag_bits & 1:
        raise InvalidInput(f"{name} is encrypted", where=where)


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = folder / entry.filename
    _write(path, archive.read(entry))
    if entry.external_attr >> 16 & stat.S_IXUSR:
        path.chmod(0o755)


def _copy_runtime(folder: Path) -> None:
    """The packages batchflow_runtime and, beside it, those that a handler may import."""
    own = shutil.ignore_patterns("__pycache__", _MODULES)
    shutil.copytree(_RUNTIME_SOURCE, folder / "batchflow_runtime", ignore=own, dirs_exist_ok=True)
    shutil.copytree(_RUNTIME_SOURCE / _MODULES, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
