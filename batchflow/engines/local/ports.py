"""Ports for each pod, which no other pod of this user gets while they are held, whichever job it belongs to.

A port's lock is a file in <temporary folder>/batchflow-<uid>/ports. A handler listens seconds after its port was chosen, so to look
whether somebody listens is not enough. Other users' pods are not seen before they listen; the runtime refuses another job's batches.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from batchflow.errors import Unreachable

__all__ = ["held_port", "held_ports"]

# Below the ports that Linux (32768) and macOS (49152) give to outgoing connections, so that none of those takes one first.
_PORTS: Final = range(20_000, 32_768)
_TRIES: Final = 1000


@contextmanager
def held_port() -> Iterator[int]:
    """A port that is nobody else's within the block, or until this process dies. Raises Unreachable if there is none."""
    port, lock = _hold()
    try:
        yield port
    finally:
        os.close(lock)


@contextmanager
def held_ports(variables: Iterable[str]) -> Iterator[dict[str, int]]:
    """One for each of those variables; otherwise as `held_port`."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(held_port()) for name in variables}


def _hold() -> tuple[int, int]:
    """A port, and the open file that holds it."""
    folder = Path(tempfile.gettempdir(), f"batchflow-{os.getuid()}", "ports")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            port = random.choice(_PORTS)
            lock = _try_lock(folder / str(port))
            if lock is None:
                continue
            if _is_free(port):
                return port, lock
            os.close(lock)
    except OSError as error:
        raise Unreachable(f"can't be used: {error.strerror}", where=str(folder), hint="set TMPDIR to a folder of yours") from error
    raise Unreachable(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _try_lock(path: Path) -> int | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
