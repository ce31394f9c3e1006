"""Users' input files: which paths are read here, and local files with the semantics of S3."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, Protocol
from urllib.parse import unquote, urlsplit

from batchflow.errors import InvalidInput, Unreachable
from batchflow.store.directory import files_in_key_order
from batchflow.store.protocol import SourceFile
from batchflow.store.streams import GuardedStream, changed, decompressed

__all__ = ["LocalFiles", "StoredFiles", "UserSources", "local_path"]

_FILE: Final = "file://"


class StoredFiles(Protocol):
    """Files of one kind of storage, as they are stored."""

    def list(self, prefix: str) -> Iterator[SourceFile]:
        """As `Sources.list`."""
        ...

    def open(self, file: SourceFile) -> io.RawIOBase:
        """As `Sources.open`, but the stored bytes, compressed or not; the stream raises `errors.BatchflowError` only."""
        ...


class UserSources:
    """`Sources` of `s3://` paths, and of local ones where they are allowed."""

    def __init__(self, s3: Callable[[], StoredFiles], local: StoredFiles | None) -> None:
        """`s3` is called when the first such path is met: its client takes long to import and needs a region."""
        self._connect_s3 = s3
        self._s3: StoredFiles | None = None
        self._local = local

    def list(self, prefix: str) -> Iterator[SourceFile]:
        return self.stored(prefix).list(prefix)

    def open(self, file: SourceFile) -> BinaryIO:
        return decompressed(self.stored(file.path).open(file), file.path)

    def stored(self, path: str) -> StoredFiles:
        """The files of a path's kind, as they are stored; raises InvalidInput if such paths are not read here."""
        if path.startswith("s3://"):
            self._s3 = self._s3 or self._connect_s3()
            return self._s3
        if self._local and path.startswith(("/", _FILE)):
            return self._local
        hint = "or give an absolute path" if self._local else "only s3:// is read here, unless BATCHFLOW_SOURCES lists more (such as file)"
        raise InvalidInput(f'"{path}" is not a valid s3 path (e.g. s3://bucket/folder/)', hint=hint, kind="aws.invalid_s3_path")


class LocalFiles:
    """Absolute paths and `file://` URLs, listed as S3 lists keys: raw prefixes, recursively, by the paths' bytes."""

    def list(self, prefix: str) -> Iterator[SourceFile]:
        folder, slash, start = local_path(prefix).rpartition("/")
        with _readable(prefix):
            for path in files_in_key_order(folder + slash, start):
                info = _stat(path)
                if info is not None:  # else it is gone since its folder was read
                    yield SourceFile(_utf8(path), _etag(info), info.st_size)

    def open(self, file: SourceFile) -> io.RawIOBase:
        @contextmanager
        def unchanged() -> Iterator[None]:
            info = None
            with _readable(file.path), suppress(FileNotFoundError):
                yield
                info = _stat(file.path)
            if info is None or _etag(info) != file.etag:
                raise changed(file.path)

        with unchanged():
            return GuardedStream(open(file.path, "rb", buffering=0), unchanged)


def local_path(path: str) -> str:
    """An absolute path, or a `file://` URL, as a path; raises InvalidInput for a URL of another machine."""
    if not path.startswith(_FILE):
        return path
    url = urlsplit(path)
    if url.netloc not in ("", "localhost"):
        raise InvalidInput("names another machine", where=path, hint="file:///absolute/path is on this one")
    return unquote(path[len(_FILE) + len(url.netloc) :])


def _etag(info: os.stat_result) -> str:
    return f"{info.st_mtime_ns}-{info.st_size}"


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the file's name is not UTF-8", where=repr(path), hint="rename it") from error
    return path


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise InvalidInput("permission denied", where=error.filename or path) from error
    except OSError as error:
        raise Unreachable(f"can't be read: {error.strerror}", where=error.filename or path) from error
