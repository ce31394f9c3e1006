"""A job's real queue, store and dequeuer parts in one process, for test_random.py to drive: a crash is a worker that is dropped."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from batchflow import contract
from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.attempts import Batch, decode
from batchflow.dequeuer.held import Held
from batchflow.dequeuer.holding import Hand
from batchflow.dequeuer.outcomes import Committer
from batchflow.dequeuer.progress import Progress
from batchflow.dequeuer.receiver import Leaving
from batchflow.dequeuer.settling import DeadLetters, Settling
from batchflow.enqueuer import enqueue
from batchflow.queues.sqlite import SqliteQueues
from batchflow.records import JobRef, SubmissionRecord
from batchflow.retry import Retry
from batchflow.settings import Settings
from batchflow.spec.model import Api, Pod
from batchflow.status.accounting import Accounting
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords
from batchflow.store.sources import UserSources

__all__ = ["BATCHES", "WORKERS", "Crash", "Site", "Worker"]

JOB: Final = JobRef("squares", "6ffffffffffffff0")
BATCHES: Final = 3
WORKERS: Final = 2
MAX_RECEIVES: Final = 2
SETTINGS: Final = Settings(visibility_s=60, heartbeat_s=15, retry_s=0)


class Site:
    """A job's queue and store on disk, a clock, and the handler's own log."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.now = 1_800_000_000.0
        self.queues = SqliteQueues(root / "queues", clock=self.clock)
        self.dead_letters = self.queues.create("failed.fifo", visibility_s=60, tags={})
        self.records = JobRecords(DirectoryStore(root / "store"), JOB)
        self.handled: dict[int, set[bool]] = defaultdict(set)
        body = {"workers": WORKERS, "item_list": {"items": list(range(BATCHES)), "batch_size": 1}}
        self.records.create_submission(SubmissionRecord(JOB.api, "id", JOB.job_id, "2026-01-01T00:00:00Z", body))
        sources: Any = UserSources(lambda: None, None)  # type: ignore[arg-type, return-value]
        checkpoint = enqueue(self.records, queues=self.queues, sources=sources, settings=SETTINGS, stop=threading.Event(), senders=1)
        self.url = checkpoint.queue_url

    def clock(self) -> float:
        return self.now

    def waiting(self, url: str) -> set[int]:
        """The batches that have a message in that queue."""
        return {int(group) for (group,) in self._sql(url, "SELECT grp FROM messages")}

    def deliver_twice(self) -> None:
        """What is in flight becomes visible, as at-least-once delivery allows."""
        self._sql(self.url, "UPDATE messages SET visible_at = 0")

    def accounting(self) -> Accounting:
        return Accounting(BATCHES, self.records.outcomes())

    def _sql(self, url: str, statement: str) -> list[Any]:
        with closing(sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()


class Crash(BaseException):
    """The process ends here; no `except Exception` may catch it."""


class Fuse:
    """Lets so many calls through that change something outside, then the process ends before the next one. None: all."""

    def __init__(self) -> None:
        self.calls_left: int | None = None

    def guard(self, real: Any, *calls: str) -> Any:
        """`real`, with these calls counted."""
        return _Guarded(self, real, calls)

    def burn(self) -> None:
        if self.calls_left == 0:
            raise Crash
        if self.calls_left is not None:
            self.calls_left -= 1


class _Guarded:
    def __init__(self, fuse: Fuse, real: Any, calls: tuple[str, ...]) -> None:
        self._fuse = fuse
        self._real = real
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            self._fuse.burn()
        return getattr(self._real, name)


class Worker:
    """What a worker's threads do, in any order; dropping it is a crash."""

    def __init__(self, site: Site, pod: str, *, replaced: bool) -> None:
        self._site = site
        self.fuse = Fuse()
        records = self.fuse.guard(site.records, "create_outcomes", "mark_start")
        api = Api("squares", "/squares", pod=Pod(containers=(), port=8080))
        self._assignment = Assignment(records, api, pod, contract.STEP_WORK, 0, BATCHES, WORKERS, MAX_RECEIVES, Path("/"), None, SETTINGS)
        self.queue = self.fuse.guard(site.queues.open(site.url), "send", "delete")
        self._dead_letters = self.fuse.guard(site.dead_letters, "send")
        self.hand = Hand(1)
        self.held = Held(self.queue, visibility_s=SETTINGS.visibility_s, heartbeat_s=SETTINGS.heartbeat_s, clock=site.clock)
        self._leaving = Leaving(SETTINGS.visibility_s, patient=replaced)
        self._retry = Retry(0, threading.Event())
        self._begin_group()

    def _begin_group(self) -> None:
        """Outcomes that are written together, then their messages deleted; the committer's threads run in ours."""
        committed: Any = lambda _: None  # noqa: E731
        self.committer = Committer(self._assignment, self.queue, self.held, retry=self._retry, committed=committed)
        dlq = DeadLetters(lambda: self._dead_letters, MAX_RECEIVES, patience_s=0, abandon=threading.Event())
        progress = Progress(self._assignment, self.queue.depth)
        self._settling = Settling(self._assignment, self.queue, dlq, self.committer, progress, self._retry)

    def receive(self, limit: int) -> bool:
        deliveries = self.queue.receive(limit, 0, SETTINGS.visibility_s)
        self.held.add(deliveries)
        batches = [found for d in deliveries if isinstance(found := decode(d, JOB, BATCHES), Batch)]
        assert len(batches) == len(deliveries)
        if batches:
            self._leaving.received()
        return self.hand.put(batches) and bool(batches)

    def handle(self, ok: bool) -> None:
        batch = self.hand.take()
        assert batch is not None
        if self._settling.may_start(batch):
            self._site.handled[batch.index].add(ok)
            if ok:
                self._settling.succeeded(batch, 0.1)
            else:
                self._settling.failed(batch, "status 500", 0.1)
        self.hand.finish(batch, 0.1)

    def commit(self) -> None:
        self.committer.close()
        self.committer.write_outcomes()
        self.committer.delete_messages()
        self._begin_group()

    def may_leave(self) -> bool:
        """As the receiver asks: after an empty poll, with nothing in hand and everything deleted."""
        if len(self.hand):
            return False
        self.commit()
        return not self.receive(1) and self._leaving.may_leave(self.queue.depth(), self._site.now)

    def close(self) -> None:
        self.queue.close()
