"""Cuts a source into batches: pure but for reading the files. The same source and listing always give the same batches.

Items carry over between files, and the last batch alone may be short. A batch knows the place behind its last item, so that
cutting can go on there; nothing else has to be remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson

from batchflow.enqueuer.json_stream import JsonStream
from batchflow.errors import InvalidInput, Unreachable
from batchflow.retry import Backoff
from batchflow.spec.model import MAX_BATCH_BYTES, FilePathLister, ItemList, Source
from batchflow.store.protocol import SourceFile, Sources

__all__ = ["Batch", "Position", "cut", "recut"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two items: `file` counts the listing's files (or item_list's items); the rest is as in JsonStream."""

    file: int = 0
    offset: int = 0
    item: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`body` is a compact JSON array of `items` items; `end` is the place behind the last of them."""

    index: int
    body: str
    items: int
    end: Position


class _Items(Protocol):
    """A stream of items as compact JSON texts that knows where it is."""

    def __iter__(self) -> Iterator[bytes]: ...

    @property
    def position(self) -> Position:
        """Behind the latest item."""
        ...

    @property
    def where(self) -> str:
        """Names the latest item in an error."""
        ...


def cut(
    source: Source,
    files: Iterable[SourceFile],
    sources: Sources,
    *,
    start: Position = Position(),
    index: int = 0,
    backoff: Backoff | None = None,
) -> Iterator[Batch]:
    """The batches from `start` on, the first of which has number `index`; memory is a batch and a few chunks of a file.

    Raises InvalidInput at an item that is no JSON, at an item or batch of 262,144 bytes or more, and at a file that has changed or
    is not whole; Unreachable once `backoff` (by default at once) gives up.
    """
    items: _Items
    if isinstance(source, ItemList):
        items = _ListItems(source.items, start)
    elif isinstance(source, FilePathLister):
        items = _PathItems(files, start)
    else:
        items = _FileItems(files, sources, start, backoff or Backoff(0, threading.Event()))
    return _cut(items, source.batch_size, index)


def recut(source: Source, files: Iterable[SourceFile] | None, sources: Sources, indexes: Collection[int]) -> dict[int, str]:
    """The bodies of those batches, by index; reads no further than the last of them. Errors as `cut`."""
    if not indexes:
        return {}
    batches = islice(cut(source, files or (), sources), max(indexes) + 1)
    return {batch.index: batch.body for batch in batches if batch.index in indexes}


def _cut(items: _Items, batch_size: int, index: int) -> Iterator[Batch]:
    texts: list[bytes] = []
    size_bytes = 1
    for text in items:
        if not text.isascii():
            text = _sendable(text)
        size_bytes += len(text) + 1
        if size_bytes >= MAX_BATCH_BYTES:
            raise _too_large(items.where, index, len(text), size_bytes, len(texts) + 1)
        texts.append(text)
        if len(texts) == batch_size:
            yield _batch(index, texts, items.position)
            texts, size_bytes, index = [], 1, index + 1
    if texts:
        yield _batch(index, texts, items.position)


def _batch(index: int, texts: list[bytes], end: Position) -> Batch:
    return Batch(index, f"[{b','.join(texts).decode()}]", len(texts), end)


def _sendable(text: bytes) -> bytes:
    """The same JSON with the two characters escaped that are valid in it and that SQS refuses (SendMessage: #x9 to #xFFFD)."""
    return text.replace("\ufffe".encode(), b"\\ufffe").replace("\uffff".encode(), b"\\uffff")


def _too_large(where: str, index: int, item_bytes: int, batch_bytes: int, items: int) -> InvalidInput:
    limit = MAX_BATCH_BYTES - 1
    if items == 1:
        what = f"the item has size {item_bytes} bytes which exceeds the limit ({limit - 2} bytes)"
        return InvalidInput(what, where=where, hint="store it as a file and send its path", kind="batchapi.item_size_exceeds_limit")
    what = f"batch {index} has {batch_bytes} bytes with this item, its item number {items}, which exceeds the limit ({limit} bytes)"
    return InvalidInput(what, where=where, hint="use a smaller batch_size")


class _ListItems:
    def __init__(self, items: list[Any], start: Position) -> None:
        self._items = items
        self._next = start.file

    def __iter__(self) -> Iterator[bytes]:
        for item in islice(self._items, self._next, None):
            self._next += 1
            yield orjson.dumps(item)

    @property
    def position(self) -> Position:
        return Position(self._next)

    @property
    def where(self) -> str:
        return f"{ItemList.key}: item {self._next - 1}"


class _PathItems:
    """Each file's path is an item."""

    def __init__(self, files: Iterable[SourceFile], start: Position) -> None:
        self._files = islice(files, start.file, None)
        self._next = start.file
        self._path = ""

    def __iter__(self) -> Iterator[bytes]:
        for file in self._files:
            self._next += 1
            self._path = file.path
            yield orjson.dumps(file.path)

    @property
    def position(self) -> Position:
        return Position(self._next)

    @property
    def where(self) -> str:
        return f"{FilePathLister.key}: {self._path}"


class _FileItems:
    """The JSON values in the files. A file that can't be reached for a while is opened again where it was left."""

    def __init__(self, files: Iterable[SourceFile], sources: Sources, start: Position, backoff: Backoff) -> None:
        self._files = enumerate(islice(files, start.file, None), start.file)
        self._sources = sources
        self._start = start
        self._backoff = backoff
        self._file = -1  # whose stream `_stream` is
        self._stream: JsonStream

    def __iter__(self) -> Iterator[bytes]:
        for number, file in self._files:
            at = self._start if number == self._start.file else Position(number)
            while True:
                try:
                    with self._sources.open(file) as content:
                        if at.offset:
                            content.seek(at.offset)
                        self._stream = JsonStream(content, file.path, offset=at.offset, item=at.item, line=at.line)
                        self._file = number
                        yield from self._stream
                    break
                except Unreachable as error:
                    if self._file == number and self.position != at:
                        self._backoff.succeeded()
                        at = self.position
                    self._backoff.wait(error)

    @property
    def position(self) -> Position:
        stream = self._stream
        return Position(self._file, stream.offset, stream.item, stream.line)

    @property
    def where(self) -> str:
        return f"{self._stream.path}:{self._stream.item_line}: item {self._stream.item - 1}"
