"""The enqueue step: from submission.json to a queue that holds every batch of the run, restartable at any moment.

What is sent twice after a restart has the same deduplication id, so SQS drops it; if more than its five minutes went by, a batch
is in the queue twice and may be handled twice, and accounting counts it once.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import orjson

from batchflow.enqueuer.batching import Position, cut
from batchflow.enqueuer.listing import check_source, list_files
from batchflow.enqueuer.sending import SENDERS, Confirmed, Sender
from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.protocol import Queue, Queues
from batchflow.records import Checkpoint, JobRef, SubmissionRecord, job_document
from batchflow.retry import Backoff, retried
from batchflow.settings import Settings
from batchflow.spec.model import ItemList, Source
from batchflow.spec.stored import submission_from_document
from batchflow.status.accounting import Accounting
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import SourceFile, Sources

__all__ = ["enqueue", "queue_name"]

CHECKPOINT_S: Final = 2.0

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def queue_name(job: JobRef, store_url: str) -> str:
    """`cx_<8 hex digits>_b_<api>_<job_id>.fifo`, as Cortex named it; the digits stand for the store, and for the run.

    DESIGN.md appends `-r<run>`, which would pass SQS's 80 characters for an api's name of 42.
    """
    return f"cx_{_digits(store_url if job.run == 1 else f'{store_url} {job.run}')}_b_{job.api}_{job.job_id}.fifo"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def enqueue(
    records: JobRecords,
    *,
    queues: Queues,
    sources: Sources,
    settings: Settings,
    stop: threading.Event,
    checkpoint_s: float = CHECKPOINT_S,
    senders: int = SENDERS,
) -> Checkpoint:
    """Cut the run's batches and send those without an outcome; returns the run's last checkpoint.

    `done` there is False only if `stop` was set or the job has ended meanwhile. Idempotent, and a run that was cut off goes on at
    its checkpoint. Raises InvalidInput for input that can't be used (recorded in the checkpoint; the queue is gone), and Unreachable
    if store, queue or source did not answer for `settings.retry_s`.
    """
    return _Enqueuer(records, queues, sources, settings, stop, checkpoint_s, senders).run()


class _Ended(Exception):
    """The run is not wanted any more: `stop` is set, or it has a final status."""


@dataclass(slots=True)
class _Enqueuer:
    records: JobRecords
    queues: Queues
    sources: Sources
    settings: Settings
    stop: threading.Event
    checkpoint_s: float
    senders: int
    saved: Checkpoint = field(init=False)
    saved_at: float = field(init=False, default_factory=time.monotonic)
    sender: Sender = field(init=False)

    def run(self) -> Checkpoint:
        run = self.records.job.run
        latest = self._tried(self.records.checkpoint)
        self.saved = latest if latest is not None and latest.run == run else Checkpoint(run)
        if self.saved.error:
            raise InvalidInput(self.saved.error)
        if self.saved.done:
            return self.saved
        record = self._tried(self.records.submission)
        try:
            self._enqueue(record)
        except InvalidInput as error:
            self._save(replace(self.saved, error=str(error)))
            self._remove_queue()
            raise
        except _Ended:
            _log.info("ended early", extra={"next_index": self.saved.next_index})
        except (NotFound, Unreachable):
            # Cleanup may have removed the queue under us, and a service that is down may be why the job was stopped.
            if not self.stop.is_set() and not self._is_final():
                raise
        if self._is_final():
            self._remove_queue()
        return self.saved

    def _enqueue(self, record: SubmissionRecord) -> None:
        source = submission_from_document(record.submission, api=record.api_name).source
        files = self._fixed_listing(source)
        to = self._create_queue(record)
        _log.info("enqueuing", extra={"queue": to.url, "next_index": self.saved.next_index})
        try:
            self._send(source, files, to)
        finally:
            to.close()
        total = self.saved.next_index
        document = job_document(record, sqs_url=to.url, total_batch_count=total)
        self._tried(lambda: self.records.create_document(document))  # a later run leaves the first one's
        self._save(replace(self.saved, done=True, total=total))
        _log.info("enqueued", extra={"batches": total})

    def _fixed_listing(self, source: Source) -> Iterable[SourceFile]:
        """The files as they were listed first, by whichever try of whichever run."""
        if isinstance(source, ItemList):
            return ()
        files = self.records.inputs(self._tried)
        if files is None:
            self._tried(lambda: check_source(source, self.sources))
            self._tried(lambda: self.records.create_inputs(self._until_stopped(list_files(source, self.sources))))
            files = self.records.inputs(self._tried)
        return files or ()

    def _until_stopped(self, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        for file in files:
            if self.stop.is_set():
                raise _Ended
            yield file

    def _create_queue(self, record: SubmissionRecord) -> Queue:
        job, store_url = self.records.job, self.records.store.url
        tags = {
            "apiName": job.api,
            "apiID": record.api_id,
            "jobID": job.job_id,
            "cortex.dev/cluster-name": _digits(store_url),
            "batchflow/run": str(job.run),
        }
        name = queue_name(job, store_url)
        to = self._tried(lambda: self.queues.create(name, visibility_s=self.settings.visibility_s, tags=tags))
        self._save(replace(self.saved, queue_url=to.url))
        if self._is_final():
            raise _Ended
        return to

    def _send(self, source: Source, files: Iterable[SourceFile], to: Queue) -> None:
        saved = self.saved
        start = Confirmed(saved.next_index, Position(saved.file, saved.offset, saved.item, saved.line))
        done = self._accounting()
        batches = cut(source, files, self.sources, start=start.position, index=start.next_index, backoff=self._backoff())
        self.sender = Sender(self.records.job, to, start, retry_s=self.settings.retry_s, tick=self._tick, threads=self.senders)
        try:
            with self.sender:
                for batch in batches:
                    if batch.index < done.total and done.has_outcome(batch.index):
                        self.sender.skip(batch)
                    else:
                        self.sender.send(batch)
                    self._tick()
                self.sender.finish()
        except _Ended:
            self._checkpoint()
            raise
        self._checkpoint()

    def _accounting(self) -> Accounting:
        """What earlier runs handled. Without a job document there is no outcome: workers start after it is written."""
        document = self._tried(self.records.document) if self.records.job.run > 1 else None
        if document is None:
            return Accounting(0)
        total = orjson.loads(document)["total_batch_count"]
        return self._tried(lambda: Accounting(total, self.records.outcomes()))

    def _tick(self) -> None:
        if self.stop.is_set():
            raise _Ended
        if time.monotonic() - self.saved_at >= self.checkpoint_s:
            self._checkpoint()
            if self._is_final():
                raise _Ended

    def _checkpoint(self) -> None:
        confirmed = self.sender.confirmed
        at = confirmed.position
        self._save(replace(self.saved, next_index=confirmed.next_index, file=at.file, offset=at.offset, item=at.item, line=at.line))

    def _save(self, checkpoint: Checkpoint) -> None:
        self._tried(lambda: self.records.save_checkpoint(checkpoint))
        self.saved, self.saved_at = checkpoint, time.monotonic()

    def _is_final(self) -> bool:
        final = self._tried(self.records.final)
        return final is not None and final.run >= self.records.job.run

    def _remove_queue(self) -> None:
        if self.saved.queue_url:
            self._tried(lambda: self.queues.remove(self.saved.queue_url))

    def _tried(self, call: Callable[[], _Result]) -> _Result:
        return retried(call, self._backoff())

    def _backoff(self) -> Backoff:
        return Backoff(self.settings.retry_s, self.stop)
