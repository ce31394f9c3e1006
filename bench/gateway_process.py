"""`batchflow serve` on the local engine, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness import BenchError, run
from bench.start import batchflow

__all__ = ["API", "Gateway", "serving"]

API = "loaded"
LISTENS = re.compile(r"batchflow serves http://127\.0\.0\.1:(\d+) ")
STOP_S = 60


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where it listens, and its process."""

    port: int
    pid: int

    def peak_bytes(self) -> float:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        if not found:
            raise BenchError("this machine does not tell a process's peak memory")
        return int(found[1]) * 1024.0


@contextmanager
def serving(folder: Path) -> Iterator[Gateway]:
    """`batchflow serve` with a store of its own; raises BenchError if it does not start, or ends badly."""
    env = {**os.environ, "BATCHFLOW_STORE": str(folder / "store"), "BATCHFLOW_LOG_LEVEL": "error"}
    command = batchflow("serve", "--engine", "local", "--port", "0")
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        match = LISTENS.match(process.stdout.readline())
        if not match:
            raise BenchError("batchflow serve did not start")
        yield Gateway(int(match[1]), process.pid)
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_S):
            raise BenchError(f"batchflow serve ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        for job in _jobs_left(folder):
            run(batchflow("stop", API, job), env=env, cwd=folder, timeout_s=STOP_S, reports=False)


def _jobs_left(folder: Path) -> list[str]:
    """What a load that failed has left running."""
    jobs = folder / "store" / "jobs" / API
    return [job.name for job in jobs.iterdir() if not (job / "status.json").exists()] if jobs.is_dir() else []
