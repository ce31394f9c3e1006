"""Deploys what came over HTTP: a cortex.yaml and, as a zip, the files beside it."""

from __future__ import annotations

import errno
import hashlib
import io
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from batchflow.client.deployment import Deployment, deploy
from batchflow.client.services import Services
from batchflow.errors import BatchflowError, InvalidInput, Unreachable
from batchflow.prepare import unpack

__all__ = ["deploy_files"]

_MAX_NAME: Final = 255
# Of a project that comes as a zip: so many empty ones take few bytes, but a minute to write.
_MAX_FILES: Final = 20_000
_ZIP_HINT: Final = "zip the project again"


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
            folder, ours = _kept(folder, root / _digest(folder))
        deployed = deploy(services, folder / name)
        ours = ours and not local
        return [_told(deployment, folder) for deployment in deployed]
    except BatchflowError as error:
        ours = ours and (not local or isinstance(error, InvalidInput))  # else some may be deployed
        error.where, error.what = _without(folder, error.where), _without(folder, error.what)
        raise
    finally:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, config: bytes, project: bytes | None, name: str) -> None:
    if project is not None:
        _refuse_many_files(project)
        try:
            unpack(project, hashlib.sha256(project).hexdigest(), folder)
        except OSError as error:
            if error.errno not in (None, errno.ENAMETOOLONG):  # None: of a decompressor
                raise Unreachable(f"can't be unpacked: {error.strerror}", where=str(folder)) from error
            raise InvalidInput(f"can't be unpacked: {error.strerror or error}", where="project.zip", hint=_ZIP_HINT) from error
        except (zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
            raise InvalidInput(f"can't be unpacked: {error}", where="project.zip", hint=_ZIP_HINT) from error
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


def _told(deployment: Deployment, folder: Path) -> Deployment:
    """Its warnings, as its errors, do not name the folder."""
    warnings = tuple(_without(folder, warning) for warning in deployment.api.warnings)
    return replace(deployment, api=replace(deployment.api, warnings=warnings))


def _without(folder: Path, text: str) -> str:
    for path in (str(folder), os.path.relpath(folder)):
        text = text.replace(f"{path}/", "")
    return text


def _digest(folder: Path) -> str:
    """Of the files, not of their zip, which also holds times."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + (b"x" if path.stat().st_mode & stat.S_IXUSR else b"-"))
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _kept(folder: Path, kept: Path) -> tuple[Path, bool]:
    """The folder for just this content, and whether it was not there before."""
    try:
        folder.rename(kept)
        return kept, True
    except OSError:  # it is there, and not empty
        shutil.rmtree(folder, ignore_errors=True)
        return kept, False
