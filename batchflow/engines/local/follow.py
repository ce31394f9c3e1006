"""A run's container logs as lines, once or as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from batchflow.engines.local.folder import RunFolder
from batchflow.engines.protocol import LogLine, worker_of

__all__ = ["log_lines"]

_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 1 << 20


class _LogFile:
    """One container's log, read from where it was read to last."""

    def __init__(self, path: Path, pod: str, worker: str) -> None:
        self._path = path
        self._pod = pod
        self._worker = worker
        self._offset = 0
        self._rest = b""

    def new_lines(self) -> Iterator[LogLine]:
        """The complete lines up to what the file holds now."""
        left = self._path.stat().st_size - self._offset
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while left > 0 and (data := file.read(min(left, _CHUNK_BYTES))):
                self._offset += len(data)
                left -= len(data)
                *lines, self._rest = (self._rest + data).split(b"\n")
                yield from map(self._line, lines)

    def last_line(self) -> Iterator[LogLine]:
        """What follows the last line end."""
        if self._rest:
            yield self._line(self._rest)

    def _line(self, data: bytes) -> LogLine:
        return LogLine(self._pod, self._worker, self._path.stem, data.decode(errors="replace").removesuffix("\r"))


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
