"""From a submission to a job; jobs and apis by their names."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from batchflow.client import deletion, deployment, listing, pruning
from batchflow.client.deployment import Deployment
from batchflow.client.job import Job
from batchflow.client.listing import ApiSummary, JobList
from batchflow.client.plan import NO_JOB, Plan, check_plan, job_ref, plan_submission
from batchflow.client.pruning import Pruned
from batchflow.client.removal import Told
from batchflow.client.services import Services
from batchflow.client.upload import OnProgress, upload_local_paths
from batchflow.enqueuer import DryRun, check_source, dry_run, list_files
from batchflow.errors import BatchflowError, Conflict
from batchflow.queues.dead_letter import check_dead_letter_queue
from batchflow.records import DeploymentRecord, JobRef, KeyRecord, check_api_name, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import Api, ItemList, Submission
from batchflow.spec.stored import submission_from_document
from batchflow.store.endpoints import endpoints
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import SourceFile

__all__ = ["KEY_REUSED", "Client"]

KEY_REUSED: Final = "idempotency.key_reused"


def _tell_nobody(_: str) -> None:
    """For callers that want no word on what takes time."""


def _ignore_progress(*_: int) -> None:
    """For callers that want no word on an upload."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Client:
    """Submits jobs and finds them; deploys apis; deletes both."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str] = os.environ, sources: Sequence[str] = ("file",)) -> None:
        """`environ` and `sources` as `Services` takes them."""
        self._services = Services(settings, environ=environ, sources=sources)

    @property
    def services(self) -> Services:
        """What it works with; each is opened when it is first needed."""
        return self._services

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

    def files(self, submission: Submission) -> Iterator[SourceFile]:
        """Check everything, then list the files, a stream; creates nothing. Of an `item_list` there are none."""
        self._check(self.plan(submission), NO_JOB)
        source = submission.source
        return iter(()) if isinstance(source, ItemList) else list_files(source, self._services.sources)

    def submit_once(self, submission: Submission, key: str, body_sha256: str) -> Job:
        """The job that `key` stands for, created by whichever call with that key comes so far first.

        A call that was cut off anywhere is completed by its repeat; a job that ended or was stopped stays as it is.
        Raises as `submit`, and Conflict if the key came with another body before.
        """
        plan = self.plan(submission)
        known = self._services.keys.find(plan.api.name, key)
        if known and known.body_sha256 == body_sha256:
            records = JobRecords(self._services.store, JobRef(plan.api.name, known.job_id))
            if records.exists:  # not checked again: its input may be gone by now
                return self._started(plan, records)
        self._check(plan, NO_JOB)
        mine = KeyRecord(new_job_id(time.time_ns()), body_sha256, _now())
        claimed = self._services.keys.claim(plan.api.name, key, mine)
        if claimed.body_sha256 != body_sha256:
            raise Conflict("this Idempotency-Key came with another body before", hint="make a key for each submission", kind=KEY_REUSED)
        return self._create(plan, claimed.job_id, _ignore_progress, repeat=self._started)

    def submit(self, submission: Submission, *, job_id: str | None = None, on_upload: OnProgress = _ignore_progress) -> Job:
        """Check everything, then create the job; the same submission under the same id again gives the same job.

        Local files go to the store first if the job runs on a cluster: `on_upload` is `upload_local_paths`' `on_progress`.
        Raises InvalidInput before anything is created, Conflict if `job_id` is taken by another submission.
        """
        plan = self.plan(submission)
        self._check(plan, job_id or NO_JOB)
        return self._create(plan, job_id, on_upload, repeat=self._resumed)

    def _create(self, plan: Plan, job_id: str | None, on_upload: OnProgress, *, repeat: Callable[[Plan, JobRecords], Job]) -> Job:
        """`repeat` is for a job that has a submission already."""
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
                self._start(plan, records)
                return Job(self._services, ref.api, ref.job_id, record.without_source())
            if job_id:
                return repeat(plan, records)

    def get(self, api: str, job_id: str) -> Job:
        """A job by its names; raises NotFound, or InvalidInput if the api is there and `job_id` can't be a job's."""
        records = JobRecords(self._services.store, job_ref(self._services, api, job_id))
        return Job(self._services, api, job_id, records.request())

    def apis(self) -> list[ApiSummary]:
        """Every api that is deployed or has jobs, by name."""
        return listing.summarize_apis(self._services)

    def jobs(self, api: str, *, limit: int) -> JobList:
        """The newest jobs of an api; raises NotFound if there is no such api."""
        return listing.list_jobs(self._services, api, limit)

    def job_ids(self, api: str) -> list[str]:
        """Newest first; raises NotFound if there is no such api."""
        return listing.job_ids(self._services, api)

    def deployed(self, api: str) -> tuple[Api, DeploymentRecord] | None:
        """A deployed api and what is known of its deployment; None if it is not deployed. Raises NotFound for what can't be a name."""
        record = self._services.apis.deployed(check_api_name(api))
        return (self._services.apis.api(api, record.api_id), record) if record else None

    def endpoints(self) -> dict[str, str]:
        """The names of the deployed apis by their endpoints."""
        return endpoints(self._services.apis)

    def running(self, api: str = "") -> list[Job]:
        """The jobs that have not ended, of an api or all."""
        return listing.running_jobs(self._services, api)

    def versions(self, api: str) -> list[str]:
        """The ids of the versions of an api that are stored."""
        return self._services.apis.versions(api)

    def deploy(self, file: Path) -> list[Deployment]:
        """Deploy every api of a cortex.yaml, or none if one is bad: see `deployment.deploy`."""
        return deployment.deploy(self._services, file)

    def deploy_files(self, config: bytes, project: bytes | None, *, name: str) -> list[Deployment]:
        """Deploy the apis of a cortex.yaml that is not on this machine, with its project's files as a zip: see `bundle.deploy_files`."""
        from batchflow.client import bundle  # brings the step that unpacks, and with it PyYAML; `get` does without them

        return bundle.deploy_files(self._services, config, project, name=name)

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
        """Raise what compiler and engine have against it; see that the source has a file, and that there is a queue for failed batches."""
        check_plan(self._services, plan, job_id)
        check_source(plan.submission.source, self._services.sources)
        if queue := plan.submission.dead_letter_queue:
            check_dead_letter_queue(self._services.queues, queue.arn)

    def _uploaded(self, plan: Plan, on_upload: OnProgress) -> Plan:
        if self._services.settings.engine == "local":
            return plan
        return replace(
            plan, submission=upload_local_paths(plan.submission, self._services.store, self._services.sources, on_progress=on_upload)
        )

    def _start(self, plan: Plan, records: JobRecords) -> None:
        try:
            self._services.engine.submit(self._services.manifest(plan.submission, plan.api, records.job), directory=plan.directory)
        except BaseException:
            # If the workflow is there all the same, or that can't be known, it needs its records.
            with contextlib.suppress(BatchflowError):
                if self._services.engine.observe(records.job.workflow).workflow is None:
                    records.delete()
                    self._services.started.unmark([records.job])
            raise

    def _started(self, plan: Plan, records: JobRecords) -> Job:
        """Complete a submission that was cut off between its record and its workflow."""
        never_ran = records.latest_run() == 1 and records.checkpoint() is None and records.final() is None
        if never_ran and self._services.engine.observe(records.job.workflow).workflow is None:
            stored = records.submission()
            submission = submission_from_document(stored.submission, api=stored.api_name)
            api = self._services.apis.api(stored.api_name, stored.api_id)
            self._services.engine.submit(self._services.manifest(submission, api, records.job), directory=stored.directory)
        return Job(self._services, records.job.api, records.job.job_id)

    def _resumed(self, plan: Plan, records: JobRecords) -> Job:
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
