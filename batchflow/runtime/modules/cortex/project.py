"""A project's files as the zip that `POST /deploy` takes, by Cortex's rules (spec/cortex.md section 2)."""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator

from .exceptions import CortexException
from .ignore import Ignored

__all__ = ["archive"]

_MAX_BYTES = 32 * 2**20  # of each file, and of all together, uncompressed
_IGNORE_FILE = ".cortexignore"
_ALWAYS = (".env", _IGNORE_FILE)  # at the root; the gateway looks at the second once more
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def archive(folder: str, without: str = "") -> bytes:
    """Zip the folder's files but hidden, compiled and ignored ones, and the file `without`.

    Raises CortexException: no folder, home or `/`; more than 32 MiB; links out of the project or to folders; neither file nor folder; a
    file or a .cortexignore that can't be read.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        raise CortexException(f"{folder}: there is no such folder")
    if root in (os.path.realpath(os.path.expanduser("~")), os.path.abspath(os.sep)):
        raise CortexException(f"{root} can't be a project: it is the home folder or the root of the disk")
    try:
        return _zip({path: file for path, file in sorted(_files(root)) if not (without and os.path.samefile(file, without))})
    except OSError as error:
        raise CortexException(f"{error.filename or root} can't be read: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise CortexException(f"{root} holds a file whose name is not UTF-8: {error.object!r}") from error


def _zip(files: dict[str, str]) -> bytes:
    _check_sizes(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, file in files.items():
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | (0o755 if os.access(file, os.X_OK) else 0o644)) << 16
            with open(file, "rb") as opened:
                packed.writestr(entry, opened.read())
    return buffer.getvalue()


def _files(root: str) -> Iterator[tuple[str, str]]:
    """(path in the project, path on disk) of each file that belongs to it."""
    ignored = _ignored(root)
    for folder, folders, names in os.walk(root, onerror=_raise):
        prefix = "" if folder == root else os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        folders[:] = [name for name in folders if not _is_excluded(name) and f"{prefix}{name}/" not in ignored]
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):  # which os.walk would leave out without a word
                raise CortexException(
                    f"{os.path.join(folder, name)} is a link to a folder: copy what it leads to, or list it in {_IGNORE_FILE}"
                )
        for name in names:
            path = prefix + name
            if path in _ALWAYS or not (_is_excluded(name) or path in ignored):
                yield path, _checked(os.path.join(folder, name), root)


def _ignored(root: str) -> Ignored:
    try:
        with open(os.path.join(root, _IGNORE_FILE), encoding="utf-8") as file:
            return Ignored(file)
    except FileNotFoundError:
        return Ignored(())
    except (ValueError, re.error) as error:  # not UTF-8, or a range such as [z-a]
        raise CortexException(f"{_IGNORE_FILE} can't be used: {error}") from error


def _raise(error: OSError) -> None:
    raise error


def _is_excluded(name: str) -> bool:
    return name == "__pycache__" or name.startswith((".", "cortex-debug-")) or name.endswith((".pyc", ".pyo", ".pyd"))


def _checked(file: str, root: str) -> str:
    target = os.path.realpath(file)
    if not target.startswith(root + os.sep):
        raise CortexException(f"{file} is a link out of the project: copy what it leads to, or list it in {_IGNORE_FILE}")
    if not os.path.isfile(target):
        raise CortexException(f"{file} is not a file that can be read: remove it, or list it in {_IGNORE_FILE}")
    return file


def _check_sizes(files: dict[str, str]) -> None:
    total = 0
    for file in files.values():
        size = os.path.getsize(file)
        total += size
        if size > _MAX_BYTES:
            raise CortexException(f"{file}: file size cannot be greater than {_MAX_BYTES} bytes (got {size})")
    if total > _MAX_BYTES:
        raise CortexException(f"project size cannot exceed {_MAX_BYTES} bytes (got {total}): list files in {_IGNORE_FILE}")
