"""Deploys what came over HTTP: a cortex.yaml and, as a zip, the files beside it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from batchflow.client.deployment import Deployment, deploy
from batchflow.client.services import Services
from batchflow.errors import BatchflowError, InvalidInput
from batchflow.prepare import unpack

__all__ = ["deploy_files"]

_MAX_NAME: Final = 255
# Of a project that comes as a zip: so many empty ones take few bytes, but a minute to write.
_MAX_FILES: Final = 20_000


def deploy_files(services: Services, config: bytes, project: bytes | None, *, name: str) -> list[Deployment]:
    """As `deployment.deploy`, for a file called `name` whose project is in a zip; its errors name that file, not where it was put.

    With the local engine the files stay on this machine, since that is where the containers of its jobs start.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode()) > _MAX_NAME:
        raise InvalidInput(f'"{name}" is not the name of a file', where="configFileName", hint="leave it out for cortex.yaml")
    local = services.settings.engine == "local"
    root = Path(services.settings.local_dir, "deployed") if local else Path(tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="batchflow-", dir=root))
    ours = True  # to be removed
    try:
        _write(folder, config, project, name)
        if local:
            folder, ours = _kept(folder, root / _digest(config, project, name))
        deployed = deploy(services, folder / name)
        ours = ours and not local
        return deployed
    except BatchflowError as error:
        for path in (str(folder), os.path.relpath(folder)):
            error.where = error.where.replace(f"{path}/", "")
        raise
    finally:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, config: bytes, project: bytes | None, name: str) -> None:
    if project is not None:
        _refuse_many_files(project)
        unpack(project, hashlib.sha256(project).hexdigest(), folder)
    if (folder / name).is_dir():
        raise InvalidInput(f"holds a folder called {name}", where="project.zip", hint="that is the name of the api's file")
    (folder / name).write_bytes(config)


def _refuse_many_files(project: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(project)) as archive:
            count = len(archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # `unpack` says what is wrong
        return
    if count > _MAX_FILES:
        raise InvalidInput(f"holds {count} files, more than {_MAX_FILES}", where="project.zip", hint="leave files out with .cortexignore")


def _digest(config: bytes, project: bytes | None, name: str) -> str:
    digest = hashlib.sha256()
    for part in (name.encode(), config, project or b""):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def _kept(folder: Path, kept: Path) -> tuple[Path, bool]:
    """The folder for just this content, and whether it was not there before."""
    try:
        folder.rename(kept)
        return kept, True
    except OSError:  # it is there, and not empty
        shutil.rmtree(folder, ignore_errors=True)
        return kept, False
