"""Follows a job to its end: a progress bar on a terminal, plain lines otherwise; the handlers' own output above it."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from batchflow.cli.show import log_line
from batchflow.client import Job
from batchflow.contract import ARGO_CONTAINERS, CONTAINER_MAIN, STEP_PREPARE
from batchflow.errors import BatchflowError
from batchflow.status.model import DISPLAY, ENQUEUING, JobStatus

__all__ = ["Rate", "Upload", "describe", "watch"]

PLAIN_EVERY_S: Final = 2.0
RATE_OVER_S: Final = 10.0
LOGS_AFTER_END_S: Final = 5.0
STOP_S: Final = 1.0


def watch(job: Job, *, stop_on_interrupt: bool, flag: str, to_stderr: bool = False) -> JobStatus:
    """Block until the job ended; returns its final status.

    Ctrl-C: a job on this machine is stopped in an orderly way (a second Ctrl-C leaves at once), one on a cluster goes on without us;
    KeyboardInterrupt is raised either way. `flag` (" --local", or nothing) completes the commands that are suggested.
    """
    console = Console(stderr=to_stderr)
    view: _Plain | _Bar = _Bar(console) if console.is_terminal else _Plain(to_stderr)
    with view, _Logs(job, view.line) as logs:
        try:
            status = job.wait(view.update)
        except KeyboardInterrupt:
            if not stop_on_interrupt:
                view.line(f"job {job.id} goes on; stop it with: batchflow stop {job.api} {job.id}{flag}")
                raise
            view.line("stopping; workers finish the batch in hand")
            _stop(job)
            if job.wait(view.update).resumable:
                view.line(f"stopped; go on with: batchflow resume {job.api} {job.id}{flag}")
            raise
        logs.wait(LOGS_AFTER_END_S)
    return status


class Rate:
    """Batches per second over the last 10 s."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, done: int, now: float) -> float | None:
        """The rate, None while too little was seen."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > RATE_OVER_S and len(self._seen) > 2:
            self._seen.popleft()
        (then, before), elapsed = self._seen[0], now - self._seen[0][0]
        return (done - before) / elapsed if elapsed > 0 and done > before and then < now else None


class Upload:
    """Says on stderr how far an upload is, at most once in 2 s, and when it is done; nothing if the store has every file."""

    def __init__(self) -> None:
        self._next = 0.0
        self._told = False

    def __call__(self, files: int, all_files: int, sent_bytes: int) -> None:
        now = time.monotonic()
        done = files == all_files
        if self._told if done else now >= self._next:
            click.echo(f"uploading: {files}/{all_files} files, {sent_bytes / 1e6:.1f} MB sent", err=True)
            self._next, self._told = now + PLAIN_EVERY_S, True


def describe(status: JobStatus, rate: float | None) -> str:
    """`running: 120/1000 batches, 34.2/s, 1 failed, 2 of 2 workers, 26 s left` and what is waited for."""
    left = status.total_batch_count - status.batches_done
    parts = []
    if status.status == ENQUEUING:
        parts.append(f"{status.total_batch_count} batches cut")
    elif status.total_batch_count:
        parts += [f"{status.batches_done}/{status.total_batch_count} batches", f"{status.batches_failed} failed"]
        if rate:
            parts.insert(1, f"{rate:.3g}/s")
    if status.worker_counts and left > 0:
        parts.append(f"{status.worker_counts.running} of {status.workers} workers")
        if rate:
            parts.append(f"{left / rate:.0f} s left")
    text = f"{DISPLAY[status.status]}: {', '.join(parts)}" if parts else DISPLAY[status.status]
    return f"{text}; {status.message}" if status.message else text


class _Plain:
    """Lines for pipes and CI: at most one each 2 s, and only when something changed."""

    def __init__(self, to_stderr: bool) -> None:
        self._to_stderr = to_stderr
        self._rate = Rate()
        self._last = ("", "")
        self._next = 0.0

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *exc: object) -> None:
        sys.stdout.flush()

    def line(self, text: str) -> None:
        click.echo(text, err=self._to_stderr)

    def update(self, status: JobStatus) -> None:
        now = time.monotonic()
        rate = self._rate.add(status.batches_done, now)
        seen = (status.status, describe(status, None))
        changed_phase = seen[0] != self._last[0]
        if changed_phase or (seen != self._last and now >= self._next):
            self.line(describe(status, rate))
            self._last, self._next = seen, now + PLAIN_EVERY_S


class _Bar:
    """A bar that stays at the bottom of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = Rate()
        self._progress = Progress(SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False), console=console)
        self._task: TaskID = self._progress.add_task("submitted", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, status: JobStatus) -> None:
        rate = self._rate.add(status.batches_done, time.monotonic())
        total = status.total_batch_count if status.status != ENQUEUING else None
        self._progress.update(self._task, total=total or None, completed=status.batches_done, description=describe(status, rate))


class _Logs:
    """Passes on the output of users' containers (our own steps' is for `batchflow logs`), in a thread of its own.

    After the context nothing is written any more. A thread that is writing when the interpreter ends holds the stream's lock for ever,
    and Python aborts ("could not acquire lock at interpreter shutdown", exit code 134).
    """

    def __init__(self, job: Job, line: Callable[[str], None]) -> None:
        self._job = job
        self._line = line
        self._stop = threading.Event()
        self._writing = threading.Lock()
        # As a daemon: it may be waiting for a cluster that does not answer.
        self._thread = threading.Thread(target=self._follow, name="logs", daemon=True)

    def __enter__(self) -> _Logs:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        with self._writing:
            pass
        self._thread.join(STOP_S)

    def wait(self, timeout_s: float) -> None:
        """Return when everything was passed on, or after that time."""
        self._thread.join(timeout_s)

    def _follow(self) -> None:
        try:
            without = (*ARGO_CONTAINERS, CONTAINER_MAIN, STEP_PREPARE)
            for found in self._job.logs(follow=True, without=without, stop=self._stop):
                self._write(log_line(found))
        except BatchflowError as error:  # the job itself goes on
            self._write(f"logs: {error}")

    def _write(self, text: str) -> None:
        with self._writing:
            if not self._stop.is_set():
                self._line(text)


def _stop(job: Job) -> None:
    try:
        job.stop()
    except BatchflowError:  # it ended in the meantime
        return
