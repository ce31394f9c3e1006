"""The servers that both sides of a comparison share, and what they find there: SQS near and far, the instant handler, jobs, queues."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchflow.queues.open import open_queues
from batchflow.queues.protocol import MAX_ENTRIES, Depth, Queue
from batchflow.records import JobRef, SubmissionRecord, batch_message, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import DelimitedFiles, Submission
from batchflow.spec.stored import submission_document
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_store
from bench.harness import ROOT, BenchError, Plan, python, service

__all__ = ["API", "Handler", "Job", "far", "find_sqs", "instant_handler", "new_job", "sqs_env", "write_items"]

API = "bench"
ITEM_BYTES = 198  # a batch of one item is a body of 200 bytes
FILLERS = 8


def find_sqs() -> str | None:
    """HOST:PORT of a real SQS server on this machine: $BATCHFLOW_BENCH_SQS, else the one that ../shared/sqs/up starts, else None."""
    url = os.environ.get("BATCHFLOW_BENCH_SQS", "")
    up = ROOT.parent / "shared" / "sqs" / "up"
    if not url and up.exists():
        url = subprocess.run([up], capture_output=True, text=True, timeout=300, check=True).stdout
    if not url:
        return None
    match = re.search(r"http://((?:127\.0\.0\.1|localhost):\d+)", url)
    if not match:
        raise BenchError(f'BATCHFLOW_BENCH_SQS: "{url}" is not http://127.0.0.1:PORT; load is for loopback only')
    return match[1]


def sqs_env(address: str) -> dict[str, str]:
    """With which a process, ours or a bare one, finds the server."""
    return {
        "AWS_ENDPOINT_URL_SQS": f"http://{address}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "BATCHFLOW_QUEUES": "sqs",
    }


@contextmanager
def far(address: str, delay_ms: float) -> Iterator[str]:
    """The same server behind the proxy: its HOST:PORT."""
    with service(python("bench.proxy", address, str(delay_ms))) as port:
        yield f"127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Handler:
    """The instant handler."""

    port: int

    def read(self) -> tuple[int, float]:
        """How many batches it answered, and when the last one was (`time.monotonic`)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as response:
            found = json.load(response)
        return found["count"], found["last"]


@contextmanager
def instant_handler() -> Iterator[Handler]:
    """A fresh one, in a process of its own."""
    with service(python("bench.instant")) as port:
        yield Handler(port)


def item_lines(count: int) -> Iterator[bytes]:
    """JSON objects of 198 bytes, a line each."""
    for index in range(count):
        head = f'{{"index":{index},"text":"'
        yield f'{head}{"x" * (ITEM_BYTES - len(head) - 2)}"}}'.encode()


def write_items(path: Path, count: int) -> None:
    """That many lines into a file; its suffix says whether compressed."""
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.writelines(line + b"\n" for line in item_lines(count))


@dataclass(frozen=True, slots=True)
class Job:
    """A fresh job and its queue; `env` is what its processes need, but for a proxy's address."""

    ref: JobRef
    folder: Path
    settings: Settings
    env: Mapping[str, str]

    @property
    def records(self) -> JobRecords:
        return JobRecords(open_store(self.settings.store), self.ref)

    def write_items(self, count: int) -> Path:
        """A file of `count` items."""
        path = self.folder / "items.jsonl"
        write_items(path, count)
        return path

    def submit(self, file: Path, batch_size: int) -> None:
        """Write submission.json, which the enqueuer reads."""
        source = DelimitedFiles((str(file),), batch_size)
        document = submission_document(Submission(API, 1, source))
        if not self.records.create_submission(SubmissionRecord(API, "bench", self.ref.job_id, "2024-01-01T00:00:00Z", document)):
            raise BenchError(f"job {self.ref.job_id} exists")

    def create_queue(self) -> Queue:
        return open_queues(self.settings).create(f"bench-{uuid.uuid4().hex}.fifo", visibility_s=60, tags={})

    def fill(self, queue: Queue, count: int) -> None:
        """Put `count` batches of one item each into the queue, as the enqueuer would."""
        messages = [batch_message(self.ref, index, 1, f"[{line.decode()}]") for index, line in enumerate(item_lines(count))]
        with ThreadPoolExecutor(FILLERS) as pool:
            calls = [messages[start : start + MAX_ENTRIES] for start in range(0, count, MAX_ENTRIES)]
            if any(pool.map(queue.send, calls)):
                raise BenchError("the queue refused a message")

    def take_queue(self, url: str, expected: Depth) -> None:
        """Remove the queue; raises BenchError if it does not hold what it should."""
        queues = open_queues(self.settings)
        queue = queues.open(url)
        depth = queue.depth()
        queue.close()
        queues.remove(url)
        if depth != expected:
            raise BenchError(f"{url} holds {depth}, not {expected}")


@contextmanager
def new_job(plan: Plan, sqs: str | None) -> Iterator[Job]:
    """A job in a fresh store, a directory; queues are at `sqs`, or SQLite files beside the store if that is None."""
    with plan.sample_folder() as folder:
        env = {"BATCHFLOW_STORE": str(folder / "store"), "BATCHFLOW_SOURCES": "file"}
        env |= sqs_env(sqs) if sqs else {"BATCHFLOW_QUEUES": f"sqlite:{folder / 'queues'}"}
        with _environment(env):  # this process makes, fills and checks queues too, and never through the proxy
            yield Job(JobRef(API, new_job_id(time.time_ns())), folder, Settings.from_env(), env)


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
