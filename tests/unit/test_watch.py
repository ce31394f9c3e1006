"""Watching a job ends with the job, whatever its logs do: a thread that writes while the interpreter ends makes Python abort."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from batchflow.cli import watch
from batchflow.client import Job
from batchflow.engines.protocol import LogLine

LIMIT_S = 30


class Chatty:
    """A job whose logs go on when it has ended, until `over`; `given` counts their lines."""

    def __init__(self) -> None:
        self.given = 0
        self.over = threading.Event()

    def wait(self, on_status: Callable[[Any], None]) -> str:
        self.until(3)
        return "ended"

    def logs(self, **_: Any) -> Iterator[LogLine]:
        while not self.over.is_set():
            self.given += 1
            yield LogLine("pod", "0", "handler", f"line {self.given}")

    def until(self, given: int) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.given < given:
            assert time.monotonic() < deadline
            time.sleep(0.01)


class Slow(io.StringIO):
    writing = False

    def write(self, text: str) -> int:
        self.writing = True
        time.sleep(0.05)
        written = super().write(text)
        self.writing = False
        return written


def test_nothing_is_written_any_more_once_watching_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOGS_AFTER_END_S", 0.1)
    monkeypatch.setattr(watch, "STOP_S", 0.1)
    stderr, job = Slow(), Chatty()
    monkeypatch.setattr(sys, "stderr", stderr)
    try:
        assert cast(str, watch.watch(cast(Job, job), stop_on_interrupt=False, flag="", to_stderr=True)) == "ended"
        assert not stderr.writing
        written = stderr.getvalue()
        job.until(job.given + 3)
    finally:
        job.over.set()
    assert "0/handler | line 1\n" in written
    assert stderr.getvalue() == written
