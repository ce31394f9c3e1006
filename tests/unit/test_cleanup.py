"""Cleanup's own promises; what it makes of workflows and pods is in test_recordings.py."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from batchflow.finalizer.cleanup import Observed, cleanup
from batchflow.queues.sqlite import SqliteQueues
from batchflow.records import SUCCEEDED, FinalStatus, JobRef, Outcome, SubmissionRecord, job_document
from batchflow.retry import Retry
from batchflow.status import model
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords

JOB = JobRef("squares", "6ffffffffffffff0")
QUEUE = "cx_test_b_squares_6ffffffffffffff0.fifo"


@pytest.fixture
def records(tmp_path: Path) -> JobRecords:
    records = JobRecords(DirectoryStore(tmp_path / "store"), JOB)
    record = SubmissionRecord(JOB.api, "id", JOB.job_id, "2026-01-01T00:00:00Z", {"workers": 1})
    records.create_document(job_document(record, total_batch_count=1))
    return records


def run(records: JobRecords, queues: SqliteQueues) -> str:
    workflow: dict[str, Any] = {"status": {"phase": "Running"}}
    return cleanup(
        records,
        own_pod="cleanup",
        hook_due=False,
        queues=queues,
        queue_name=QUEUE,
        observe=lambda: Observed(workflow, ()),
        log_tails=lambda: (),
        grace_s=0,
        retry=Retry(0, threading.Event()),
    ).status


def test_the_status_that_was_written_first_stays_and_the_queue_goes(records: JobRecords, tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path / "queues")
    assert run(records, queues) == model.WORKER_ERROR
    records.create_outcomes("late", 0, [Outcome(0, SUCCEEDED, 1, 0.1)])
    queues.create(QUEUE, visibility_s=60, tags={})
    assert run(records, queues) == model.WORKER_ERROR
    assert queues.find(QUEUE) is None


def test_the_status_of_a_later_run_is_not_overwritten(records: JobRecords, tmp_path: Path) -> None:
    """A second try of cleanup, after the job was resumed: the status of its first try let people do that."""
    assert run(records, SqliteQueues(tmp_path / "queues")) == model.WORKER_ERROR
    first = records.final()
    assert first is not None
    records.save_final(FinalStatus(2, {**first.status, "status": model.STOPPED, "run": 2}))
    run(records, SqliteQueues(tmp_path / "queues"))
    latest = records.final()
    assert latest is not None and latest.run == 2
