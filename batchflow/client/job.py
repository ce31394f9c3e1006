"""A submitted job: its status, its end, its logs, its failed batches; stopping and resuming it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any, Final

from batchflow.client.logs import log_lines
from batchflow.client.removal import remove_queue
from batchflow.client.services import Services
from batchflow.contract import ARGO_CONTAINERS
from batchflow.engines.protocol import LogLine
from batchflow.enqueuer import recut
from batchflow.errors import BatchflowError, InvalidInput
from batchflow.queues.protocol import Depth
from batchflow.records import FAILED, Checkpoint, FinalStatus, JobRef, Outcome, RunRecord, SubmissionRecord, job_document
from batchflow.retry import Retry
from batchflow.spec.model import Api
from batchflow.spec.stored import submission_from_document
from batchflow.status.accounting import Accounting
from batchflow.status.adapter import Facts, needs_accounting
from batchflow.status.facts import current_status, gather
from batchflow.status.html import status_html
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords

__all__ = ["FailedBatch", "Job"]

POLL_S: Final = 0.5
LOOKING_SHARE: Final = 4  # pause at least so many times as long as a look took: a thousand workers' pods are megabytes to list


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch whose final outcome is a failure. `items` is the JSON array that was sent, None if it can't be read again."""

    outcome: Outcome
    items: str | None


class Job:
    """A submitted job, by its names; keeps nothing but them and what was asked for, so every call says how things are now."""

    def __init__(self, services: Services, api: str, job_id: str, request: SubmissionRecord | None = None) -> None:
        """`request` is the job's submission without its source, if the caller has it; else it is read once: it never changes."""
        self._services = services
        self._request = request
        self.api = api
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.api!r}, {self.id!r})"

    def _repr_html_(self) -> str:
        """What notebooks show: the status now, or why it can't be had."""
        try:
            return self.status()._repr_html_()
        except Exception as error:  # a notebook would print a traceback instead
            return status_html(f"{self.api} {self.id}", {"error": str(error)}, done=0, total=0)

    @property
    def workflow(self) -> str:
        """The name of the latest run's workflow."""
        return self._records().job.workflow

    @property
    def endpoint(self) -> str:
        """Where Cortex would have answered for this job."""
        return f"{self.api_version().endpoint}?jobID={self.id}"

    def api_version(self) -> Api:
        """The api as it was when the job was submitted."""
        return self._services.apis.api(self.api, self._submitted().api_id)

    def document(self) -> dict[str, Any]:
        """The job document of spec/cortex.md section 3 as it was at the submission: without the queue and the number of batches."""
        return job_document(self._submitted())

    def status(self) -> JobStatus:
        """The latest run's status; the final one once it ended."""
        records = self._records()
        if final := self._final(records):
            return JobStatus.from_dict(final.status)
        return current_status(records, self._facts(records, self._depth), datetime.now(UTC))

    def ended(self) -> bool:
        """Whether `status` would be a final one. Reads no outcomes, so it costs little whatever the job's size."""
        records = self._records()
        return self._final(records) is not None or needs_accounting(self._facts(records), datetime.now(UTC))

    def wait(self, on_status: Callable[[JobStatus], None] | None = None, *, poll_s: float = POLL_S) -> JobStatus:
        """Block until the job ended; `on_status` gets every status on the way, the final one too.

        Once the job was seen, a cluster or store that is out of reach is asked again for `settings.retry_s`.
        """
        again = Retry(self._services.settings.retry_s, Event())
        status, took_s = self._look()
        while True:
            if on_status:
                on_status(status)
            if status.ended:
                return status
            time.sleep(max(poll_s, LOOKING_SHARE * took_s))
            status, took_s = again(self._look)

    def stop(self) -> None:
        """Ask the job to stop: workers finish the batch in hand within their grace period.

        Raises InvalidInput if it has ended, or runs where this engine can't see it.
        """
        records = self._records()
        facts = self._facts(records)
        if self._final(records) or needs_accounting(facts, datetime.now(UTC)):
            raise InvalidInput(
                f"{self.id} ({self.api} api): cannot stop BatchAPI job because it is not in progress", kind="job.job_is_not_in_progress"
            )
        if facts.elsewhere:
            raise InvalidInput(f"job {self.id} of {self.api} runs in {facts.elsewhere}", hint="stop it there")
        self._services.engine.stop(records.job.workflow)

    def resume(self) -> None:
        """Start the job's next run, for what has no outcome, batches or hook; raises InvalidInput if it runs, or there is nothing.

        If nothing lacks an outcome, but the last run's cleanup was cut off, do what that left to do.
        """
        status = self.status()
        if not status.ended:
            raise InvalidInput(f"job {self.id} of {self.api} is {status.status}", hint="stop it, or wait for its end")
        records, services = self._records(), self._services
        if not status.resumable:
            if not self._clean_up(records, status):
                raise InvalidInput(f"every batch of job {self.id} of {self.api} has an outcome", hint="there is nothing to resume")
            return
        following = JobRef(self.api, self.id, records.job.run + 1)
        services.started.mark(following)
        # The workflow first, then its number: a repeat after a crash between the two finds the workflow, and leaves it alone.
        if services.engine.observe(following.workflow).workflow is None:
            with suppress(BatchflowError):  # cleanup has most likely done it; from here the queue service may be out of reach
                remove_queue(services, records.job)
            record = records.submission()
            submission = submission_from_document(record.submission, api=self.api)
            services.engine.submit(services.manifest(submission, self.api_version(), following), directory=record.directory)
        records.save_run(RunRecord(following.run, services.engine.place))

    def logs(
        self,
        *,
        worker: str | None = None,
        container: str | None = None,
        follow: bool = False,
        without: Collection[str] = ARGO_CONTAINERS,
        stop: Event | None = None,
    ) -> Iterator[LogLine]:
        """Lines of the run's containers but those named in `without`; of pods that are gone, the last ones, which cleanup saved.

        `worker` is a number, a step's name, or a pod's. Raises NotFound if the job has no such worker or container (yet, unless `follow`).
        `follow` goes on until the job ended, or another thread has set `stop`.
        """
        return log_lines(
            self._services.engine, self._records(), worker=worker, container=container, follow=follow, without=without, stop=stop
        )

    def failures(self) -> Iterator[FailedBatch]:
        """Every failed batch so far, in order, with its items, which are cut again from the input."""
        records = self._records()
        accounting = Accounting(records.request_and_total()[1] or 0)
        last: dict[int, Outcome] = {}
        for outcome in records.outcomes():
            accounting.add(outcome)
            if outcome.outcome == FAILED:
                last[outcome.index] = outcome
        failed = frozenset(accounting.failed_indexes())
        submission = submission_from_document(records.submission().submission, api=self.api)
        bodies = recut(submission.source, records.inputs(), self._services.sources, failed)
        for index in sorted(failed):
            yield FailedBatch(last[index], bodies.get(index))

    def _clean_up(self, records: JobRecords, status: JobStatus) -> bool:
        """As cleanup: the final status first, then the queue; False if both was done."""
        is_final = self._final(records) is not None
        if not is_final:
            records.save_final(FinalStatus(records.job.run, status.to_dict()))
        with suppress(BatchflowError):  # from here the queue service may be out of reach
            return remove_queue(self._services, records.job) or not is_final
        return not is_final

    def _look(self) -> tuple[JobStatus, float]:
        """The status, and how many seconds it took to find."""
        began = time.monotonic()
        return self.status(), time.monotonic() - began

    def _submitted(self) -> SubmissionRecord:
        self._request = self._request or self._records().request()
        return self._request

    def _records(self) -> JobRecords:
        first = JobRecords(self._services.store, JobRef(self.api, self.id))
        return JobRecords(self._services.store, JobRef(self.api, self.id, first.latest_run()))

    def _final(self, records: JobRecords) -> FinalStatus | None:
        """The latest run's, not one before it."""
        final = records.final()
        return final if final and final.run == records.job.run else None

    def _facts(self, records: JobRecords, depth: Callable[[Checkpoint], Depth | None] | None = None) -> Facts:
        engine = self._services.engine
        seen = engine.observe(records.job.workflow)
        place = records.place() if seen.workflow is None and not seen.pods else engine.place
        return gather(
            records,
            hook_due=self.api_version().has_hook,
            workflow=seen.workflow,
            pods=seen.pods,
            explanation=seen.message,
            elsewhere=place if place and place != engine.place else "",
            depth=depth,
        )

    def _depth(self, checkpoint: Checkpoint) -> Depth | None:
        if not checkpoint.queue_url:
            return None
        try:
            with closing(self._services.queues.open(checkpoint.queue_url)) as queue:
                return queue.depth()
        except BatchflowError:  # gone, or out of reach from here: the counters will do
            return None
