"""Local input files go to the store before a job that can't see this machine; content-addressed, so that nothing is uploaded twice."""

from __future__ import annotations

import hashlib
import io
import os.path
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from threading import Event
from typing import Any, Final, TypeVar

from batchflow.enqueuer.listing import list_files, nothing_matches
from batchflow.errors import InvalidInput
from batchflow.spec.model import DelimitedFiles, FilePathLister, ItemList, Submission
from batchflow.store.protocol import SourceFile, Sources, Store
from batchflow.store.sources import LocalFiles, local_path
from batchflow.store.streams import changed

__all__ = ["OnProgress", "upload_local_paths"]

OnProgress = Callable[[int, int, int], None]

THREADS: Final = 8
_READ_BYTES: Final = 1 << 18
_CALLS: Final = 1000  # given to the threads at a time: each that waits takes a kilobyte

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


def upload_local_paths(submission: Submission, store: Store, sources: Sources, *, on_progress: OnProgress = lambda *_: None) -> Submission:
    """The submission with each local entry of `s3_paths` replaced by one in the store that lists copies of its files, in the same order.

    The files of an entry, as the globs let through, become `<store>/uploads/<tree>/<path below the entry's parent directory>`, where
    `tree` is a hash of these paths and their contents. What is there already is not sent: a repeat goes on where one was cut off, and
    the same files make the same submission. The globs have been applied, and are gone.

    `on_progress(files, all_files, sent_bytes)` is called in this thread: how many files are in the store by now, of how many, and the
    bytes that this call has sent. Raises InvalidInput if nothing matches, a file can't be read or changes meanwhile, or pods could
    not read the store; errors of the store as they are.
    """
    source = submission.source
    if isinstance(source, ItemList) or all(map(_is_remote, source.s3_paths)):
        return submission
    _check(source, store)
    with _Threads.running() as threads:
        local = dict.fromkeys(entry for entry in source.s3_paths if not _is_remote(entry))
        trees = {entry: _tree(replace(source, s3_paths=(entry,)), sources, threads) for entry in local}
        copies = {entry: f"{store.url}/{tree.prefix}" for entry, tree in trees.items() if tree.files}
        paths = tuple(copies.get(entry, entry) for entry in source.s3_paths if entry in copies or _is_remote(entry))
        if not paths:
            raise nothing_matches(source)
        _send({tree.prefix: tree for tree in trees.values()}, store, threads, on_progress)
    return replace(submission, source=replace(source, s3_paths=paths, includes=(), excludes=()))


@dataclass(frozen=True, slots=True)
class _File:
    """A local file; `name` is its path below the parent directory of the entry that lists it."""

    source: SourceFile
    name: str
    sha256: bytes


@dataclass(frozen=True)
class _Tree:
    """The files of an entry of `s3_paths`, in their order."""

    files: list[_File]

    @cached_property
    def prefix(self) -> str:
        """Of its keys in the store."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(b"%b\0%b" % (file.name.encode(), file.sha256))
        return f"uploads/{digest.hexdigest()}/"


class _Threads:
    """Some threads; when an error ends the block, they leave files in the middle."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.stop = Event()

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[_Threads]:
        with ThreadPoolExecutor(THREADS) as pool:
            threads = cls(pool)
            try:
                yield threads
            except BaseException:
                threads.stop.set()  # the pool's own end waits for what runs
                raise

    def map(self, call: Callable[[_Argument], _Result], arguments: Iterable[_Argument]) -> Iterator[_Result]:
        """The results in order; the first error ends it."""
        left = iter(arguments)
        while some := list(islice(left, _CALLS)):
            yield from self._pool.map(call, some)


class _Content(io.RawIOBase):
    """A file's bytes as they are stored, hashed as they are read; reading raises CancelledError once `stop` is set.

    With `expected`, a SHA-256, its end raises InvalidInput instead if the bytes have another one.
    """

    def __init__(self, file: SourceFile, stop: Event, expected: bytes | None = None) -> None:
        super().__init__()
        self._path = file.path
        self._stop = stop
        self._expected = expected
        self._digest = hashlib.sha256()
        self._stored = LocalFiles().open(file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._stop.is_set():
            raise CancelledError
        size = self._stored.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:size])
        if not size and self._expected not in (None, self.sha256):
            raise changed(self._path)
        return size

    @property
    def sha256(self) -> bytes:
        return self._digest.digest()

    def close(self) -> None:
        super().close()
        self._stored.close()


def _is_remote(entry: str) -> bool:
    return entry.startswith("s3://")


def _check(source: FilePathLister | DelimitedFiles, store: Store) -> None:
    if not _is_remote(store.url):
        what, hint = f"pods can't read local files, nor a copy in {store.url}", "name an S3 store (s3://bucket/prefix), or run with --local"
        raise InvalidInput(what, where="BATCHFLOW_STORE", hint=hint)
    if any(map(_is_remote, source.s3_paths)) and (source.includes or source.excludes):
        what = "local paths and s3:// paths can't share globs: local files get other paths when they are uploaded"
        raise InvalidInput(what, where=f"{source.key}: s3_paths", hint="leave includes and excludes out, or submit two jobs")


def _tree(source: FilePathLister | DelimitedFiles, sources: Sources, threads: _Threads) -> _Tree:
    """Of a source with one entry."""
    parent = os.path.dirname(os.path.normpath(local_path(source.s3_paths[0])))

    def hashed(file: SourceFile) -> _File:
        with _Content(file, threads.stop) as content:
            while content.read(_READ_BYTES):
                pass
            return _File(file, os.path.relpath(file.path, parent), content.sha256)

    return _Tree(list(threads.map(hashed, list_files(source, sources))))


def _send(trees: dict[str, _Tree], store: Store, threads: _Threads, on_progress: Callable[[int, int, int], None]) -> None:
    """Put every file of the trees, by prefix, that is not in the store. What a key there names is its content, so it is never another."""

    def put(missing: tuple[str, _File]) -> int:
        key, file = missing
        with io.BufferedReader(_Content(file.source, threads.stop, file.sha256)) as content:
            store.put_file(key, content, file.source.size_bytes)
        return file.source.size_bytes

    files = {prefix + file.name: file for prefix, tree in trees.items() for file in tree.files}
    there = {key for prefix, tree in trees.items() if tree.files for key in store.list(prefix)}
    missing = [(key, file) for key, file in files.items() if key not in there]
    done, sent_bytes = len(files) - len(missing), 0
    on_progress(done, len(files), sent_bytes)
    for size_bytes in threads.map(put, missing):
        done, sent_bytes = done + 1, sent_bytes + size_bytes
        on_progress(done, len(files), sent_bytes)
