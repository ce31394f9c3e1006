"""The listing of a job's files, in parts, so that one of a million files is never in memory as a whole.

inputs/<listing>/<n>.jsonl are the parts; inputs.json names the listing that counts, and how many parts it has. An enqueuer that was cut off
leaves parts that nobody reads; of two that list at the same time, the listing counts that is complete first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final

import orjson

from batchflow.errors import NotFound
from batchflow.store.protocol import SourceFile, Store

__all__ = ["Tried", "create_listing", "once", "read_listing"]

PART_FILES: Final = 10_000  # some 1.6 MB

Tried = Callable[[Callable[[], bytes | None]], bytes | None]


def once(call: Callable[[], bytes | None]) -> bytes | None:
    """What `call` returns, or raises."""
    return call()


def create_listing(store: Store, prefix: str, files: Iterable[SourceFile]) -> None:
    """Fix the listing of the job at `prefix`; the first one that was fixed stays. Memory: a part."""
    listing, parts = uuid.uuid4().hex, 0
    rest = iter(files)
    while part := list(islice(rest, PART_FILES)):
        store.put(_part(prefix, listing, parts), b"\n".join(orjson.dumps(file) for file in part))
        parts += 1
    store.create(f"{prefix}inputs.json", orjson.dumps({"listing": listing, "parts": parts}))


def read_listing(store: Store, prefix: str, tried: Tried = once) -> Iterator[SourceFile] | None:
    """A stream of the listed files, to be read once; None until the listing is fixed. Memory: a part.

    `tried` calls what it is given, again if need be: a part is read when the stream comes to it. Raises NotFound then if it is gone.
    """
    data = tried(partial(store.get, f"{prefix}inputs.json"))
    return None if data is None else _files(store, prefix, tried, **orjson.loads(data))


def _files(store: Store, prefix: str, tried: Tried, *, listing: str, parts: int) -> Iterator[SourceFile]:
    for number in range(parts):
        key = _part(prefix, listing, number)
        data = tried(partial(store.get, key))
        if data is None:
            raise NotFound("a part of the listing of the job's files is gone", where=f"{store.url}/{key}", hint="submit the job again")
        for line in data.splitlines():
            yield SourceFile(**orjson.loads(line))


def _part(prefix: str, listing: str, number: int) -> str:
    return f"{prefix}inputs/{listing}/{number:06d}.jsonl"
