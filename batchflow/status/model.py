"""Cortex's job status as a value: the seed's schema, and what later generations added (every key: docs/status.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from batchflow.status.html import status_html

__all__ = [
    "COMPLETED_WITH_FAILURES",
    "DISPLAY",
    "ENQUEUE_FAILED",
    "ENQUEUING",
    "PENDING",
    "RUNNING",
    "STOPPED",
    "SUCCEEDED",
    "TERMINAL_STATUSES",
    "TIMED_OUT",
    "UNEXPECTED_ERROR",
    "WORKER_ERROR",
    "WORKER_OOM",
    "BatchMetrics",
    "JobStatus",
    "WorkerCounts",
]

PENDING: Final = "pending"
ENQUEUING: Final = "enqueuing"
RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
COMPLETED_WITH_FAILURES: Final = "completed_with_failures"
ENQUEUE_FAILED: Final = "enqueue_failed"
WORKER_ERROR: Final = "worker_error"
WORKER_OOM: Final = "worker_oom"
TIMED_OUT: Final = "timed_out"
STOPPED: Final = "stopped"
UNEXPECTED_ERROR: Final = "unexpected_error"

# Cortex's CLI texts (spec/cortex.md section 6).
DISPLAY: Final = {
    PENDING: "pending",
    ENQUEUING: "enqueuing",
    RUNNING: "running",
    SUCCEEDED: "succeeded",
    COMPLETED_WITH_FAILURES: "completed with failures",
    ENQUEUE_FAILED: "failed while enqueuing",
    WORKER_ERROR: "worker error",
    WORKER_OOM: "out of memory",
    TIMED_OUT: "timed out",
    STOPPED: "stopped",
    UNEXPECTED_ERROR: "unexpected error",
}
TERMINAL_STATUSES: Final = frozenset(DISPLAY) - {PENDING, ENQUEUING, RUNNING}


@dataclass(frozen=True, slots=True)
class BatchMetrics:
    """`succeeded` counts batches, `failed` attempts; the average (seconds) covers successes only, None before the first."""

    succeeded: int = 0
    failed: int = 0
    avg_time_per_batch: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """How many workers are in each state; a worker that replaces a lost one takes its place."""

    pending: int = 0
    initializing: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    stalled: int = 0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as of one moment. Times are RFC 3339, UTC.

    `total_batch_count` counts what was cut so far while enqueuing. `worker_counts` is None unless the job runs, `end_time` until it
    ended. `batches_without_outcome` is None if enqueuing did not end, so that nobody knows. `message` says what is waited for, or why
    the job ended as it did; empty when there is nothing to say.
    """

    job_id: str
    api_name: str
    api_id: str
    workers: int
    status: str
    created_time: str
    kind: str = "BatchAPI"
    sqs_dead_letter_queue: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    timeout: int | None = None
    sqs_url: str = ""
    run: int = 1
    total_batch_count: int = 0
    batches_in_queue: int = 0
    batches_failed: int = 0
    batches_without_outcome: int | None = None
    batch_metrics: BatchMetrics = BatchMetrics()
    worker_counts: WorkerCounts | None = None
    end_time: str | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def resumable(self) -> bool:
        """Whether another run has anything to do: batches without an outcome, or a hook that was cut off or failed."""
        return self.ended and self.status not in (SUCCEEDED, COMPLETED_WITH_FAILURES)

    @property
    def batches_done(self) -> int:
        """Batches with an outcome."""
        return self.batch_metrics.succeeded + self.batches_failed

    def _repr_html_(self) -> str:
        """What notebooks show."""
        counts = asdict(self.worker_counts) if self.worker_counts else {}
        rows = {
            "status": DISPLAY.get(self.status, self.status),
            "message": self.message,
            "failed batches": str(self.batches_failed or ""),
            "workers": ", ".join(f"{number} {name}" for name, number in counts.items() if number),
            "start time": self.created_time,
            "end time": self.end_time or "",
        }
        shown = {name: text for name, text in rows.items() if text}
        total = 0 if self.status in (PENDING, ENQUEUING) else self.total_batch_count  # so far it is only what was cut
        return status_html(f"{self.api_name} {self.job_id}", shown, done=self.batches_done, total=total)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `job_status`: `worker_counts`, `end_time` and the average are absent while there is none."""
        document = asdict(self)
        for name in ("worker_counts", "end_time"):
            if document[name] is None:
                del document[name]
        metrics = document["batch_metrics"]
        document["metrics"] = {
            "succeeded": metrics["succeeded"],
            "failed": metrics["failed"],
            "average_time_per_batch": metrics["avg_time_per_batch"],
        }
        if metrics["avg_time_per_batch"] is None:
            del metrics["avg_time_per_batch"]
        document["start_time"] = self.created_time
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Reverse of `to_dict`."""
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in document.items() if k in known}
        counts = values.get("worker_counts")
        values["batch_metrics"] = BatchMetrics(**values["batch_metrics"])
        values["worker_counts"] = WorkerCounts(**counts) if counts else None
        return cls(**values)
