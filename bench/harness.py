"""What every family of figures is made with: processes that are bounded in time, and interleaved rounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Span

__all__ = ["ROOT", "BenchError", "Ended", "Plan", "interleaved", "note", "python", "run", "service"]

ROOT = Path(__file__).parent.parent
SERVICE_START_S = 20


class BenchError(Exception):
    """A sample that can't be counted: a process failed, hung, or did not do all of its work."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: `rounds` interleaved rounds, with `scale` times the usual number of messages, below `folder`."""

    rounds: int
    scale: float
    folder: Path

    def count(self, messages: int) -> int:
        """A multiple of 10, so that every call of every side is a full one."""
        return max(10, int(messages * self.scale) // 10 * 10)

    @contextmanager
    def sample_folder(self) -> Iterator[Path]:
        """A fresh folder, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well: the JSON object that it printed last, when it began and when its end was seen (`time.monotonic`)."""

    report: dict[str, Any]
    began: float
    at: float

    def span(self, count: int, *, since: str = "first") -> Span:
        """The report as a Span, which begins at `since` there; raises BenchError if it is not about `count` batches."""
        span = Span(self.report["count"], self.report[since], self.report["last"])
        if span.count != count:
            raise BenchError(f"{span.count} batches instead of {count}")
        return span


def note(text: str) -> None:
    """Progress, for who waits; the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def interleaved(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """A B C A B C …: so that what the machine does meanwhile meets all sides alike."""
    values: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            began = time.monotonic()
            values[name].append(measure())
            note(f"    {number + 1}/{rounds}  {name}  {time.monotonic() - began:.1f} s")
    return values


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this folder (or any other) with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float, cwd: Path = ROOT, reports: bool = True) -> Ended:
    """Run to the end; raises BenchError if that is not exit code 0 within `timeout_s`.

    The process and its children are a group of their own, which is killed if anything goes wrong.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
        at = time.monotonic()
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)}: no end within {timeout_s:g} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise BenchError(f"{' '.join(command)}: exit code {process.returncode}: {stderr[-2000:] or stdout[-2000:]}")
    return Ended(json.loads(stdout.splitlines()[-1]) if reports else {}, began, at)


@contextmanager
def service(command: Sequence[str]) -> Iterator[int]:
    """A server process of the bench: prints its port when it listens, ends when its stdin is closed (so also if the bench is killed)."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchError(f"{' '.join(command)} did not start")
        yield int(line)
    finally:
        process.stdin.close()
        try:
            process.wait(SERVICE_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
