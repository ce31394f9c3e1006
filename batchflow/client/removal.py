"""Removes a job that ended, with everything that belongs to it alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from batchflow.client.services import Services
from batchflow.contract import STEP_CLEANUP
from batchflow.engines.protocol import Observation, worker_of
from batchflow.enqueuer import queue_name
from batchflow.errors import BatchflowError, Unreachable
from batchflow.records import JobRef
from batchflow.status import workflow as workflow_status
from batchflow.status.pods import is_alive
from batchflow.store.jobs import JobRecords

__all__ = ["END_LIMIT_S", "POLL_S", "Told", "endless", "remove_job", "remove_queue"]

# For workers' grace period, and for a cleanup pod that has to be scheduled.
END_LIMIT_S: Final = 300.0
POLL_S: Final = 1.0

Told = Callable[[str], None]  # gets a line for what takes time or went wrong on the way


def remove_job(services: Services, api: str, job_id: str, *, told: Told) -> None:
    """Remove queues, workflows and records, or what a removal that was cut off has left of them.

    Waits for a run whose cleanup is not done yet. Raises Unreachable if one does not end in time; then the job is still there.
    """
    records = JobRecords(services.store, JobRef(api, job_id))
    marked = set(services.started.list(api, job_id))  # also a run that `resume` has started and not noted yet
    runs = marked | {JobRef(api, job_id, run) for run in range(1, records.latest_run() + 1)}
    for run in runs:
        _wait_for_cleanup(services, run)
    try:
        for run in runs:
            remove_queue(services, run)
    except BatchflowError as error:  # cleanup has most likely done it; from here the queue service may be out of reach
        told(f"the queue of job {job_id} can't be removed: {error}")
    for run in runs:
        services.engine.delete(run.workflow)
    records.delete()  # after what is found by them
    services.started.unmark(marked)


def remove_queue(services: Services, run: JobRef) -> bool:
    """Remove the queue of a run; False if there is none. It is looked for by its name: no record need tell of it."""
    queue = services.queues.find(queue_name(run, services.store.url))
    if queue is None:
        return False
    services.queues.remove(queue.url)
    return True


def endless(api: str, job_ids: Sequence[str]) -> Unreachable:
    """The error for jobs that do not end in time."""
    what = f"still running {END_LIMIT_S:.0f} s after they were to end: {', '.join(job_ids)}"
    return Unreachable(what, where=api, hint=f"see what batchflow get {api} {job_ids[0]} says, and try again")


def _wait_for_cleanup(services: Services, run: JobRef) -> None:
    """A status is final before cleanup has saved the logs, which would be left behind."""
    deadline = time.monotonic() + END_LIMIT_S
    while not _has_ended(services.engine.observe(run.workflow)):
        if time.monotonic() > deadline:
            raise endless(run.api, [run.job_id])
        time.sleep(POLL_S)


def _has_ended(seen: Observation) -> bool:
    """Workflow and cleanup's pod: after a deadline that outlives its workflow, and would write its logs after the deletion."""
    if seen.workflow is not None and not workflow_status.ended(seen.workflow):
        return False
    return not any(worker_of(pod) == STEP_CLEANUP and is_alive(pod) for pod in seen.pods)
