"""Cuts a container's output into lines as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["MAX_LINE_BYTES", "Lines", "tail"]

# No more than this is kept of a line that does not end.
MAX_LINE_BYTES: Final = 1 << 20


class Lines:
    """A line's end is a newline: what ends with a carriage return only (a progress bar) is of one line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._starts = True

    def feed(self, data: bytes) -> Iterator[tuple[str, bool]]:
        """The lines that `data` completes, and whether each is the start of one: a line that is too long comes in pieces."""
        for number, piece in enumerate(data.split(b"\n")):
            if number > 0:
                yield self._taken(len(self._rest.removesuffix(b"\r")))
                self._rest.clear()
                self._starts = True
            self._rest += piece
            while len(self._rest) > MAX_LINE_BYTES:
                yield self._taken(_character_start(self._rest, MAX_LINE_BYTES))
                self._starts = False

    def end(self) -> Iterator[tuple[str, bool]]:
        """What follows the last line end."""
        if self._rest:
            yield self._taken(len(self._rest.removesuffix(b"\r")))

    def _taken(self, size: int) -> tuple[str, bool]:
        text = self._rest[:size].decode(errors="replace")
        del self._rest[:size]
        return text, self._starts


def tail(data: bytes, limit_bytes: int) -> bytes:
    """The last bytes, from the first line that begins among them, if one does."""
    if len(data) <= limit_bytes:
        return data
    start = len(data) - limit_bytes
    if data[start - 1 : start] == b"\n":
        return data[start:]
    _, _, whole = data[start:].partition(b"\n")
    return whole or data[start:]


def _character_start(data: bytearray, index: int) -> int:
    """Where the UTF-8 character that holds the byte at `index` begins."""
    for start in range(index, index - 4, -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return index  # not UTF-8
