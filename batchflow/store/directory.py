"""The store of local runs: a directory, one file a key; and how directories are listed in S3's order."""

from __future__ import annotations

import io
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from batchflow.errors import InvalidInput, Unreachable
from batchflow.store.protocol import check_folder, check_key
from batchflow.store.streams import GuardedStream

__all__ = ["DirectoryStore", "files_in_key_order"]

_DRAFTS: Final = ".drafts"  # below the root, so on the same file system: what is being written
_DRAFT_KEPT_S: Final = 86_400.0  # after the last write to it
_ATTEMPTS: Final = 100  # against deletes that remove the folder which a write has just made


class DirectoryStore:
    """Processes and threads may share it."""

    def __init__(self, root: Path) -> None:
        if not root.is_absolute():
            raise InvalidInput(f'"{root}" is not an absolute directory', where="BATCHFLOW_STORE")
        self._root = root
        self._is_swept = False

    @property
    def url(self) -> str:
        return str(self._root)

    def put(self, key: str, data: bytes) -> None:
        self.put_file(key, io.BytesIO(data), len(data))

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        path = self._path(key)
        with _translated(path), self._draft(file) as draft:
            _in_folder(path, lambda: os.replace(draft, path))

    def create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        try:
            with _translated(path), self._draft(io.BytesIO(data)) as draft:
                _in_folder(path, lambda: os.link(draft, path))
        except FileExistsError:
            return False
        return True

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        with _translated(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def open(self, key: str) -> BinaryIO | None:
        path = self._path(key)
        with _translated(path):
            try:
                return io.BufferedReader(GuardedStream(path.open("rb"), lambda: _translated(path)))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def list(self, prefix: str) -> Iterator[str]:
        folder, slash, start = prefix.rpartition("/")
        if slash:
            check_key(folder)
        root = f"{self._root}/"
        with _translated(self._root):
            for path in files_in_key_order(root + folder + slash, start):
                key = path.removeprefix(root)
                if not key.startswith(f"{_DRAFTS}/"):
                    yield key

    def folders(self, prefix: str) -> Iterator[str]:
        check_folder(prefix)
        with _translated(self._root):
            for name in _sorted_names(f"{self._root}/{prefix}"):
                if name.endswith("/") and prefix + name != f"{_DRAFTS}/":
                    yield name.removesuffix("/")

    def delete(self, keys: Iterable[str]) -> None:
        """As in the Protocol; folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with _translated(path), suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            for folder in path.parents[: key.count("/")]:
                try:
                    folder.rmdir()
                except OSError:
                    break

    def _path(self, key: str) -> Path:
        if check_key(key).partition("/")[0] == _DRAFTS:
            raise InvalidInput(f"{key!r} is not a key of the store", hint=f"{_DRAFTS} is the store's own folder")
        return self._root / key

    @contextmanager
    def _draft(self, content: BinaryIO) -> Iterator[Path]:
        """A file with the content, safely on disk, to be moved or linked to its place."""
        drafts = self._root / _DRAFTS
        drafts.mkdir(parents=True, exist_ok=True)
        if not self._is_swept:
            self._is_swept = True
            _remove_old(drafts)
        draft = drafts / uuid.uuid4().hex
        try:
            with draft.open("xb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                # Else a power cut could leave the new name with nothing in it. The name itself may be lost: then it is as if never written.
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def files_in_key_order(folder: str, start: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Paths of the files below `folder` (which ends in `/`) whose path starts with `folder + start`, as S3 lists keys: by their bytes.

    Links are followed, but not to a directory that holds them (`above`: device and inode of each). A missing folder is empty.
    """
    try:
        info = os.stat(folder)
        identity = (info.st_dev, info.st_ino)
        if identity in above:
            return
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in _sorted_names(folder):
        if name.startswith(start):
            if name.endswith("/"):
                yield from files_in_key_order(folder + name, "", above | {identity})
            else:
                yield folder + name


def _sorted_names(folder: str) -> list[str]:
    """The names of a folder's files, and with a slash of its folders, in the order of the keys; a missing folder is empty."""
    try:
        with os.scandir(folder) as entries:
            # All keys of a folder start with its name and a slash, so that is its place among the names: `a-b`, `a/…`, `a0`.
            # Strings sort by code points, which is the order of their UTF-8 bytes.
            return sorted(name for name in map(_listed_name, entries) if name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _listed_name(entry: os.DirEntry[str]) -> str:
    """The name, with a slash if it is a folder; empty for what is neither file nor folder, such as a broken link."""
    with suppress(OSError):  # a link in a circle
        if entry.is_file():
            return entry.name
        if entry.is_dir():
            return f"{entry.name}/"
    return ""


def _remove_old(drafts: Path) -> None:
    """Remove what was left by whoever was killed while writing."""
    oldest = time.time() - _DRAFT_KEPT_S
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError):  # somebody else removes it, or has just completed it
            if draft.stat().st_mtime < oldest:
                draft.unlink()


def _in_folder(path: Path, act: Callable[[], None]) -> None:
    """Make the file's folder, then act; again if a `delete` elsewhere removes the folder in between."""
    for _ in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):  # the folder went while mkdir looked what is there, or its parent did
            continue
        with suppress(FileNotFoundError):
            return act()
    raise Unreachable("can't be written: its folder is removed again and again", where=str(path))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise Unreachable(f"the store can't be used: {error.strerror}", where=str(path)) from error
