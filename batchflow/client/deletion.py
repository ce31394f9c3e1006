"""Deletes apis and jobs. Every order here is such that a repeat completes what was cut off, and no reader finds half a job or api."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from batchflow.client.job import Job
from batchflow.client.listing import THREADS, running_jobs
from batchflow.client.plan import job_ref, not_there
from batchflow.client.pruning import forget_keys, remove_unneeded
from batchflow.client.removal import END_LIMIT_S, POLL_S, Told, endless, remove_job
from batchflow.client.services import Services
from batchflow.client.survey import Survey
from batchflow.errors import InvalidInput, NotFound
from batchflow.records import check_api_name
from batchflow.store.jobs import JobRecords

__all__ = ["delete_api", "delete_job"]


def delete_api(services: Services, api: str, *, keep_cache: bool, told: Told) -> None:
    """Undeploy an api and stop its jobs; then, unless `keep_cache`, delete all records of its jobs, and its versions.

    A job that is submitted meanwhile stays, with its version. Raises NotFound if there is no such api, Unreachable if a job does not
    end in time: then no job was deleted.
    """
    apis = services.apis
    check_api_name(api)
    if api not in apis.names():
        raise not_there(services, api)
    apis.undeploy(api)  # first, so that no new job gets it by its name
    ids = list(apis.job_ids(api))
    _stop(services, running_jobs(services, api), told)
    if keep_cache:
        return
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job_id: remove_job(services, api, job_id, told=told), ids))
    forget_keys(services, api, {(api, job_id) for job_id in ids})
    # Last: without its version a job's status can't be told.
    _, held = remove_unneeded(services, Survey(services, api))
    if held:
        told(f"somebody submits a job of {api} or deploys it just now: its versions are left for prune")


def delete_job(services: Services, api: str, job_id: str, *, force: bool, told: Told) -> None:
    """Delete a job that ended, or what a deletion left of one; `force` stops one that runs first.

    Raises NotFound, InvalidInput if it runs, Unreachable if it does not end in time.
    """
    records, job = JobRecords(services.store, job_ref(services, api, job_id)), Job(services, api, job_id)
    if not records.has_any:
        records.submission()  # raises NotFound
    if records.exists and not job.ended():
        if not force:
            hint = f"stop it first, with batchflow stop {api} {job_id}, or say --force"
            raise InvalidInput(f"{job_id} ({api} api): is running", hint=hint)
        _stop(services, [job], told)
    remove_job(services, api, job_id, told=told)


def _stop(services: Services, jobs: Sequence[Job], told: Told) -> None:
    """Stop the jobs and wait for their ends; raises Unreachable."""
    for job in jobs:
        told(f"stopping job {job.id}")
    left, deadline = jobs, time.monotonic() + END_LIMIT_S
    while left:
        for job in left:
            with suppress(NotFound):  # one that was just submitted may have no workflow yet; it is asked again
                services.engine.stop(job.workflow)
        time.sleep(POLL_S)
        left = [job for job in left if not job.ended()]
        if left and time.monotonic() > deadline:
            raise endless(left[0].api, [job.id for job in left])
