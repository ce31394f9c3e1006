"""A run's container logs as lines, once or as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from threading import Event
from typing import Final

from batchflow.engines.lines import Lines, tail
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.protocol import LogLine, worker_of

__all__ = ["log_lines", "log_tail"]

_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 1 << 20


class _LogFile:
    """One container's log, read from where it was read to last."""

    def __init__(self, path: Path, pod: str, worker: str) -> None:
        self._path = path
        self._pod = pod
        self._worker = worker
        self._offset = 0
        self._lines = Lines()

    def new_lines(self) -> Iterator[LogLine]:
        """The complete lines up to what the file holds now; one that is too long in pieces, before its end is there."""
        left = self._path.stat().st_size - self._offset
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while left > 0 and (data := file.read(min(left, _CHUNK_BYTES))):
                self._offset += len(data)
                left -= len(data)
                yield from (self._line(text) for text, _ in self._lines.feed(data))

    def last_line(self) -> Iterator[LogLine]:
        """What follows the last line end."""
        return (self._line(text) for text, _ in self._lines.end())

    def _line(self, text: str) -> LogLine:
        return LogLine(self._pod, self._worker, self._path.stem, text)


def log_tail(path: Path, limit_bytes: int) -> bytes:
    """See `Engine.log_tail`."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes - 1))  # with the byte before, which may end a line
            return tail(file.read(), limit_bytes)
    except FileNotFoundError:
        return b""


def log_lines(
    folder: RunFolder,
    *,
    worker: str | None,
    container: str | None,
    without: Collection[str] = (),
    follow: bool,
    finished: Callable[[], bool],
    stop: Event | None = None,
) -> Iterator[LogLine]:
    """See `Engine.logs`. `finished` says whether no container writes any more."""
    stop = stop or Event()
    files: dict[Path, _LogFile] = {}
    while True:
        is_last = not follow or finished()  # asked before reading, so that nothing written before the end is missed
        for pod in folder.pods():
            name, short_name = pod["metadata"]["name"], worker_of(pod)
            if worker not in (None, name, short_name):
                continue
            for path in sorted(folder.logs(name).glob("*.log")):
                if path.stem == container if container else path.stem not in without:
                    file = files.setdefault(path, _LogFile(path, name, short_name))
                    yield from file.new_lines()
        if is_last:
            break
        if stop.wait(_POLL_S):
            return
    for file in files.values():
        yield from file.last_line()
