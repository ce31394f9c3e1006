"""What every store does. tests/contract holds one suite that each implementation passes.

Keys are relative, `/`-separated, without empty, `.` or `..` parts. Any call may raise `errors.Unreachable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from batchflow.errors import InvalidInput

__all__ = ["SourceFile", "Sources", "Store", "check_folder", "check_key"]


def check_key(key: str) -> str:
    """The key, if it is one; else raises InvalidInput. Every store checks the keys that it is given."""
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidInput(f"{key!r} is not a key of the store")
    return key


def check_folder(prefix: str) -> str:
    """The prefix, if it is empty or ends where a folder's name ends; else raises InvalidInput."""
    if prefix and not prefix.endswith("/"):
        raise InvalidInput(f"{prefix!r} is not a folder of the store")
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


class Store(Protocol):
    """Records by key; any number of threads and processes may use it at once."""

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`, or an absolute directory."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write whole, replacing what was there: a reader sees the old bytes or the new ones, never a part."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write only if there is no such key, atomically; False (and nothing written) if there is."""
        ...

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        """As `put`, of what `file` holds from where it is on: streamed, of any size, a few MiB of it in memory at a time.

        `file`: a stream of which `read(n)` gives `n` bytes unless it ends there. What it raises while it is read is raised here, and
        then nothing is written; so a stream that checks its content at its end has it stored only if it is good. `size_bytes`: about
        how much it holds.
        """
        ...

    def get(self, key: str) -> bytes | None:
        """The bytes, or None if there is no such key."""
        ...

    def open(self, key: str) -> BinaryIO | None:
        """A stream of the bytes, or None if there is no such key: for what may be too large for memory. It raises as `get` does."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that start with `prefix` (any string, not a folder), in the order of their UTF-8 bytes; a stream."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names between `prefix` (empty, or ending in `/`) and the next `/` of the keys that have one, each once, in their keys' order.

        A stream; it costs as much as there are names, whatever the number of keys below them. A name may have no key left.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete those keys; no error for one that is gone."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A user's file as listed. `etag` changes whenever its content does."""

    path: str  # the full string as users write it: `s3://bucket/key`, or an absolute local path
    etag: str
    size_bytes: int


class Sources(Protocol):
    """Users' input files, by full path."""

    def list(self, prefix: str) -> Iterator[SourceFile]:
        """Files whose path starts with `prefix` (raw, not a folder), in byte order; "folders" (keys ending in `/`) are left out.

        Raises `errors.InvalidInput` for a path or scheme that can't be read here, or a bucket that is not there.
        """
        ...

    def open(self, file: SourceFile) -> BinaryIO:
        """A seekable stream of the file's content, decompressed by its suffix (`.gz`, `.bz2`, `.zst`).

        Raises `errors.InvalidInput` if the file is no longer the one that was listed, then or while it is read.
        """
        ...
