"""Bodies lie on the disk while they are carried: they may be too large for memory, and may be needed twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from batchflow.errors import Unreachable

__all__ = ["on_disk"]


@contextmanager
def on_disk() -> Iterator[None]:
    """What the disk refuses becomes Unreachable, so that it isn't taken for a broken connection."""
    try:
        yield
    except OSError as error:
        raise Unreachable(f"a body can't be kept on the courier's disk: {error.strerror}") from error
