"""Reading a user's file: errors of a library become ours, and content is decompressed by the file's suffix."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

from batchflow.errors import BatchflowError, InvalidInput

__all__ = ["COMPRESSED", "GuardedStream", "changed", "decompressed"]

COMPRESSED: Final = (".bz2", ".gz", ".zst")
BUFFER_BYTES: Final = 1 << 20


class GuardedStream(io.RawIOBase):
    """A stream of which every call runs inside `guard()`, where a library's errors become ours; closing it closes `owned`."""

    def __init__(self, inner: Any, guard: Callable[[], AbstractContextManager[None]], *owned: io.IOBase) -> None:
        super().__init__()
        self._inner = inner
        self._guard = guard
        self._owned = (inner, *owned)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._guard():
            return int(self._inner.readinto(buffer))

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with self._guard():
            return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            for stream in self._owned:
                stream.close()


def decompressed(raw: io.RawIOBase, path: str) -> BinaryIO:
    """The content of `raw`, a stream that raises our errors only; closing the one that is returned closes it."""
    stored = io.BufferedReader(raw, BUFFER_BYTES)
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in COMPRESSED:
        return stored
    from smart_open.compression import compression_wrapper  # 0.35 s to import

    # Decompressors leave the stored file open.
    content = GuardedStream(compression_wrapper(stored, "rb", suffix), lambda: _malformed(suffix, path), stored)
    return io.BufferedReader(content, BUFFER_BYTES)


def changed(path: str) -> InvalidInput:
    """The error of a file that is not the one any more that was listed."""
    return InvalidInput("changed while the job was reading it", where=path, hint="submit the job again")


@contextmanager
def _malformed(suffix: str, path: str) -> Iterator[None]:
    try:
        yield
    except BatchflowError:
        raise
    except Exception as error:  # each decompressor has errors of its own, and they share no base
        raise InvalidInput(
            f"not a whole {suffix} file: {error}", where=path, hint="write it again, or name it without the suffix"
        ) from error
