"""Cuts a source into batches: pure but for reading the files. The same source and listing always give the same batches.

Items carry over between files, and the last batch alone may be short. A batch knows the place behind its last item, so that
cutting can go on there; nothing else has to be remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, Final, Protocol

import orjson

from batchflow.enqueuer.json_stream import JsonStream
from batchflow.errors import InvalidInput, Unreachable
from batchflow.retry import Backoff
from batchflow.spec.model import MAX_BATCH_BYTES, FilePathLister, ItemList, Source
from batchflow.store.protocol import SourceFile, Sources

__all__ = ["Batch", "Position", "cut", "recut"]

TAKEN: Final = 1000  # at a time: of a batch that is too large not much more is read than fits


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

    def take(self, most: int) -> list[bytes]:
        """The next items, at most `most`; empty at the end."""
        ...

    @property
    def position(self) -> Position:
        """Behind the latest item."""
        ...

    def where(self, back: int) -> str:
        """Names an item in an error: the latest, or the one `back` before it among those taken with it."""
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
    while taken := items.take(min(batch_size - len(texts), TAKEN)):
        if not all(map(bytes.isascii, taken)):
            taken = list(map(_sendable, taken))
        before, size_bytes = size_bytes, size_bytes + sum(map(len, taken)) + len(taken)
        if size_bytes >= MAX_BATCH_BYTES:
            raise _too_large(items, taken, before, index, len(texts))
        texts += taken
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


def _too_large(items: _Items, taken: list[bytes], size_bytes: int, index: int, there: int) -> InvalidInput:
    """The error about the first of `taken` that does not fit behind the batch's `there` items, of `size_bytes`."""
    limit = MAX_BATCH_BYTES - 1
    sizes = list(accumulate((len(text) + 1 for text in taken), initial=size_bytes))[1:]
    number = next(number for number, size in enumerate(sizes, 1) if size > limit)
    text, size_bytes, where = taken[number - 1], sizes[number - 1], items.where(len(taken) - number)
    if there + number == 1:
        what = f"the item has size {len(text)} bytes which exceeds the limit ({limit - 2} bytes)"
        return InvalidInput(what, where=where, hint="store it as a file and send its path", kind="batchapi.item_size_exceeds_limit")
    what = f"batch {index} has {size_bytes} bytes with this item, its item number {there + number}, which exceeds the limit ({limit} bytes)"
    return InvalidInput(what, where=where, hint="use a smaller batch_size")


class _ListItems:
    def __init__(self, items: list[Any], start: Position) -> None:
        self._items = items
        self._next = start.file

    def take(self, most: int) -> list[bytes]:
        texts = [orjson.dumps(item) for item in self._items[self._next : self._next + most]]
        self._next += len(texts)
        return texts

    @property
    def position(self) -> Position:
        return Position(self._next)

    def where(self, back: int) -> str:
        return f"{ItemList.key}: item {self._next - 1 - back}"


class _PathItems:
    """Each file's path is an item."""

    def __init__(self, files: Iterable[SourceFile], start: Position) -> None:
        self._files = islice(files, start.file, None)
        self._next = start.file
        self._paths: list[str] = []

    def take(self, most: int) -> list[bytes]:
        self._paths = [file.path for file in islice(self._files, most)]
        self._next += len(self._paths)
        return list(map(orjson.dumps, self._paths))

    @property
    def position(self) -> Position:
        return Position(self._next)

    def where(self, back: int) -> str:
        return f"{FilePathLister.key}: {self._paths[-1 - back]}"


class _FileItems:
    """The JSON values in the files. A file that can't be reached for a while is opened again where it was left."""

    def __init__(self, files: Iterable[SourceFile], sources: Sources, start: Position, backoff: Backoff) -> None:
        self._files = enumerate(islice(files, start.file, None), start.file)
        self._sources = sources
        self._start = start
        self._backoff = backoff
        self._file = -1  # whose stream `_stream` is
        self._stream: JsonStream
        self._wanted = 1
        self._read = self._lists()

    def take(self, most: int) -> list[bytes]:
        self._wanted = most
        if self._file >= 0:
            self._stream.wanted = most
        return next(self._read, [])

    def _lists(self) -> Iterator[list[bytes]]:
        for number, file in self._files:
            at = self._start if number == self._start.file else Position(number)
            while True:
                try:
                    with self._sources.open(file) as content:
                        if at.offset:
                            content.seek(at.offset)
                        self._stream = JsonStream(content, file.path, offset=at.offset, item=at.item, line=at.line)
                        self._stream.wanted = self._wanted
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

    def where(self, back: int) -> str:
        return f"{self._stream.path}:{self._stream.item_line - back}: item {self._stream.item - 1 - back}"
