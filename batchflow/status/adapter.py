"""From records and what was observed to a Cortex job status; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from batchflow import contract
from batchflow.queues.protocol import Depth
from batchflow.records import Checkpoint, Counters, FinalStatus, HookAnswer, SubmissionRecord
from batchflow.status import model, workflow
from batchflow.status.accounting import Accounting
from batchflow.status.ending import ending
from batchflow.status.model import BatchMetrics, JobStatus
from batchflow.status.pods import is_alive, is_overdue, node_id, phase
from batchflow.status.verdict import verdict
from batchflow.status.workers import waiting_for, worker_counts

__all__ = ["Facts", "final_status", "job_status", "needs_accounting"]

# Between writing submission.json and the workflow's creation there may be no workflow; after this it is taken as gone.
SUBMITTING_S: Final = 60
# How long a workflow's pods may outlive it: workers have their grace period, cleanup tries each call again for ten minutes.
LAST_PODS_S: Final = 900
# Of a job that is over without a final status, though nothing is left to handle.
CLEANUP_CUT_OFF: Final = "its cleanup was cut off: batchflow resume ends it, and removes its queue"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one run of a job.

    `total` is None until the enqueuer has ended; `explanation` is the engine's, if any; `elsewhere` names the place where the run's
    workflow is, if this engine can't see it.
    """

    submission: SubmissionRecord
    run: int
    hook_due: bool
    total: int | None = None
    checkpoint: Checkpoint | None = None
    counters: Sequence[Counters] = ()
    hook: HookAnswer | None = None
    final: FinalStatus | None = None
    workflow: Mapping[str, Any] | None = None
    pods: Sequence[Mapping[str, Any]] = ()
    explanation: str = ""
    elsewhere: str = ""
    depth: Depth | None = None

    @property
    def error(self) -> str:
        """The enqueuer's own word, in this run, that the input can't be used."""
        return self.checkpoint.error if self.checkpoint and self.checkpoint.run == self.run else ""

    @property
    def own_counters(self) -> list[Counters]:
        """Those of this run's pods; the others' batches are handled, but how they fared is past."""
        return [counters for counters in self.counters if counters.run == self.run]

    @property
    def answer(self) -> HookAnswer | None:
        """The hook's answer; a later run asks a hook again that answered badly."""
        return self.hook if self.hook and (self.hook.ok or self.hook.run == self.run) else None

    @property
    def enqueued(self) -> bool:
        """This run's enqueuer has ended well."""
        return self.checkpoint is not None and self.checkpoint.done and self.checkpoint.run == self.run

    @property
    def enqueuing(self) -> bool:
        """This run's enqueuer has begun."""
        if self.checkpoint is not None and self.checkpoint.run == self.run:
            return True
        running = {node_id(pod) for pod in self.pods if phase(pod) == "Running"}
        return self.workflow is not None and workflow.has_begun(self.workflow, contract.STEP_ENQUEUE, running)

    def is_over(self, now: datetime) -> bool:
        """Nothing more will happen: the workflow ended or is gone, and so are its pods, which may write outcomes to their last moment.

        Cleanup too may outlive its workflow: after a deadline Argo gives up its node, not its pod. Pods that don't end are not waited
        for without end: their node may be lost.
        """
        if self.elsewhere or (self.workflow is not None and not workflow.ended(self.workflow)):
            return False
        finished = self.workflow and workflow.finished_at(self.workflow)
        if self.explanation or (finished and _seconds(finished, now) > LAST_PODS_S):
            return True
        return not any(is_alive(pod) and not is_overdue(pod, now) for pod in self.pods)


def job_status(facts: Facts, now: datetime, accounting: Accounting | None = None) -> JobStatus:
    """The status as of `now`. `accounting` is needed only of a run that is over without a final status; see `needs_accounting`."""
    if facts.final and facts.final.run == facts.run:
        return JobStatus.from_dict(facts.final.status)
    if _being_submitted(facts, now):
        return _live(facts, model.PENDING, now)
    if facts.is_over(now):
        status = final_status(facts, accounting, now)
        return status if status.resumable else replace(status, message="; ".join(filter(None, (status.message, CLEANUP_CUT_OFF))))
    if facts.enqueued:
        return _live(facts, model.RUNNING, now)
    return _live(facts, model.ENQUEUING if facts.enqueuing else model.PENDING, now)


def needs_accounting(facts: Facts, now: datetime) -> bool:
    """Whether `job_status` will have to give the verdict, and so needs every outcome read."""
    final = facts.final and facts.final.run == facts.run
    return not final and facts.is_over(now) and not _being_submitted(facts, now)


def final_status(facts: Facts, accounting: Accounting | None, now: datetime) -> JobStatus:
    """The verdict as a status; cleanup writes it down while the workflow itself still runs."""
    how = ending(facts.workflow, facts.pods, facts.own_counters, facts.explanation)
    code, message = verdict(accounting=accounting, enqueue_error=facts.error, hook=facts.answer, hook_due=facts.hook_due, ending=how)
    ended = facts.workflow and workflow.finished_at(facts.workflow)
    counted = accounting or Accounting(0)
    return JobStatus(
        **_common(facts),
        status=code,
        total_batch_count=counted.total if accounting else _cut_so_far(facts),
        batches_failed=counted.failed,
        batches_without_outcome=accounting.missing if accounting else None,
        batch_metrics=_metrics(counted.succeeded, counted.failed_attempts, counted.seconds),
        end_time=ended or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        message=message,
    )


def _being_submitted(facts: Facts, now: datetime) -> bool:
    has_begun = facts.workflow is not None or facts.pods or facts.checkpoint or facts.explanation or facts.run > 1
    return not has_begun and _seconds(facts.submission.created_time, now) < SUBMITTING_S


def _live(facts: Facts, code: str, now: datetime) -> JobStatus:
    """From counters, so that the cost does not grow with the number of batches; a repeated batch may be counted twice here."""
    succeeded = sum(c.succeeded for c in facts.counters)
    finished = sum(c.finished for c in facts.counters)
    seconds = sum(c.seconds for c in facts.counters)
    total = facts.total if facts.total is not None else _cut_so_far(facts)
    waiting = facts.depth.visible + facts.depth.in_flight if facts.depth else max(0, total - finished)
    counts = None
    message = ""
    if facts.workflow is not None and code == model.RUNNING:
        counts = worker_counts(facts.workflow, facts.pods, facts.counters, now)
    if facts.workflow is not None:
        message = waiting_for(facts.workflow, facts.pods, facts.counters, now)
    elif facts.elsewhere:
        message = f"runs in {facts.elsewhere}, which can't be seen from here"
    elif facts.pods:
        message = "the workflow was deleted, but for its last pods"
    return JobStatus(
        **_common(facts),
        status=code,
        total_batch_count=total,
        batches_in_queue=waiting,
        batches_failed=min(finished - succeeded, total) if finished > succeeded else 0,
        batches_without_outcome=max(0, total - finished),
        batch_metrics=_metrics(min(succeeded, total), sum(c.failed for c in facts.counters), seconds),
        worker_counts=counts,
        message=message,
    )


def _common(facts: Facts) -> dict[str, Any]:
    record = facts.submission
    body = record.submission
    return {
        "job_id": record.job_id,
        "api_name": record.api_name,
        "api_id": record.api_id,
        "workers": body["workers"],
        "sqs_dead_letter_queue": body.get("sqs_dead_letter_queue"),
        "config": body.get("config"),
        "timeout": body.get("timeout"),
        "sqs_url": facts.checkpoint.queue_url if facts.checkpoint else "",
        "created_time": record.created_time,
        "run": facts.run,
    }


def _seconds(since: str, now: datetime) -> float:
    """From an RFC 3339 time on."""
    return (now - datetime.fromisoformat(since)).total_seconds()


def _cut_so_far(facts: Facts) -> int:
    return facts.checkpoint.next_index if facts.checkpoint else 0


def _metrics(succeeded: int, failed_attempts: int, seconds: float) -> BatchMetrics:
    return BatchMetrics(succeeded, failed_attempts, round(seconds / succeeded, 6) if succeeded else None)
