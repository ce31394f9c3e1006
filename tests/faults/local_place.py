"""A run on the local engine: where its processes are found, its disk that fills, and its messages that come twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.acceptance.command import Terminal
from tests.faults.injury import LOOK_S, TARGETS
from tests.faults.job import HANDLER
from tests.faults.proxy import FaultProxy
from tests.faults.scenario import Fault, Moment

__all__ = ["LocalPlace"]

BLOCK: Final = bytes(64 << 10)


@dataclass(frozen=True)
class LocalPlace:
    """`runs` is the local engine's folder of all runs of the job, `log` the handler's, `queues` holds SQLite's."""

    runs: Path
    log: Path
    store: Path
    queues: Path
    proxies: Mapping[str, FaultProxy]
    terminal: Terminal
    hang_s: float = 300  # a run takes some seconds, on a busy machine a minute
    resumes: bool = True

    def project(self) -> Mapping[str, Path]:
        return {"handler.py": HANDLER}

    def config(self) -> Mapping[str, Any]:
        return {"log": str(self.log)}

    def notes(self) -> list[dict[str, Any]]:
        notes = map(json.loads, self.log.read_bytes().splitlines() if self.log.exists() else ())
        return [{**note, "by": str(note["pid"])} for note in notes]

    def running(self) -> tuple[str, ...]:
        return tuple(self.terminal.processes().values())

    def seen(self, moment: Moment) -> bool:
        if moment.event == "submitted":
            return any(self.runs.glob("*/workflow.json"))
        if moment.event == "hook":
            return any(note["event"] == "hook_began" for note in self.notes())
        if moment.event == "ended":
            return len({note["batch"] for note in self.notes() if note["event"] in ("ended", "raised")}) >= moment.count
        return any(f"-{moment.event}-" in pod["metadata"]["name"] for pod in self._pods())

    def living(self, target: str) -> list[tuple[int, int]]:
        """Of a container its guard and its command; of the engine its process."""
        if target == "engine":
            locks = [lock.read_text() for lock in self.runs.glob("*/engine.lock")]
            pids = [int(text) for text in locks if text.strip() and _is_engine(int(text))]
            return [(pid, pid) for pid in pids]
        step, container = TARGETS[target]
        found = []
        for pod in self._pods():
            status = pod["status"]
            for one in (*status["initContainerStatuses"], *status["containerStatuses"]):
                if f"-{step}-" in pod["metadata"]["name"] and one["name"] == container and "running" in one["state"]:
                    guard, _, child = one["containerID"].removeprefix("process://").partition("/")
                    found.append((int(guard), int(child)))
        return found

    def inflict(self, fault: Fault, over: threading.Event) -> str | None:
        if fault.kind == "fill":
            return self._fill(fault, over)
        return self._twice(over) if fault.kind == "twice" else None

    def _pods(self) -> list[dict[str, Any]]:
        """Of the latest run."""
        files = sorted(self.runs.glob("*/pods.json"), key=lambda file: file.stat().st_mtime)
        return list(json.loads(files[-1].read_bytes())) if files else []

    def _fill(self, fault: Fault, over: threading.Event) -> str:
        """Whatever becomes free meanwhile is taken, too. Only where the store is a file system of its own."""
        if not self.store.is_mount():
            return ""
        until, taken = time.monotonic() + fault.for_s, self.store / "taken"
        with taken.open("wb", buffering=0) as file:
            while time.monotonic() < until and not over.is_set():
                try:
                    file.write(BLOCK)
                except OSError:
                    over.wait(LOOK_S)
        taken.unlink()
        return f"{fault.for_s} s"

    def _twice(self, over: threading.Event) -> str:
        """Make every message visible again, once, as soon as it was received."""
        returned = 0
        while not over.wait(LOOK_S):
            for file in self.queues.glob("cx_*.db"):
                with suppress(sqlite3.Error), closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=5)) as queue, queue:
                    received = "UPDATE messages SET visible_at = 0 WHERE receives = 1 AND visible_at > 0"
                    returned += queue.execute(received).rowcount
                if not file.exists():  # removed meanwhile; then it is we who made these again
                    for beside in ("-wal", "-shm"):
                        file.with_name(file.name + beside).unlink(missing_ok=True)
        return f"{returned} messages" if returned else ""


def _is_engine(pid: int) -> bool:
    try:
        return b"batchflow.engines.local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
