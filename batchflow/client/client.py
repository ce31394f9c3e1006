"""From a submission to a job; and jobs by their names."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from batchflow.client.job import Job
from batchflow.client.services import Services
from batchflow.enqueuer import DryRun, check_source, dry_run
from batchflow.errors import Conflict, NotFound
from batchflow.records import JobRef, SubmissionRecord, check_api_name, new_job_id
from batchflow.settings import Settings
from batchflow.spec.api import load_api
from batchflow.spec.model import Api, Submission
from batchflow.spec.project import Project, with_project
from batchflow.spec.stored import api_document, api_id, submission_document
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.protocol import SourceFile

__all__ = ["Client", "Plan"]

NO_JOB: Final = "0" * 16  # where a manifest is made for its errors only


@dataclass(frozen=True, slots=True)
class Plan:
    """A submission with everything that belongs to it, checked, and nothing created yet."""

    submission: Submission
    api: Api
    api_id: str
    project: Project | None
    directory: str  # of the api's file, "" for a deployed api

    def record(self, job_id: str) -> SubmissionRecord:
        """submission.json, as of now."""
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = submission_document(self.submission)
        return SubmissionRecord(self.api.name, self.api_id, job_id, created, body, self.directory, uuid.uuid4().hex)


class Client:
    """Submits jobs and finds them."""

    def __init__(self, settings: Settings) -> None:
        self._services = Services(settings)

    @property
    def apis(self) -> ApiRecords:
        return self._services.apis

    def plan(self, submission: Submission) -> Plan:
        """Find the api and pack its project; raises InvalidInput or NotFound. A deployed api is looked up in the store."""
        if submission.api_file:
            file = Path(submission.api_file)
            api, project = with_project(load_api(file, submission.api), file)
            return Plan(submission, api, api_id(api_document(api)), project, str(file.parent))
        current = self.apis.current_id(submission.api)
        if current is None:
            raise self._not_deployed(submission.api)
        return Plan(submission, self.apis.api(submission.api, current), current, None, "")

    def dry_run(self, submission: Submission, *, on_file: Callable[[SourceFile], None]) -> DryRun:
        """Check everything, tell `on_file` each file, and count the batches by cutting them; creates nothing."""
        self._check(self.plan(submission), NO_JOB)
        return dry_run(submission.source, self._services.sources, on_file=on_file)

    def submit(self, submission: Submission, *, job_id: str | None = None) -> Job:
        """Check everything, then create the job; the same submission under the same id again gives the same job.

        Raises InvalidInput before anything is created, Conflict if `job_id` is taken by another submission.
        """
        plan = self.plan(submission)
        self._check(plan, job_id or NO_JOB)
        if plan.project:
            self.apis.save_project(plan.project.sha256, plan.project.data)
        self.apis.save(plan.api.name, plan.api_id, api_document(plan.api))
        while True:
            ref = JobRef(plan.api.name, job_id or new_job_id(time.time_ns()))
            records = JobRecords(self._services.store, ref)
            record = plan.record(ref.job_id)
            if records.create_submission(record) or records.submission().nonce == record.nonce:
                return self._start(plan, records)
            if job_id:
                return self._repeat(plan, records)

    def get(self, api: str, job_id: str) -> Job:
        """A job by its names; raises NotFound."""
        JobRecords(self._services.store, JobRef(api, job_id)).request()
        return Job(self._services, api, job_id)

    def job_ids(self, api: str) -> list[str]:
        """Newest first; raises NotFound if there is no such api."""
        ids = self.apis.job_ids(check_api_name(api))
        if not ids and self.apis.current_id(api) is None:
            raise self._not_deployed(api)
        return ids

    def _check(self, plan: Plan, job_id: str) -> None:
        """Open the engine and compile once, for their errors; see that the source has a file."""
        _ = self._services.engine
        self._services.manifest(plan.submission, plan.api, JobRef(plan.api.name, job_id))
        check_source(plan.submission.source, self._services.sources)

    def _start(self, plan: Plan, records: JobRecords) -> Job:
        try:
            self._services.engine.submit(self._services.manifest(plan.submission, plan.api, records.job), directory=plan.directory)
        except BaseException:
            if self._services.engine.observe(records.job.workflow).workflow is not None:
                raise  # it is there all the same, and needs its records
            self._services.store.delete(list(self._services.store.list(records.prefix)))
            raise
        return Job(self._services, records.job.api, records.job.job_id)

    def _repeat(self, plan: Plan, records: JobRecords) -> Job:
        ref = records.job
        if not records.submission().same_request(plan.record(ref.job_id)):
            raise Conflict(
                f"job {ref.job_id} of {ref.api} is another submission (its input, its api or its project's files differ)",
                where="--job-id",
                hint="choose another id",
            )
        job = Job(self._services, ref.api, ref.job_id)
        if job.status().resumable:
            job.resume()
        return job

    def _not_deployed(self, api: str) -> NotFound:
        where = self._services.settings.store
        hint = "a job file can name the api's file: api: {file: cortex.yaml}"
        return NotFound(f"{api} is not deployed", where=where, hint=hint, kind="resources.api_not_deployed")
