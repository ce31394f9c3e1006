"""Gathers from the store what the adapter needs; the only part of `status` that reads anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from batchflow.queues.protocol import Depth
from batchflow.records import Checkpoint
from batchflow.status.accounting import Accounting
from batchflow.status.adapter import Facts, job_status, needs_accounting
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords

__all__ = ["account", "current_status", "gather"]


def gather(
    records: JobRecords,
    *,
    hook_due: bool,
    workflow: Mapping[str, Any] | None,
    pods: Sequence[Mapping[str, Any]],
    explanation: str = "",
    elsewhere: str = "",
    depth: Callable[[Checkpoint], Depth | None] | None = None,
) -> Facts:
    """Read the job's small records; `workflow`, `pods` and `explanation` are what the engine observed of the run.

    `depth` asks the queue that a checkpoint names. Raises NotFound for a job that was deleted.
    """
    submission, total = records.request_and_total()
    checkpoint = records.checkpoint()
    return Facts(
        submission=submission,
        run=records.job.run,
        hook_due=hook_due,
        total=total,
        checkpoint=checkpoint,
        counters=records.counters(),
        hook=records.hook(),
        final=records.final(),
        workflow=workflow,
        pods=pods,
        explanation=explanation,
        elsewhere=elsewhere,
        depth=depth(checkpoint) if depth and checkpoint else None,
    )


def account(records: JobRecords, facts: Facts) -> Accounting | None:
    """Read every outcome; None while the number of batches is unknown."""
    return None if facts.total is None else Accounting(facts.total, records.outcomes())


def current_status(records: JobRecords, facts: Facts, now: datetime) -> JobStatus:
    """The status; outcomes are read only where a verdict is due."""
    return job_status(facts, now, account(records, facts) if needs_accounting(facts, now) else None)
