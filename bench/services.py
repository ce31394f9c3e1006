"""What a sample needs: a fresh handler, a fresh job with its store and queue, the S3 server."""

from __future__ import annotations

import json
import os
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchflow.queues.open import open_queues
from batchflow.queues.protocol import MAX_ENTRIES, Depth, Queue
from batchflow.records import JobRef, SubmissionRecord, batch_message, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import Source, Submission
from batchflow.spec.stored import submission_document
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_store
from bench.harness import BenchError, Plan, python, service
from bench.items import item_lines, write_items
from bench.places import Place

__all__ = ["API", "Handler", "Job", "environment", "handler", "new_job", "s3_server"]

API = "bench"
FILLERS = 8


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler that does nothing, at once or after a while."""

    port: int

    def read(self) -> tuple[int, float]:
        """How many batches it answered, and when the last one was (`time.monotonic`)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as response:
            found = json.load(response)
        return found["count"], found["last"]


@contextmanager
def handler(delay_ms: float = 0) -> Iterator[Handler]:
    """A fresh one, in a process of its own."""
    with service(python("bench.instant", str(delay_ms))) as port:
        yield Handler(port)


def s3_server(lines: int = 1, keys: int = 1, folder: Path | None = None) -> AbstractContextManager[int]:
    """The port of an S3 server with so many lines and keys, and with what is in `folder`; see s3_server.py."""
    return service(python("bench.s3_server", str(lines), str(keys), *([str(folder)] if folder else [])))


@dataclass(frozen=True, slots=True)
class Job:
    """A fresh job and its queue; `env` is what the processes that are measured need."""

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

    def submit(self, source: Source) -> None:
        """Write submission.json, which the enqueuer reads."""
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
def new_job(plan: Plan, place: Place) -> Iterator[Job]:
    """A job in a fresh store, a directory; on SQLite its queues are files beside that."""
    with plan.sample_folder() as folder:
        env = {"BATCHFLOW_STORE": str(folder / "store"), "BATCHFLOW_SOURCES": "file", "BATCHFLOW_QUEUES": f"sqlite:{folder / 'queues'}"}
        with environment({**env, **place.direct_env}):  # this process makes, fills and checks queues
            yield Job(JobRef(API, new_job_id(time.time_ns())), folder, Settings.from_env(), {**env, **place.env})


@contextmanager
def environment(env: Mapping[str, str]) -> Iterator[None]:
    """These variables in this process's own environment, too."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
