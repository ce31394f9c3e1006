"""The gateway on the local engine: ten jobs of 100,000 items submitted at once, its peak memory meanwhile, and what a question costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.harness import ROOT, AtMost, BenchError, Figure, Plan, Span, compared, interleaved, note, run
from bench.start import batchflow

__all__ = ["gateway"]

API = "loaded"
JOBS = 10
ITEMS = 100_000
BATCH_SIZE = 20
LISTENS = re.compile(r"batchflow serves http://127\.0\.0\.1:(\d+) ")
ENDED = "end_time"  # in a job's status once it ended
REQUEST_S = 300
LOAD_S = 3_600
POLL_S = 2
STOP_S = 60
CLIENTS = 4
QUESTIONS = 2_000
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Gateway:
    """A process of its own."""

    port: int
    pid: int

    def request(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        """The JSON of a 200; raises BenchError for any other answer."""
        connection = self.connect()
        try:
            return _asked(connection, method, path, body, content_type)
        finally:
            connection.close()

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_S)

    def peak_bytes(self) -> float:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        if not found:
            raise BenchError("this machine does not tell a process's peak memory")
        return int(found[1]) * 1024.0


def gateway(plan: Plan) -> Iterator[Figure]:
    """The load once; the questions in rounds, about one of its jobs."""
    with plan.sample_folder() as folder, _serving(folder) as opened:
        container = {"name": "handler", "image": "python", "command": [sys.executable, str(ROOT / "bench" / "instant.py")]}
        api = {"name": API, "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}
        opened.request("POST", "/deploy", json.dumps([api]).encode(), "application/yaml")
        items = plan.count(ITEMS)
        began = time.monotonic()
        with ThreadPoolExecutor(JOBS) as pool:
            ids = list(pool.map(lambda _: _submit(opened, items), range(JOBS)))
        accepted_s = time.monotonic() - began
        _wait(opened, ids, -(-items // BATCH_SIZE))
        took_s = time.monotonic() - began
        what = f"{JOBS} jobs × {items:,} items at once"
        yield Figure(f"gateway's peak memory, {what}", [opened.peak_bytes() / MB], "MB", AtMost(300))
        rate = JOBS * -(-items // BATCH_SIZE) / took_s
        yield Figure(
            f"{what}: until the last one succeeded", [took_s], "s", None, f"accepted after {accepted_s:.1f} s; {rate:,.0f} batches/s"
        )
        yield _questions(plan, opened, ids[0])


def _submit(opened: Gateway, items: int) -> str:
    body = {"workers": 1, "item_list": {"items": [{"index": index} for index in range(items)], "batch_size": BATCH_SIZE}}
    return str(opened.request("POST", f"/batch/{API}", json.dumps(body).encode())["job_id"])


def _wait(opened: Gateway, ids: list[str], batches: int) -> None:
    """Until every job has succeeded with all of its batches; raises BenchError if one ends otherwise."""
    left, deadline = set(ids), time.monotonic() + LOAD_S
    while left:
        time.sleep(POLL_S)
        for job_id in sorted(left):
            status = opened.request("GET", f"/batch/{API}?jobID={job_id}")["job_status"]
            if ENDED in status:
                if (status["status"], status["metrics"]["succeeded"]) != ("succeeded", batches):
                    raise BenchError(f"job {job_id}: {status['status']}, {status['metrics']}, {status['message']}")
                left.remove(job_id)
                note(f"    {len(ids) - len(left)}/{len(ids)} jobs have succeeded")
        if time.monotonic() > deadline:
            raise BenchError(f"{len(left)} jobs did not end within {LOAD_S} s")


def _questions(plan: Plan, opened: Gateway, job_id: str) -> Figure:
    """GET of a job's status against GET /healthz, which does nothing, over kept connections."""
    count = plan.count(QUESTIONS)
    sides = {
        "status": lambda: _asked_often(opened, f"/batch/{API}?jobID={job_id}", count),
        "healthz": lambda: _asked_often(opened, "/healthz", count),
    }
    spans = interleaved(sides, plan.rounds)
    return compared(f"GET status against GET /healthz, {CLIENTS} clients", spans["status"], spans["healthz"], unit="requests/s")


def _asked_often(opened: Gateway, path: str, count: int) -> Span:
    def client(_: int) -> None:
        connection = opened.connect()
        try:
            for _ in range(count // CLIENTS):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise BenchError(f"GET {path}: {response.status}")
        finally:
            connection.close()

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return Span(count // CLIENTS * CLIENTS, began, time.monotonic())


def _asked(connection: HTTPConnection, method: str, path: str, body: bytes | None, content_type: str) -> Any:
    connection.request(method, path, body, {"Content-Type": content_type} if body else {})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise BenchError(f"{method} {path}: {response.status} {answer[:500]!r}")
    return json.loads(answer)


@contextmanager
def _serving(folder: Path) -> Iterator[Gateway]:
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
