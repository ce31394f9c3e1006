"""The items of every job that is measured: JSON objects of one length, a line each."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ITEM_BYTES", "item_lines", "write_items"]

ITEM_BYTES = 198  # a batch of one item is a body of 200 bytes


def item_lines(count: int, item_bytes: int = ITEM_BYTES) -> Iterator[bytes]:
    """Without line ends; `item_bytes` is at least 30."""
    for index in range(count):
        head = f'{{"index":{index},"text":"'
        yield f'{head}{"x" * (item_bytes - len(head) - 2)}"}}'.encode()


def write_items(path: Path, count: int) -> None:
    """That many lines into a file; its suffix says whether compressed."""
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.writelines(line + b"\n" for line in item_lines(count))
