"""stdout and stderr whose lines name the batch that printed them: `[batch 12] text`.

Bytes go straight to the file descriptor, a line in one write, so nothing is lost when the process is killed. Lines of batches that
run at the same time don't mix. What C code or a child process writes is not seen here and has no prefix.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["LabelledOutput", "Labels", "install"]

# An unfinished line longer than this is written as it is.
_MAX_HELD_BYTES = 65_536


class Labels:
    """Which batch is running, as seen from the code that asks."""

    def __init__(self) -> None:
        self._current: ContextVar[bytes | None] = ContextVar("batchflow_label", default=None)
        self._running: list[bytes] = []

    def current(self) -> bytes:
        """The label of this context; of the only running batch in a thread that the user's code started; else empty."""
        label = self._current.get()
        if label is None:
            running = self._running
            return running[0] if len(running) == 1 else b""
        return label

    @contextmanager
    def during(self, label: bytes) -> Iterator[None]:
        """Whatever is printed inside is labelled; an unfinished line is finished at the end."""
        token = self._current.set(label)
        self._running.append(label)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                output = getattr(stream, "buffer", None)
                if isinstance(output, LabelledOutput):
                    output.end_lines(of_all=len(set(self._running)) == 1)
            self._running.remove(label)
            self._current.reset(token)


class LabelledOutput(io.BufferedIOBase):
    """A binary stream over a file descriptor; what each thread writes is held until its line is whole, or it flushes."""

    def __init__(self, fd: int, labels: Labels) -> None:
        super().__init__()
        self._fd = fd
        self._labels = labels
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)  # another thread may have held the lock

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, bytes] = {}
        self._open_by: int | None = None  # the thread whose unfinished line stands in the output

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # any bytes-like object, as in the base class
        data = bytes(data)
        me = threading.get_ident()
        with self._lock:
            lines, newline, rest = (self._held.pop(me, b"") + data).rpartition(b"\n")
            if newline:
                self._emit(me, lines, end=True)
            if len(rest) > _MAX_HELD_BYTES:
                self._emit(me, rest, end=False)
            elif rest:
                self._held[me] = rest
        return len(data)

    def flush(self) -> None:
        """Write this thread's unfinished line as far as it goes; the next piece goes on after it."""
        me = threading.get_ident()
        with self._lock:
            if me in self._held:
                self._emit(me, self._held.pop(me), end=False)

    def end_lines(self, *, of_all: bool) -> None:
        """Finish the line that this thread, or any, left unfinished."""
        with self._lock:
            owners = set(self._held) | ({self._open_by} if self._open_by is not None else set())
            for owner in owners if of_all else owners.intersection({threading.get_ident()}):
                self._emit(owner, self._held.pop(owner, b""), end=True)

    def write_record(self, line: str) -> None:
        """Write one whole line without a label: a log record that must stay one JSON object a line."""
        with self._lock:
            data = line.encode("utf-8", "backslashreplace") + b"\n"
            self._write_all(data if self._open_by is None else b"\n" + data)
            self._open_by = None

    def _emit(self, me: int, text: bytes, *, end: bool) -> None:
        label = self._labels.current()
        goes_on = self._open_by == me
        data = text.replace(b"\n", b"\n" + label)
        if not goes_on:
            data = (b"\n" if self._open_by is not None else b"") + label + data
        self._write_all(data + b"\n" if end else data)
        self._open_by = None if end else me

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def install() -> Labels:
    """Put labelled streams in place of sys.stdout and sys.stderr."""
    labels = Labels()
    for name in ("stdout", "stderr"):
        getattr(sys, name).flush()
        output = LabelledOutput(getattr(sys, name).fileno(), labels)
        # write_through: print() reaches `output` at once; `output` alone decides what is held.
        setattr(sys, name, io.TextIOWrapper(output, encoding="utf-8", errors="backslashreplace", write_through=True))
    return labels
