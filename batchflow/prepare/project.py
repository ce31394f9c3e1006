"""A Handler's project: the zip that was deployed, checked and unpacked."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from pathlib import Path, PurePosixPath

from batchflow.errors import InvalidInput
from batchflow.spec.project import MAX_PROJECT_BYTES

__all__ = ["unpack"]


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
            _refuse_twice(files, where)
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


def _refuse_twice(files: list[zipfile.ZipInfo], where: str) -> None:
    """A path can't be two files, nor a file and a folder."""
    paths = {PurePosixPath(entry.filename) for entry in files}
    folders = {parent for path in paths for parent in path.parents}
    if len(paths) < len(files) or paths & folders:
        raise InvalidInput("holds a path twice, or a file below a file", where=where, hint="zip the folder again")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = folder / entry.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive.read(entry))
    if entry.external_attr >> 16 & stat.S_IXUSR:
        path.chmod(0o755)
