"""Our side of a comparison, in a process of its own: the enqueuer or the dequeuer as the steps run them.

    python -m bench.ours enqueue JOB_ID
    python -m bench.ours work JOB_ID QUEUE_URL PORT TOTAL MAX_CONCURRENCY
    python -m bench.ours account JOB_ID TOTAL

Settings come from the environment. What is done to the queue is noted (two readings of the clock for each call of up to ten messages);
the last line is {"count", "began", "first", "last_began", "last", "url", "peak_bytes"}: see Noted; `began` is before all that, but after
the imports. `account` is finalize's accounting: it reads every outcome. With $BENCH_PROFILE a profile is written to that file.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from batchflow import contract
from batchflow.dequeuer import Assignment, work
from batchflow.enqueuer import enqueue
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Delivery, Depth, Queue, Queues, Refused
from batchflow.records import JobRef, Message
from batchflow.settings import Settings
from batchflow.spec.model import Additions, Api, Pod
from batchflow.status.accounting import Accounting
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_sources, open_store
from bench.profiling import profiled

API = "bench"


class Noted:
    """A queue, and notes: when the first call began, when the last confirmed one began and ended, how many messages that were.

    Confirmed are those that `send` sent, or that `delete` deleted.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self.count = 0
        self.first = 0.0
        self.last_began = 0.0
        self.last = 0.0

    @property
    def url(self) -> str:
        return self._queue.url

    def send(self, messages: Sequence[Message]) -> list[Refused]:
        began = time.monotonic()
        refused = self._queue.send(messages)
        self._note(began, len(messages) - len(refused))
        return refused

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        began = time.monotonic()
        deliveries = self._queue.receive(limit, wait_s, visibility_s)
        self._note(began, 0)
        return deliveries

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        began = time.monotonic()
        self._queue.delete(deliveries)
        self._note(began, len(deliveries))

    def extend(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        self._queue.extend(deliveries, visibility_s)

    def depth(self) -> Depth:
        return self._queue.depth()

    def close(self) -> None:
        self._queue.close()

    def report(self) -> dict[str, Any]:
        return {"count": self.count, "first": self.first, "last_began": self.last_began, "last": self.last, "url": self.url}

    def _note(self, began: float, confirmed: int) -> None:
        ended = time.monotonic()
        with self._lock:
            self.first = min(self.first or began, began)
            if confirmed:
                self.count += confirmed
                self.last_began, self.last = began, ended


class NotedQueues:
    """A queue service of which every queue that is made is noted; `made` is the latest."""

    made: Noted

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def create(self, name: str, *, visibility_s: int, tags: Mapping[str, str]) -> Queue:
        self.made = Noted(self._queues.create(name, visibility_s=visibility_s, tags=tags))
        return self.made

    def open(self, url: str) -> Queue:
        return self._queues.open(url)

    def find(self, name: str) -> Queue | None:
        return self._queues.find(name)

    def list(self, prefix: str) -> Iterator[str]:
        return self._queues.list(prefix)

    def has_arn(self, arn: str) -> bool:
        return self._queues.has_arn(arn)

    def open_arn(self, arn: str) -> Queue:
        return self._queues.open_arn(arn)

    def remove(self, url: str) -> None:
        self._queues.remove(url)


def run_enqueue(records: JobRecords, settings: Settings) -> dict[str, Any]:
    queues, sources = NotedQueues(open_queues(settings)), open_sources(settings)
    if "AWS_ENDPOINT_URL_S3" in os.environ:  # else both come with the first file, and on the clock
        import_module("smart_open.s3")
        sources.stored("s3://")
    began = time.monotonic()
    enqueue(records, queues=queues, sources=sources, settings=settings, stop=threading.Event())
    return {"began": began, **queues.made.report()}


def run_work(records: JobRecords, settings: Settings, url: str, port: int, total: int, max_concurrency: int) -> dict[str, Any]:
    queue = Noted(open_queues(settings).open(url))
    assignment = Assignment(
        records=records,
        api=Api(API, f"/{API}", pod=Pod((), port), additions=Additions(max_concurrency=max_concurrency)),
        pod="bench-0",
        step=contract.STEP_WORK,
        port=port,
        total=total,
        workers=1,
        max_receive_count=None,
        mnt=Path(settings.store),
        progress_file=None,
        settings=settings,
    )
    began = time.monotonic()
    if code := work(assignment, queue, None, threading.Event(), replaced=False):
        sys.exit(code)
    return {"began": began, **queue.report()}


def run_account(records: JobRecords, total: int) -> dict[str, Any]:
    began = time.monotonic()
    accounting = Accounting(total, records.outcomes())
    return {"count": accounting.succeeded, "first": began, "last": time.monotonic()}


def peak_bytes() -> int:
    """The most memory that this process had at once."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss there includes the parent that this process was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    what, job_id, *rest = sys.argv[1:]
    settings = Settings.from_env()
    records = JobRecords(open_store(settings.store), JobRef(API, job_id))
    profile = os.environ.get("BENCH_PROFILE")
    with profiled(Path(profile)) if profile else nullcontext():
        if what == "enqueue":
            report = run_enqueue(records, settings)
        elif what == "work":
            url, port, total, max_concurrency = rest
            report = run_work(records, settings, url, int(port), int(total), int(max_concurrency))
        else:
            report = run_account(records, int(rest[0]))
    print(json.dumps({**report, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
