"""A Handler's project: the files beside its cortex.yaml, as one zip that is the same for the same files (spec/cortex.md section 2)."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batchflow.errors import InvalidInput
from batchflow.spec.api import handler_place
from batchflow.spec.hook import defines_hook
from batchflow.spec.model import Api, Handler
from batchflow.spec.reader import shown_path

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["MAX_PROJECT_BYTES", "Project", "pack_project", "with_project", "with_projects"]

# Cortex's limits since 0.35, on each file and on their sum, uncompressed (spec/cortex.md section 2).
MAX_PROJECT_BYTES: Final = 32 * 2**20
_IGNORE_FILE: Final = ".cortexignore"
_ENV_FILE: Final = ".env"
_WAY_OUT: Final = f"list files that the handler doesn't need in {_IGNORE_FILE}"
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # a zip's first time
_NAMED: Final = 3  # how many of the biggest files an error names


@dataclass(frozen=True, slots=True)
class Project:
    """`data` is the zip, `sha256` its hash in hex, `files` the paths in it, sorted."""

    sha256: str
    data: bytes
    files: tuple[str, ...]


def with_project(api: Api, config_file: Path) -> tuple[Api, Project | None]:
    """The api with `project` and `has_hook` filled in, and its files; a pod has none.

    Raises:
        InvalidInput: as `pack_project`; `path` or `python_path` is not in the project; the Handler's file is not Python.
    """
    [filled] = with_projects([api], config_file)
    return filled


def with_projects(apis: Sequence[Api], config_file: Path) -> list[tuple[Api, Project | None]]:
    """The same for several apis of the file, whose project is one: the file's folder."""
    folder = config_file.absolute().parent
    project = pack_project(folder, config_file) if any(api.handler for api in apis) else None
    return [(_filled(api, api.handler, project, config_file), project) if api.handler and project else (api, None) for api in apis]


def _filled(api: Api, handler: Handler, project: Project, config_file: Path) -> Api:
    _check_paths(api, handler, project, config_file)
    file = config_file.absolute().parent / posixpath.normpath(handler.path)
    has_hook = api.has_hook
    if has_hook and api.additions.on_job_complete is None and file.suffix == ".py":
        has_hook = defines_hook(file.read_bytes(), shown_path(file))
    return replace(api, project=project.sha256, has_hook=has_hook)


def pack_project(directory: Path, config_file: Path) -> Project:
    """Zip what Cortex would deploy: everything but the config file, hidden, compiled and ignored files; `.env` at the root always.

    Raises:
        InvalidInput: home or `/`; too big; a file that can't be read or a link that leaves the project.
    """
    root = directory.resolve()
    if root in (Path.home().resolve(), Path(root.anchor)):
        raise InvalidInput("can't be a project: it is your home or the root of the disk", where=str(root), hint="use a folder of its own")
    try:
        files = dict(sorted(_Walk(root, config_file.parent.resolve() / config_file.name, _ignored(root)).files()))
        _check_sizes(files, root)
        data = _zip(files, root)
    except OSError as error:
        raise InvalidInput(f"can't be read: {error.strerror}", where=str(error.filename or root), hint=_WAY_OUT) from error
    return Project(hashlib.sha256(data).hexdigest(), data, tuple(files))


def _ignored(root: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # 15 ms to import, and most commands pack nothing

    file = root / _IGNORE_FILE
    if not file.is_file():
        return GitIgnoreSpec.from_lines([])
    try:
        return GitIgnoreSpec.from_lines(file.read_text("utf-8").splitlines())
    except ValueError as error:  # not UTF-8, or not a pattern
        raise InvalidInput(f"can't be used: {error}", where=shown_path(file)) from error


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Path
    config_file: Path
    ignored: GitIgnoreSpec

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """(path in the project, status) of each file that belongs to it."""
        env = self.root / _ENV_FILE
        if env.is_file():
            yield _ENV_FILE, self._target(env).stat()
        yield from self._below("", (self.root,))

    def _below(self, prefix: str, parents: tuple[Path, ...]) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(self.root / prefix) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            path, full = prefix + name, self.root / prefix / name
            if _is_excluded(name) or full == self.config_file or self._is_ignored(path, full.is_dir()):
                continue
            target = self._target(full)
            status = target.stat()
            if stat.S_ISDIR(status.st_mode):
                if target in parents:
                    raise InvalidInput("is a link to a folder that it is in", where=str(full), hint=_WAY_OUT)
                yield from self._below(path + "/", (*parents, target))
            elif stat.S_ISREG(status.st_mode):
                yield _text(path, full), status
            else:
                raise InvalidInput("is neither a file nor a folder", where=str(full), hint=_WAY_OUT)

    def _is_ignored(self, path: str, is_folder: bool) -> bool:
        """As git does: the last pattern wins, and nothing below an ignored folder is looked at."""
        if not is_folder:
            return self.ignored.match_file(path)
        patterns = reversed(self.ignored.patterns)
        return next((bool(pattern.include) for pattern in patterns if pattern.match_file(f"{path}/") is not None), False)

    def _target(self, path: Path) -> Path:
        """Where a path leads: itself, or a link's target, which must be in the project."""
        if not path.is_symlink():
            return path
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop, before Python 3.13
            raise InvalidInput("is a link that leads nowhere", where=str(path), hint=_WAY_OUT) from error
        if not target.is_relative_to(self.root):
            raise InvalidInput(f"is a link out of the project, to {target}", where=str(path), hint=f"copy what it leads to, or {_WAY_OUT}")
        return target


def _is_excluded(name: str) -> bool:
    return name == "__pycache__" or name.startswith((".", "cortex-debug-")) or name.endswith((".pyc", ".pyo", ".pyd"))


def _text(path: str, full: Path) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("has a name that is not UTF-8", where=repr(str(full)), hint="rename it") from error
    return path


def _check_sizes(files: dict[str, os.stat_result], root: Path) -> None:
    sizes = {path: status.st_size for path, status in files.items()}
    biggest = sorted(sizes, key=lambda path: (-sizes[path], path))[:_NAMED]
    if biggest and sizes[biggest[0]] > MAX_PROJECT_BYTES:
        what = f"file size cannot be greater than {MAX_PROJECT_BYTES} bytes (got {sizes[biggest[0]]})"
        raise InvalidInput(what, where=str(root / biggest[0]), hint=_WAY_OUT)
    if sum(sizes.values()) > MAX_PROJECT_BYTES:
        named = ", ".join(f"{path} ({sizes[path]})" for path in biggest)
        what = f"project size cannot exceed {MAX_PROJECT_BYTES} bytes (got {sum(sizes.values())}); the biggest files are {named}"
        raise InvalidInput(what, where=str(root), hint=_WAY_OUT)


def _zip(files: dict[str, os.stat_result], root: Path) -> bytes:
    """The same bytes for the same contents, whenever and by whomever they were written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, status in files.items():
            info = zipfile.ZipInfo(path, _EARLIEST)
            info.create_system = 3  # Unix, whatever made it
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | (0o755 if status.st_mode & 0o111 else 0o644)) << 16
            archive.writestr(info, (root / path).read_bytes())
    return buffer.getvalue()


def _check_paths(api: Api, handler: Handler, project: Project, config_file: Path) -> None:
    if posixpath.normpath(handler.path) not in project.files:
        raise _missing(api, config_file, "path", handler.path)
    folder = posixpath.normpath(handler.python_path or "") + "/"
    if handler.python_path and not any(path.startswith(folder) for path in project.files):
        raise _missing(api, config_file, "python_path", handler.python_path)


def _missing(api: Api, config_file: Path, key: str, path: str) -> InvalidInput:
    target = config_file.absolute().parent / path
    if not target.exists():
        reason = "is not in the project"
    elif key == "path" and target.is_dir():
        reason = "is not a file"
    elif key == "python_path" and target.is_file():
        reason = "is not a folder"
    else:
        reason = f"is left out of the project by Cortex's rules or {_IGNORE_FILE}"
    return handler_place(config_file, api, key).error(f'"{path}" {reason}', hint="paths are relative to the folder of the api's file")
