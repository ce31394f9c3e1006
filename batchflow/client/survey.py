"""Which jobs there are, when they ended, and what they need."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from batchflow.client.job import Job
from batchflow.client.listing import THREADS
from batchflow.client.services import Services
from batchflow.errors import NotFound
from batchflow.records import JobRef
from batchflow.store.jobs import ApiRecords, JobRecords
from batchflow.store.shared import Shared, stored, uploads_in

__all__ = ["JobFacts", "Survey"]

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """`ended` is None while the job runs. `status` is empty unless it is final. What a deletion left of a job ended long ago."""

    api: str
    job_id: str
    api_id: str = ""
    status: str = ""
    ended: datetime | None = _LONG_AGO
    uploads: frozenset[str] = frozenset()


class Survey:
    """The jobs of an api, or of all if that is empty.

    Attributes:
        api: as given.
        stored: what there was to be needed, before the first job was read.
    """

    def __init__(self, services: Services, api: str) -> None:
        self._services = services
        self.api = api
        self.stored = stored(services.store, api)
        self._jobs: dict[tuple[str, str], JobFacts] = {}
        self._forgotten: set[tuple[str, str]] = set()
        self.read_new()

    def jobs(self) -> list[JobFacts]:
        """As they were read, by api, newest first."""
        return [self._jobs[names] for names in sorted(self._jobs)]

    def read_new(self) -> None:
        """Read the jobs that were never read here: what a job names does not change."""
        ids = ((api, job_id) for api in self._names() for job_id in self._services.apis.job_ids(api))
        new = [names for names in ids if names not in self._jobs and names not in self._forgotten]
        # Without uploads submissions need not be read with their items, which may be many megabytes.
        with_uploads = bool(self.stored.uploads)
        with ThreadPoolExecutor(THREADS) as pool:
            for job in pool.map(lambda names: _read(self._services, *names, with_uploads=with_uploads), new):
                self._jobs[job.api, job.job_id] = job

    def forget(self, jobs: Iterable[JobFacts]) -> None:
        """As if these were not there, though they may be."""
        for job in jobs:
            del self._jobs[job.api, job.job_id]
            self._forgotten.add((job.api, job.job_id))

    def deployed(self) -> frozenset[tuple[str, str]]:
        """The deployed versions, as they are now."""
        apis = self._services.apis
        return frozenset((name, record.api_id) for name in self._names() if (record := apis.deployed(name)))

    def needed(self, deployed: frozenset[tuple[str, str]]) -> Shared:
        """What the jobs and the deployed versions name."""
        versions = deployed | {(job.api, job.api_id) for job in self._jobs.values() if job.api_id}
        projects = (_project(self._services.apis, version) for version in versions)
        uploads = (name for job in self._jobs.values() for name in job.uploads)
        return Shared(versions, frozenset(filter(None, projects)), frozenset(uploads))

    def _names(self) -> list[str]:
        return [self.api] if self.api else self._services.apis.names()


def _read(services: Services, api: str, job_id: str, *, with_uploads: bool) -> JobFacts:
    records = JobRecords(services.store, JobRef(api, job_id))
    try:
        request = records.request()
        uploads = uploads_in(records.submission().submission) if with_uploads else frozenset()
    except NotFound:
        return JobFacts(api, job_id)
    final = records.final()
    if final and final.run == records.latest_run():
        return JobFacts(api, job_id, request.api_id, final.status["status"], datetime.fromisoformat(final.status["end_time"]), uploads)
    ended = datetime.fromisoformat(request.created_time) if _has_ended(Job(services, api, job_id)) else None
    return JobFacts(api, job_id, request.api_id, "", ended, uploads)


def _has_ended(job: Job) -> bool:
    try:
        return job.ended()
    except NotFound:  # its version is gone, so that nobody can tell
        return False


def _project(apis: ApiRecords, version: tuple[str, str]) -> str | None:
    try:
        return apis.api(*version).project
    except NotFound:  # it is being deleted, and its job with it
        return None
