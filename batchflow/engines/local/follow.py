"""A run's container logs as lines, once or as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from batchflow.engines.local.folder import RunFolder
from batchflow.engines.protocol import LogLine, worker_of

__all__ = ["MAX_LINE_BYTES", "log_lines", "log_tail"]

_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 1 << 20

# No more than this is kept of a line that does not end.
MAX_LINE_BYTES: Final = 1 << 20


class _LogFile:
    """One container's log, read from where it was read to last."""

    def __init__(self, path: Path, pod: str, worker: str) -> None:
        self._path = path
        self._pod = pod
        self._worker = worker
        self._offset = 0
        self._rest = bytearray()

    def new_lines(self) -> Iterator[LogLine]:
        """The complete lines up to what the file holds now; one that is too long in pieces, before its end is there."""
        left = self._path.stat().st_size - self._offset
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while left > 0 and (data := file.read(min(left, _CHUNK_BYTES))):
                self._offset += len(data)
                left -= len(data)
                yield from self._split(data)

    def last_line(self) -> Iterator[LogLine]:
        """What follows the last line end."""
        if self._rest:
            yield self._line(self._rest.removesuffix(b"\r"))

    def _split(self, data: bytes) -> Iterator[LogLine]:
        """A line's end is a newline: what ends with a carriage return only (a progress bar) is of one line."""
        for number, piece in enumerate(data.split(b"\n")):
            if number > 0:
                yield self._line(self._rest.removesuffix(b"\r"))
                self._rest.clear()
            self._rest += piece
            while len(self._rest) > MAX_LINE_BYTES:
                end = _character_start(self._rest, MAX_LINE_BYTES)
                yield self._line(self._rest[:end])
                del self._rest[:end]

    def _line(self, data: bytearray) -> LogLine:
        return LogLine(self._pod, self._worker, self._path.stem, data.decode(errors="replace"))


def _character_start(data: bytearray, index: int) -> int:
    """Where the UTF-8 character that holds the byte at `index` begins."""
    for start in range(index, index - 4, -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return index  # not UTF-8


def log_tail(path: Path, limit_bytes: int) -> bytes:
    """See `Engine.log_tail`."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - limit_bytes)
            file.seek(max(0, start - 1))
            before = file.read(min(start, 1))
            data = file.read(limit_bytes)
    except FileNotFoundError:
        return b""
    if before in (b"", b"\n"):
        return data
    _, _, whole = data.partition(b"\n")
    return whole or data


def log_lines(
    folder: RunFolder, *, worker: str | None, container: str | None, follow: bool, finished: Callable[[], bool]
) -> Iterator[LogLine]:
    """See `Engine.logs`. `finished` says whether no container writes any more."""
    files: dict[Path, _LogFile] = {}
    while True:
        is_last = not follow or finished()  # asked before reading, so that nothing written before the end is missed
        for pod in folder.pods():
            name, short_name = pod["metadata"]["name"], worker_of(pod)
            if worker not in (None, name, short_name):
                continue
            for path in sorted(folder.logs(name).glob("*.log")):
                if container in (None, path.stem):
                    file = files.setdefault(path, _LogFile(path, name, short_name))
                    yield from file.new_lines()
        if is_last:
            break
        time.sleep(_POLL_S)
    for file in files.values():
        yield from file.last_line()
