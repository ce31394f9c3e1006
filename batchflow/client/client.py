"""From a submission to a job; jobs and apis by their names."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from batchflow.client import deletion, deployment, listing, pruning
from batchflow.client.deployment import Deployment
from batchflow.client.job import Job
from batchflow.client.listing import ApiSummary, JobList
from batchflow.client.plan import NO_JOB, Plan, check_plan, plan_submission
from batchflow.client.pruning import Pruned
from batchflow.client.removal import Told
from batchflow.client.services import Services
from batchflow.client.upload import OnProgress, upload_local_paths
from batchflow.enqueuer import DryRun, check_source, dry_run
from batchflow.errors import BatchflowError, Conflict
from batchflow.records import JobRef, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import Submission
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import SourceFile

__all__ = ["Client"]


def _tell_nobody(_: str) -> None:
    """For callers that want no word on what takes time."""


def _ignore_progress(*_: int) -> None:
    """For callers that want no word on an upload."""


class Client:
    """Submits jobs and finds them; deploys apis; deletes both."""

    def __init__(self, settings: Settings) -> None:
        self._services = Services(settings)

    @property
    def store_url(self) -> str:
        """Where it looks for apis and jobs."""
        return self._services.store.url

    def plan(self, submission: Submission) -> Plan:
        """Find the api and pack its project; raises InvalidInput or NotFound. A deployed api is looked up in the store."""
        return plan_submission(self._services, submission)

    def dry_run(self, submission: Submission, *, on_file: Callable[[SourceFile], None]) -> DryRun:
        """Check everything, tell `on_file` each file, and count the batches by cutting them; creates nothing."""
        self._check(self.plan(submission), NO_JOB)
        return dry_run(submission.source, self._services.sources, on_file=on_file)

    def submit(self, submission: Submission, *, job_id: str | None = None, on_upload: OnProgress = _ignore_progress) -> Job:
        """Check everything, then create the job; the same submission under the same id again gives the same job.

        Local files go to the store first if the job runs on a cluster: `on_upload` is `upload_local_paths`' `on_progress`.
        Raises InvalidInput before anything is created, Conflict if `job_id` is taken by another submission.
        """
        plan = self.plan(submission)
        self._check(plan, job_id or NO_JOB)
        while True:
            ref = JobRef(plan.api.name, job_id or new_job_id(time.time_ns()))
            records = JobRecords(self._services.store, ref)
            if job_id and records.has_any and not records.exists:
                hint = f"repeat that: batchflow delete {ref.api} {job_id}; or choose another id"
                raise Conflict(f"job {job_id} of {ref.api} was deleted halfway", where="--job-id", hint=hint)
            self._services.started.mark(ref)  # before anything is stored for the job: see pruning.py
            try:
                plan = self._uploaded(plan, on_upload)
                plan.save_api(self._services.apis)
            except BaseException:
                if not job_id:  # else another submission of the same job may rely on it
                    with contextlib.suppress(BatchflowError):
                        self._services.started.unmark([ref])
                raise
            record = plan.record(ref.job_id, self._services.engine.place)
            if records.create_submission(record) or records.submission().nonce == record.nonce:
                plan.save_api(self._services.apis)
                return self._start(plan, records)
            if job_id:
                return self._repeat(plan, records)

    def get(self, api: str, job_id: str) -> Job:
        """A job by its names; raises NotFound."""
        JobRecords(self._services.store, JobRef(api, job_id)).request()
        return Job(self._services, api, job_id)

    def apis(self) -> list[ApiSummary]:
        """Every api that is deployed or has jobs, by name."""
        return listing.summarize_apis(self._services)

    def jobs(self, api: str, *, limit: int) -> JobList:
        """The newest jobs of an api; raises NotFound if there is no such api."""
        return listing.list_jobs(self._services, api, limit)

    def job_ids(self, api: str) -> list[str]:
        """Newest first; raises NotFound if there is no such api."""
        return listing.job_ids(self._services, api)

    def deploy(self, file: Path) -> list[Deployment]:
        """Deploy every api of a cortex.yaml, or none if one is bad: see `deployment.deploy`."""
        return deployment.deploy(self._services, file)

    def delete_api(self, api: str, *, keep_cache: bool = False, told: Told = _tell_nobody) -> None:
        """Undeploy an api, stop its jobs, delete them: see `deletion.delete_api`."""
        deletion.delete_api(self._services, api, keep_cache=keep_cache, told=told)

    def delete_job(self, api: str, job_id: str, *, force: bool = False, told: Told = _tell_nobody) -> None:
        """Delete a job that ended: see `deletion.delete_job`."""
        deletion.delete_job(self._services, api, job_id, force=force, told=told)

    def prune(self, older_than: timedelta, *, api: str = "", dry_run: bool = False, told: Told = _tell_nobody) -> Pruned:
        """Delete the jobs that ended longer ago, and what nobody needs: see `pruning.prune`."""
        return pruning.prune(self._services, older_than, api=api, dry_run=dry_run, told=told)

    def _check(self, plan: Plan, job_id: str) -> None:
        """Raise what compiler and engine have against it; see that the source has a file."""
        check_plan(self._services, plan, job_id)
        check_source(plan.submission.source, self._services.sources)

    def _uploaded(self, plan: Plan, on_upload: OnProgress) -> Plan:
        if self._services.settings.engine == "local":
            return plan
        return replace(
            plan, submission=upload_local_paths(plan.submission, self._services.store, self._services.sources, on_progress=on_upload)
        )

    def _start(self, plan: Plan, records: JobRecords) -> Job:
        try:
            self._services.engine.submit(self._services.manifest(plan.submission, plan.api, records.job), directory=plan.directory)
        except BaseException:
            # If the workflow is there all the same, or that can't be known, it needs its records.
            with contextlib.suppress(BatchflowError):
                if self._services.engine.observe(records.job.workflow).workflow is None:
                    records.delete()
                    self._services.started.unmark([records.job])
            raise
        return Job(self._services, records.job.api, records.job.job_id)

    def _repeat(self, plan: Plan, records: JobRecords) -> Job:
        ref = records.job
        if not records.submission().same_request(plan.record(ref.job_id, self._services.engine.place)):
            raise Conflict(
                f"job {ref.job_id} of {ref.api} is another submission (its input, its api or its project's files differ)",
                where="--job-id",
                hint="choose another id",
            )
        job = Job(self._services, ref.api, ref.job_id)
        if job.status().resumable:
            job.resume()
        return job
