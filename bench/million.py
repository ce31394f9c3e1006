"""A big job on the local engine, to its end: memory of every process, answers of `get`, batches a second.

    python -m bench.million [--batches N] [--workers N] [--max-concurrency N]

By default 1,000,000 batches of ten items, from one JSON-lines file, SQLite and a directory as queue and store, the instant handler. It
takes about two gigabytes on the disk below TMPDIR, which are removed. Progress goes to stderr, the tables to stdout; exit code 1 if the job
did not end as it should, or if one `get` took a second or more.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import ROOT, BenchError, note, python
from bench.roles import peaks

API = "million"
BATCH_SIZE = 10
SAMPLE_S = 2.0
GET_EVERY_S = 15.0
GET_REACH_S = 1.0
GETS_AFTER = 5
LEAST_RATE = 100  # batches/s; slower than that is a hang
SPARE_S = 300
STOP_S = 60
WRITE_LINES = 100_000
SHARES = (0.1, 0.5, 1.0)
TENTHS = 10
MB = 1_000_000


@dataclass(slots=True)
class Seen:
    """What was seen of the job. Memory is VmHWM in bytes, the most of all processes of a role; times are seconds since the submission."""

    peaks: dict[str, dict[float, int]] = field(default_factory=dict)  # by role, at each of SHARES
    done: dict[str, list[tuple[float, int]]] = field(default_factory=dict)  # by phase: time, batches
    gets_s: list[float] = field(default_factory=list)

    def peak(self, role: str, share: float, size_bytes: int) -> None:
        """`share`: how much of the role's phase was done."""
        at = self.peaks.setdefault(role, {})
        for reached in SHARES:
            if share <= reached:
                at[reached] = max(at.get(reached, 0), size_bytes)

    def peaks_mb(self, role: str) -> list[float]:
        """At each of SHARES; no less than before."""
        at, found = self.peaks[role], []
        for share in SHARES:
            found.append(max([at.get(share, 0) / MB, *found[-1:]]))
        return found


@dataclass(frozen=True, slots=True)
class Running:
    """The submitted job."""

    folder: Path
    job_id: str
    batches: int

    @property
    def records(self) -> Path:
        return self.folder / "store" / "jobs" / API / self.job_id

    def engine_pid(self) -> int:
        """0 until it is there."""
        lock = self.folder / "store" / "local" / f"{API}-{self.job_id}" / "engine.lock"
        return int(lock.read_text() or 0)

    def done(self) -> dict[str, int]:
        """Batches enqueued and handled so far, as the records say."""
        counters = [_read(path).get("finished", 0) for path in sorted(self.records.glob("counters/*.json"))]
        return {"enqueue": _read(self.records / "enqueue.json").get("next_index", 0), "work": sum(counters)}

    def get(self) -> tuple[dict[str, Any], float, int]:
        """`batchflow get API JOB -o json`: what it says, how long it took, its peak memory in bytes."""
        began = time.monotonic()
        with subprocess.Popen(_command("get", API, self.job_id), cwd=self.folder, env=_env(self.folder), stdout=subprocess.PIPE) as process:
            assert process.stdout
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        took_s = time.monotonic() - began
        if process.returncode:
            raise BenchError(f"batchflow get: exit code {process.returncode}")
        return json.loads(said)["job_status"], took_s, usage.ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--max-concurrency", type=int, default=1, help="batches that a worker has in its handler at a time")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # the job is stopped then too
    with tempfile.TemporaryDirectory(prefix="million-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_job(folder, arguments.batches, arguments.workers, arguments.max_concurrency)
        try:
            with submitted(folder, arguments.batches) as job:
                seen = watched(job)
                wrong = checked(job, seen)
                print_tables(job, seen)
        except BenchError as error:
            wrong = [str(error)]
    for text in wrong:
        print(f"WRONG: {text}")
    return int(bool(wrong))


def write_job(folder: Path, batches: int, workers: int, max_concurrency: int) -> None:
    """The input, cortex.yaml and job.yaml."""
    items = batches * BATCH_SIZE
    with (folder / "items.jsonl").open("w") as file:
        for start in range(0, items, WRITE_LINES):
            file.writelines(f'{{"item":{index}}}\n' for index in range(start, min(start + WRITE_LINES, items)))
    note(f"{items:,} items, {(folder / 'items.jsonl').stat().st_size / MB:,.0f} MB")
    container = {"name": "handler", "image": "python", "command": [sys.executable, str(ROOT / "bench" / "instant.py")]}
    api = {"name": API, "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}
    api["batchflow"] = {"max_concurrency": max_concurrency}
    (folder / "cortex.yaml").write_text(json.dumps([api]))
    source = {"s3_paths": ["items.jsonl"], "batch_size": BATCH_SIZE}
    (folder / "job.yaml").write_text(json.dumps({"api": {"file": "cortex.yaml"}, "workers": workers, "delimited_files": source}))


@contextmanager
def submitted(folder: Path, batches: int) -> Iterator[Running]:
    """Submit, and watch it with `get --watch` too; whatever still runs in the end is stopped."""
    done = subprocess.run(_command("submit", "job.yaml"), cwd=folder, env=_env(folder), capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise BenchError(f"batchflow submit: exit code {done.returncode}: {done.stderr}")
    job = Running(folder, json.loads(done.stdout)["job_status"]["job_id"], batches)
    watch = subprocess.Popen(
        [*_command("get", API, job.job_id), "--watch"], cwd=folder, env=_env(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield job
    finally:
        watch.kill()
        watch.wait()
        _stop(job)


def watched(job: Running) -> Seen:
    """Look at it until it has ended."""
    seen = Seen(done={"enqueue": [], "work": []})
    began = time.monotonic()
    next_get = 0.0
    while True:
        now = time.monotonic() - began
        done = job.done()
        for phase, count in done.items():
            seen.done[phase].append((now, count))
        sample(job, seen, done)
        if now >= next_get:
            status, took_s, peak_bytes = job.get()
            seen.gets_s.append(took_s)
            seen.peak("get", done["work"] / job.batches, peak_bytes)
            note(f"{now:6.0f} s  {status['status']}  {done['enqueue']:,} enqueued, {done['work']:,} handled  get {took_s:.2f} s")
            if "end_time" in status:
                return seen
            next_get = now + GET_EVERY_S
        if done["work"] == job.batches:
            next_get = min(next_get, now + SAMPLE_S)  # the end is near
        if now > job.batches / LEAST_RATE + SPARE_S:
            raise BenchError(f"no end within {now:.0f} s")
        time.sleep(SAMPLE_S if now > SAMPLE_S else SAMPLE_S / 10)


def sample(job: Running, seen: Seen, done: dict[str, int]) -> None:
    """Note the memory of every process of the job, and of those that look at it."""
    for role, size_bytes in peaks([job.engine_pid(), os.getpid()]):
        seen.peak(role, done["enqueue" if role == "enqueue" else "work"] / job.batches, size_bytes)


def checked(job: Running, seen: Seen) -> list[str]:
    """What is not as it should be; `get` of the ended job is timed too."""
    wrong = []
    for _ in range(GETS_AFTER):
        status, took_s, _ = job.get()
        seen.gets_s.append(took_s)
    counted = {"status": status["status"], "total": status["total_batch_count"], "succeeded": status["batch_metrics"]["succeeded"]}
    if counted != {"status": "succeeded", "total": job.batches, "succeeded": job.batches}:
        wrong.append(f"the status is {status}")
    indexes = bytearray(job.batches)
    lines = files = 0
    for path in (job.records / "outcomes").rglob("*.jsonl"):
        files += 1
        for line in path.read_bytes().splitlines():
            lines += 1
            indexes[json.loads(line)["index"]] = 1
    note(f"{lines:,} outcomes in {files:,} files")
    if indexes.count(1) != job.batches:
        wrong.append(f"{indexes.count(0)} batches have no outcome")
    if left := [path.name for path in (job.folder / "store" / "queues").iterdir()]:
        wrong.append(f"the queue was left: {left}")
    if max(seen.gets_s) >= GET_REACH_S:
        wrong.append(f"a get took {max(seen.gets_s):.2f} s")
    return wrong


def print_tables(job: Running, seen: Seen) -> None:
    print(f"{job.batches:,} batches of {BATCH_SIZE} items")
    print(f"\n{'peak memory, MB':20}" + "".join(f"{f'{share:.0%}':>10}" for share in SHARES))
    for role in sorted(seen.peaks):
        print(f"{role:20}" + "".join(f"{mb:10.1f}" for mb in seen.peaks_mb(role)))
    print(f"\n{'batches/s':20}" + "".join(f"{f'{(tenth + 1) * 10}%':>9}" for tenth in range(TENTHS)) + f"{'all':>9}")
    for phase, points in seen.done.items():
        print(f"{phase:20}" + "".join(f"{rate:9,.0f}" for rate in [*_rates(points, job.batches), _rate(points)]))
    ended_s = seen.done["work"][-1][0]
    print(f"\nget: median {statistics.median(seen.gets_s):.2f} s, at most {max(seen.gets_s):.2f} s, of {len(seen.gets_s)}")
    print(f"in all: {ended_s:.0f} s, {job.batches / ended_s:,.0f} batches/s")


def _rates(points: Sequence[tuple[float, int]], batches: int) -> list[float]:
    """Of each tenth of the batches."""
    found = []
    for tenth in range(TENTHS):
        low, high = batches * tenth // TENTHS, batches * (tenth + 1) // TENTHS
        first = max((point for point in points if point[1] <= low), default=points[0])
        last = min((point for point in points if point[1] >= high), default=points[-1])
        found.append((last[1] - first[1]) / max(last[0] - first[0], 1e-9))
    return found


def _rate(points: Sequence[tuple[float, int]]) -> float:
    """From the first batch to the last."""
    first = max(point for point in points if point[1] == points[0][1])
    last = min(point for point in points if point[1] == points[-1][1])
    return (last[1] - first[1]) / max(last[0] - first[0], 1e-9)


def _stop(job: Running) -> None:
    """Have the engine end in good order; no effect if it has."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(job.engine_pid(), signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            os.kill(job.engine_pid(), 0)
            time.sleep(0.1)


def _command(*arguments: str) -> list[str]:
    return python("batchflow", *arguments, "--local", "-o", "json")


def _env(folder: Path) -> dict[str, str]:
    """What a process sees is what is said here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHFLOW_"))}
    return {**kept, "BATCHFLOW_STORE": str(folder / "store"), "PYTHONPATH": str(ROOT)}


def _read(path: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    return {}


if __name__ == "__main__":
    sys.exit(main())
