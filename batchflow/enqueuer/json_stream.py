"""Reads a file of JSON values as Cortex did: values of any type, white space or nothing between them (spec/cortex.md section 5).

So blank lines are skipped, a value may span lines, several may share one, and a top-level array is one value. Most files have one
value a line: lines are checked by orjson, many at a time, since Python takes longer for what it does between two of them than orjson for
both. Only where that fails does the standard library's scanner look for the value's end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Any, BinaryIO, Final, NoReturn

import orjson

from batchflow.enqueuer.compact import compact, compact_of
from batchflow.errors import InvalidInput

__all__ = ["MAX_TEXT_BYTES", "JsonStream"]

CHUNK_BYTES: Final = 1 << 20
WINDOW_BYTES: Final = 1 << 16  # of a chunk, split into lines at once
# A value as written, white space included. What remains of it without must fit into a batch, which is a quarter of this.
MAX_TEXT_BYTES: Final = 1 << 20

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_NUMBER_CHARS: Final = re.compile(rb"[-+.eE0-9]*")
_QUOTED_BYTES: Final = 24  # of what follows an error
_BOM: Final = b"\xef\xbb\xbf"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers stay as they are written: they may have any size and precision, and only their form is checked.
_scan: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant).raw_decode


class JsonStream:
    """Iterates over the compact texts of the values of `stream`, which stands at `offset`, in lists; memory is a few chunks.

    After each list `offset`, `item` and `line` say where the rest begins, and a stream that is given them goes on there.
    Raises InvalidInput `<path>:<line>: item <i>: <reason>` at a value that is none.

    Attributes:
        offset: bytes before the rest.
        item: values before the rest.
        line: lines before the rest.
        item_line: the line, counted from 1, where the latest value begins.
        wanted: the next list has at most so many values. If it has several, each is a line of its own, without others between.
    """

    def __init__(
        self, stream: BinaryIO, path: str, *, offset: int = 0, item: int = 0, line: int = 0, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.path = path
        self.offset = offset
        self.item = item
        self.line = line
        self.item_line = line + 1
        self.wanted = 1
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self._buffer = b""
        self._start = offset  # of the buffer, in the file
        self._ended = False
        self._latin1: str | None = None  # the buffer for `_scan`: a character a byte, so that places agree

    def __iter__(self) -> Iterator[list[bytes]]:
        while True:
            yield from self._lines()
            starved = yield from self._values()
            if starved and not self._read():
                return

    def _read(self) -> bool:
        """Drop what was used and read on; False if nothing is left."""
        rest = self._buffer[self.offset - self._start :]
        if self._ended:
            return False
        chunk = self._stream.read(self._chunk_bytes)
        self._ended = not chunk
        self._buffer, self._start, self._latin1 = rest + chunk, self.offset, None
        return bool(self._buffer)

    def _lines(self) -> Iterator[list[bytes]]:
        """The fast way: up to the first line that is not one value, or not whole."""
        while (window := self._window()) is not None:
            lines, at = window.split(b"\n"), 0
            is_compact = not (b" " in window or b"\r" in window or b"\t" in window)
            while at < len(lines):
                some = lines[at : at + self.wanted]
                at += len(some)
                try:
                    values = list(map(orjson.loads, some))
                except ValueError:
                    if not (yield from self._line_by_line(some)):
                        return
                else:
                    self._pass(some, len(some))
                    yield some if is_compact else list(map(_compacted, some, values))

    def _window(self) -> bytes | None:
        """The next whole lines of the buffer, without the last one's end; None if there are none."""
        at = self.offset - self._start
        end = self._buffer.rfind(b"\n", at, at + WINDOW_BYTES)
        if end < 0:
            end = self._buffer.find(b"\n", at)
        return None if end < 0 else self._buffer[at:end]

    def _line_by_line(self, lines: Sequence[bytes]) -> Generator[list[bytes], None, bool]:
        """The same where there are blank ones among them; False at the first that is neither blank nor a value."""
        for line in lines:
            if not line:
                self._pass((line,), 0)
                continue
            try:
                value = orjson.loads(line)
            except ValueError:
                return False
            self._pass((line,), 1)
            yield [_compacted(line, value)]
        return True

    def _pass(self, lines: Sequence[bytes], values: int) -> None:
        self.offset += sum(map(len, lines)) + len(lines)
        self.line += len(lines)
        if values:
            self.item += values
            self.item_line = self.line

    def _values(self) -> Generator[list[bytes], None, bool]:
        """The slow way: value by value, until a line ends behind one. True if the buffer must grow first."""
        while True:
            at = self.offset - self._start
            if self._skip_space(at):
                return False
            at = self.offset - self._start
            if at == len(self._buffer):
                return True
            end = self._value_end(at)
            if end is None:
                return True
            text = self._buffer[at:end]
            self._check_utf8(text)
            self.item_line = self.line + 1
            self.offset += end - at
            self.item += 1
            self.line += text.count(b"\n")
            yield [compact(text)]

    def _skip_space(self, at: int) -> int:
        """Go past white space; how many lines ended in it."""
        space = _SPACE.match(self._buffer, at)
        end = space.end() if space else at
        lines = self._buffer.count(b"\n", at, end)
        self.offset += end - at
        self.line += lines
        return lines

    def _value_end(self, at: int) -> int | None:
        """Where the value that begins at `at` ends; None if that can't be told without reading on."""
        may_grow = not self._ended and len(self._buffer) - at <= MAX_TEXT_BYTES
        if self._latin1 is None:
            self._latin1 = self._buffer.decode("latin-1")
        try:
            value: Any
            value, end = _scan(self._latin1, at)
        except json.JSONDecodeError as error:
            if may_grow:
                return None
            raise self._malformed(at, error) from None
        except RecursionError:
            raise self._error("is nested too deeply") from None
        except ValueError as error:
            raise self._error(str(error)) from None
        if isinstance(value, str) and self._buffer[at : at + 1] != b'"':
            number = _NUMBER_CHARS.match(self._buffer, at)
            if may_grow and number and number.end() == len(self._buffer):
                return None
        return end

    def _malformed(self, at: int, error: json.JSONDecodeError) -> InvalidInput:
        buffer = self._buffer
        if buffer.startswith(_BOM, at):
            return self._error("begins with a byte order mark", hint="save the file as UTF-8 without one")
        if buffer[at : at + 1] == b",":
            return self._error("a comma where a value should be", hint="put one value a line, without commas between them")
        line = self.line + 1 + buffer.count(b"\n", at, error.pos)
        following = buffer[error.pos : error.pos + _QUOTED_BYTES].split(b"\n")[0].decode("utf-8", "replace").strip()
        place = f"line {line}, before {following}" if following else f"line {line}"
        if not self._ended:
            what = f"no end within {MAX_TEXT_BYTES} bytes, or malformed JSON"
        else:
            what = "the file ends within the value" if error.pos >= len(buffer.rstrip()) else "malformed JSON"
        return self._error(f"{what}: {error.msg} at {place}")

    def _check_utf8(self, text: bytes) -> None:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise self._error(f"is not UTF-8: {error.reason} at byte {self.offset + error.start} of the file") from None

    def _error(self, what: str, *, hint: str = "") -> InvalidInput:
        return InvalidInput(f"item {self.item}: {what}", where=f"{self.path}:{self.line + 1}", hint=hint)


def _compacted(text: bytes, value: Any) -> bytes:
    return compact_of(text, value) if b" " in text else compact(text)
