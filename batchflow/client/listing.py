"""What `get` lists. Its cost grows with what runs and what is shown, not with the jobs that ever were."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from batchflow.client.job import Job
from batchflow.client.plan import not_there
from batchflow.client.services import Services
from batchflow.errors import NotFound, Unreachable
from batchflow.records import DeploymentRecord, JobRef, SubmissionRecord, check_api_name
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords

__all__ = ["THREADS", "ApiSummary", "JobList", "job_ids", "list_jobs", "running_jobs", "summarize_apis"]

THREADS: Final = 16  # requests to the store at a time


@dataclass(frozen=True, slots=True)
class ApiSummary:
    """An api that is deployed or has jobs."""

    name: str
    deployed: DeploymentRecord | None
    running_jobs: int
    latest: SubmissionRecord | None  # the newest job's, without its source


@dataclass(frozen=True, slots=True)
class JobList:
    """An api's newest jobs; `more` older ones are left out."""

    deployed: DeploymentRecord | None
    endpoint: str | None  # of the deployed version
    statuses: list[JobStatus]
    more: int


def summarize_apis(services: Services) -> list[ApiSummary]:
    """Every api, by name."""
    running = Counter(job.api for job in running_jobs(services))

    def summary(name: str) -> ApiSummary:
        return ApiSummary(name, services.apis.deployed(name), running[name], _latest(services, name))

    with ThreadPoolExecutor(THREADS) as pool:
        return [api for api in pool.map(summary, services.apis.names()) if api.deployed or api.latest]


def list_jobs(services: Services, api: str, limit: int) -> JobList:
    """The newest `limit` jobs, in the order of their ids. Raises NotFound if there is no such api."""
    ids = job_ids(services, api)
    deployed = services.apis.deployed(api)
    endpoint = services.apis.api(api, deployed.api_id).endpoint if deployed else None

    def status(job_id: str) -> JobStatus | None:
        try:
            return Job(services, api, job_id).status()
        except NotFound:  # it is being deleted
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = [found for found in pool.map(status, ids[:limit]) if found]
    return JobList(deployed, endpoint, statuses, len(ids[limit:]))


def job_ids(services: Services, api: str) -> list[str]:
    """Newest first; raises NotFound if there is no such api."""
    ids = list(services.apis.job_ids(check_api_name(api)))
    if not ids and services.apis.deployed(api) is None:
        raise not_there(services, api)
    return ids


def running_jobs(services: Services, api: str = "") -> list[Job]:
    """The jobs that have not ended, of an api or all.

    They are found by the marks of started runs; the marks of those that have ended are taken away on the way.
    """
    runs = list(services.started.list(api))
    with ThreadPoolExecutor(THREADS) as pool:
        over = {run for run, is_over in zip(runs, pool.map(lambda run: _is_over(services, run), runs), strict=True) if is_over}
        left = sorted({(run.api, run.job_id) for run in runs if run not in over})
        running = list(pool.map(lambda names: _is_running(Job(services, *names)), left))
    with suppress(Unreachable):  # who may only read the store leaves them to others
        services.started.unmark(over)
    return [Job(services, *names) for names, runs in zip(left, running, strict=True) if runs]


def _latest(services: Services, api: str) -> SubmissionRecord | None:
    for job_id in services.apis.job_ids(api):
        with suppress(NotFound):  # it is being deleted
            return JobRecords(services.store, JobRef(api, job_id)).request()
    return None


def _is_over(services: Services, run: JobRef) -> bool:
    """Whether this run, or a later one of its job, has a final status."""
    final = JobRecords(services.store, run).final()
    return final is not None and final.run >= run.run


def _is_running(job: Job) -> bool:
    try:
        return not job.ended()
    except NotFound:  # it is not submitted yet, or being deleted
        return False
