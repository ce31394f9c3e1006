"""Submit, watch, stop and resume jobs: what the CLI, the gateway and Python users call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from batchflow.engines.open import open_engine
from batchflow.engines.protocol import Engine, LogLine
from batchflow.enqueuer import DryRun, check_source, dry_run, recut
from batchflow.errors import BatchflowError, Conflict, InvalidInput, NotFound
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Depth, Queues
from batchflow.records import FAILED, Checkpoint, JobRef, Outcome, SubmissionRecord, new_job_id, submission_time
from batchflow.settings import Settings
from batchflow.spec.api import load_api
from batchflow.spec.model import Api, Submission
from batchflow.spec.project import Project, with_project
from batchflow.spec.stored import api_document, api_id, submission_document, submission_from_document
from batchflow.status.facts import current_status, gather
from batchflow.status.model import JobStatus
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.open import open_sources, open_store
from batchflow.store.protocol import SourceFile, Sources, Store

__all__ = ["Client", "FailedBatch", "Job", "Plan"]

POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """A submission with everything that belongs to it, checked, and nothing created yet."""

    submission: Submission
    api: Api
    api_id: str
    project: Project | None
    directory: str  # of the api's file, "" for a deployed api

    def record(self, job_id: str) -> SubmissionRecord:
        created = submission_time(job_id).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = submission_document(self.submission)
        return SubmissionRecord(self.api.name, self.api_id, job_id, created, body, self.directory)


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch whose final outcome is a failure. `items` is the JSON array that was sent, None if it can't be read again."""

    outcome: Outcome
    items: str | None


class Client:
    """Holds the services that settings name; each is opened when first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        if not self.settings.store:
            raise InvalidInput("is not set", where="BATCHFLOW_STORE", hint="name the store, such as s3://bucket/prefix, or use --local")
        return open_store(self.settings.store)

    @cached_property
    def apis(self) -> ApiRecords:
        return ApiRecords(self.store)

    @cached_property
    def queues(self) -> Queues:
        return open_queues(self.settings)

    @cached_property
    def sources(self) -> Sources:
        return open_sources(self.settings)

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.settings)

    def plan(self, submission: Submission) -> Plan:
        """Find the api, pack its project, compile once for its errors; raises InvalidInput or NotFound."""
        if submission.api_file:
            file = Path(submission.api_file)
            api, project = with_project(load_api(file, submission.api), file)
            identity = api_id(api_document(api))
            return Plan(submission, api, identity, project, str(file.parent))
        current = self.apis.current_id(submission.api)
        if current is None:
            raise NotFound(f"{submission.api} is not deployed", where=self.settings.store, kind="resources.api_not_deployed")
        return Plan(submission, self.apis.api(submission.api, current), current, None, "")

    def dry_run(self, submission: Submission, *, on_file: Callable[[SourceFile], None]) -> DryRun:
        """Check everything, tell `on_file` each file, and count the batches by cutting them; creates nothing."""
        self._manifest(self.plan(submission), JobRef(submission.api, "0" * 16))
        check_source(submission.source, self.sources)
        return dry_run(submission.source, self.sources, on_file=on_file)

    def submit(self, submission: Submission, *, job_id: str | None = None) -> Job:
        """Check everything, then create the job; the same submission under the same id again gives the same job.

        Raises InvalidInput before anything is created, Conflict if `job_id` is taken by another submission.
        """
        plan = self.plan(submission)
        self._manifest(plan, JobRef(plan.api.name, job_id or new_job_id(time.time_ns())))
        check_source(submission.source, self.sources)
        if plan.project:
            self.apis.save_project(plan.project.sha256, plan.project.data)
        self.apis.save(plan.api.name, plan.api_id, api_document(plan.api))
        while True:
            ref = JobRef(plan.api.name, job_id or new_job_id(time.time_ns()))
            records = JobRecords(self.store, ref)
            if records.create_submission(plan.record(ref.job_id)):
                return self._start(plan, records)
            if job_id:
                return self._repeat(plan, records)

    def get(self, api: str, job_id: str) -> Job:
        """A job by its names; raises NotFound."""
        records = JobRecords(self.store, JobRef(api, job_id))
        records.submission()
        return Job(self, api, job_id)

    def job_ids(self, api: str) -> list[str]:
        """Newest first; raises NotFound if there is no such api."""
        ids = self.apis.job_ids(JobRef(api, "0" * 16).api)
        if not ids and self.apis.current_id(api) is None:
            raise NotFound(f"{api} is not deployed", where=self.settings.store, kind="resources.api_not_deployed")
        return ids

    def _manifest(self, plan: Plan, ref: JobRef) -> dict[str, Any]:
        from batchflow.compiler import compile_job  # hera takes most of a second to import; `get` and `logs` do without it

        manifest: dict[str, Any] = compile_job(plan.submission, plan.api, ref, self.settings).to_dict()
        return manifest

    def _start(self, plan: Plan, records: JobRecords) -> Job:
        try:
            self.engine.submit(self._manifest(plan, records.job), directory=plan.directory)
        except BatchflowError:
            self.store.delete(list(self.store.list(records.prefix)))
            raise
        return Job(self, records.job.api, records.job.job_id)

    def _repeat(self, plan: Plan, records: JobRecords) -> Job:
        ref = records.job
        if not records.submission().same_request(plan.record(ref.job_id)):
            raise Conflict(f"job {ref.job_id} of {ref.api} is another submission", where="--job-id", hint="choose another id")
        job = Job(self, ref.api, ref.job_id)
        status = job.status()
        if status.resumable:
            job.resume()
        return job


class Job:
    """A submitted job."""

    def __init__(self, client: Client, api: str, job_id: str) -> None:
        self._client = client
        self.api = api
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.api!r}, {self.id!r})"

    @property
    def workflow(self) -> str:
        """The name of the latest run's workflow."""
        return self._records().job.workflow

    def status(self) -> JobStatus:
        """The latest run's status; the final one once it ended."""
        records = self._records()
        final = records.final()
        if final and final.run == records.job.run:
            return JobStatus.from_dict(final.status)
        seen = self._client.engine.observe(records.job.workflow)
        facts = gather(
            records,
            hook_due=self._api().has_hook,
            workflow=seen.workflow,
            pods=seen.pods,
            explanation=seen.message,
            depth=self._depth(records.checkpoint()),
        )
        return current_status(records, facts, datetime.now(UTC))

    def api_spec(self) -> dict[str, Any]:
        """The api's entry as it was written when the job was submitted."""
        return dict(self._api().raw)

    def wait(self, on_status: Callable[[JobStatus], None] | None = None, *, poll_s: float = POLL_S) -> JobStatus:
        """Block until the job ended; `on_status` gets every status on the way, the final one too."""
        while True:
            status = self.status()
            if on_status:
                on_status(status)
            if status.ended:
                return status
            time.sleep(poll_s)

    def stop(self) -> None:
        """Ask the job to stop: workers finish the batch in hand within their grace period. Raises InvalidInput if it has ended."""
        if self.status().ended:
            raise InvalidInput(
                f"{self.id} ({self.api} api): cannot stop BatchAPI job because it is not in progress", kind="job.job_is_not_in_progress"
            )
        self._client.engine.stop(self.workflow)

    def resume(self) -> None:
        """Start the job's next run, for what has no outcome, batches or hook; raises InvalidInput if it runs, or there is nothing."""
        status = self.status()
        if not status.ended:
            raise InvalidInput(f"job {self.id} of {self.api} is {status.status}", hint="stop it, or wait for its end")
        records = self._records()
        if not status.resumable:
            raise InvalidInput(f"every batch of job {self.id} of {self.api} has an outcome", hint="there is nothing to resume")
        if checkpoint := records.checkpoint():
            self._client.queues.remove(checkpoint.queue_url)  # the old run's, if its cleanup could not
        record = records.submission()
        api = self._client.apis.api(self.api, record.api_id)
        submission = submission_from_document(record.submission, api=self.api)
        following = JobRef(self.api, self.id, records.job.run + 1)
        plan = Plan(submission, api, record.api_id, None, record.directory)
        # The workflow first: it is created once by its name, so a repeat after a crash between the two finds it.
        self._client.engine.submit(self._client._manifest(plan, following), directory=plan.directory)
        records.save_run(following.run)

    def logs(self, *, worker: str | None = None, container: str | None = None, follow: bool = False) -> Iterator[LogLine]:
        """Lines of the run's containers; the ones that cleanup saved, if the engine has forgotten the run."""
        records = self._records()
        seen = self._client.engine.observe(records.job.workflow)
        if seen.workflow or seen.pods:
            yield from self._client.engine.logs(records.job.workflow, worker=worker, container=container, follow=follow)
            return
        for pod, name in records.logs():
            if worker in (None, pod) and container in (None, name):
                for line in records.log(pod, name).decode(errors="replace").splitlines():
                    yield LogLine(pod, pod, name, line)

    def failures(self) -> Iterator[FailedBatch]:
        """Every failed batch so far, in order, with its items, which are cut again from the input."""
        records = self._records()
        final: dict[int, Outcome] = {}
        for outcome in records.outcomes():
            if final.setdefault(outcome.index, outcome).outcome == FAILED:
                final[outcome.index] = outcome
        failed = {index: outcome for index, outcome in sorted(final.items()) if outcome.outcome == FAILED}
        submission = submission_from_document(records.submission().submission, api=self.api)
        bodies = recut(submission.source, records.inputs(), self._client.sources, frozenset(failed))
        for index, outcome in failed.items():
            yield FailedBatch(outcome, bodies.get(index))

    def _api(self) -> Api:
        return self._client.apis.api(self.api, self._records().submission().api_id)

    def _records(self) -> JobRecords:
        first = JobRecords(self._client.store, JobRef(self.api, self.id))
        return JobRecords(self._client.store, JobRef(self.api, self.id, first.latest_run()))

    def _depth(self, checkpoint: Checkpoint | None) -> Depth | None:
        if checkpoint is None or not checkpoint.queue_url:
            return None
        try:
            return self._client.queues.open(checkpoint.queue_url).depth()
        except BatchflowError:  # gone, or out of reach from here: the counters will do
            return None
