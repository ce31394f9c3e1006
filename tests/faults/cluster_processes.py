"""Our processes in the pods of a node that is this machine, by what the kernel says: sooner, and more, than Kubernetes tells."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Process", "Processes"]

LOOK_S: Final = 0.1
STEP: Final = [b"-m", b"batchflow", b"step"]
RUNTIME: Final = [b"-m", b"batchflow_runtime"]


@dataclass(frozen=True)
class Process:
    """One that heads a process group; `first` is its container's first process. `container`: main or handler."""

    pod: str
    container: str
    id: int
    first: int


class Processes:
    """Looks at most every LOOK_S, whoever asks: several runs share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: tuple[Process, ...] = ()
        self._next = 0.0

    def now(self) -> tuple[Process, ...]:
        with self._lock:
            if time.monotonic() >= self._next:
                self._found = tuple(_look())
                self._next = time.monotonic() + LOOK_S
            return self._found


def _look() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            container = "main" if command[1:4] == STEP else "handler" if command[1:3] == RUNTIME else ""
            if container and os.getpgid(int(entry.name)) == int(entry.name):
                yield Process(_pod(entry), container, int(entry.name), _first(entry))
        except (OSError, LookupError):  # it has gone
            continue


def _pod(entry: Path) -> str:
    """Its name, which is the host name in its containers."""
    variables = dict(line.partition(b"=")[::2] for line in (entry / "environ").read_bytes().split(b"\0"))
    return variables[b"HOSTNAME"].decode()


def _first(entry: Path) -> int:
    """The id outside of the process that has 1 inside the container: itself, or its parent (Argo's emissary)."""
    status = dict(line.partition(":")[::2] for line in (entry / "status").read_text().splitlines())
    return int(entry.name) if status["NSpid"].split()[-1] == "1" else int(status["PPid"])
