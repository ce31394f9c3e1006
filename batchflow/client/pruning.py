"""Removes what is old: jobs that ended long ago, then whatever no job and no deployment needs any more.

A submission names what it needs only when its submission.json is written, after that was stored. It stays for it, because

- a submission marks its run (store/started.py) before it looks what is stored, and beside a mark that was not seen nothing is removed;
- what is stored is listed here before those who need it, and nothing is removed when others are deployed than were seen;
- `submit` and `deploy` store versions and projects again after they have named them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from batchflow.client.listing import THREADS
from batchflow.client.plan import not_deployed
from batchflow.client.removal import Told, remove_job
from batchflow.client.services import Services
from batchflow.client.survey import JobFacts, Survey
from batchflow.records import JobRef, check_api_name
from batchflow.store.jobs import JobRecords
from batchflow.store.shared import Shared, keys_of

__all__ = ["Pruned", "forget_keys", "prune", "remove_unneeded"]

# A mark without a job that is older is of a submission that was cut off.
SUBMITTING_AT_MOST: Final = timedelta(days=1)
_KEYS: Final = 1000  # deleted between two looks at the marks


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be. `held`: what is shared was not, or not all, because somebody submits or deploys just now."""

    jobs: Sequence[JobFacts]
    shared: Shared
    held: bool


def prune(services: Services, older_than: timedelta, *, api: str, dry_run: bool, told: Told) -> Pruned:
    """Remove the jobs that ended longer ago than that; then what nobody needs; of one api, unless it is empty, jobs and versions only.

    A job without a final status counts from its submission. Cut off halfway, a repeat completes it. Raises NotFound if there is no
    such api.
    """
    if api and check_api_name(api) not in services.apis.names():
        raise not_deployed(services, api, services.apis.names())
    before = datetime.now(UTC) - older_than
    survey = Survey(services, api)
    expired = [job for job in survey.jobs() if job.ended and job.ended < before]
    if not dry_run:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda job: remove_job(services, job.api, job.job_id, told=told), expired))
        forget_keys(services, api, {(job.api, job.job_id) for job in expired})
    survey.forget(expired)
    return Pruned(expired, *remove_unneeded(services, survey, dry_run=dry_run))


def forget_keys(services: Services, api: str, removed: Collection[tuple[str, str]]) -> None:
    """Delete the `Idempotency-Key`s of jobs that were removed, now or at a time when nobody looked for their keys."""
    before = datetime.now(UTC) - SUBMITTING_AT_MOST

    def is_unneeded(name: str) -> bool:
        found = services.keys.record(name)
        if found is None:
            return False
        key_api, record = found
        if (key_api, record.job_id) in removed:
            return True
        old = datetime.fromisoformat(record.created_time) < before
        return old and not JobRecords(services.store, JobRef(key_api, record.job_id)).exists

    with ThreadPoolExecutor(THREADS) as pool:
        names = list(services.keys.list(api))
        services.keys.delete([name for name, unneeded in zip(names, pool.map(is_unneeded, names), strict=True) if unneeded])


def remove_unneeded(services: Services, survey: Survey, *, dry_run: bool = False) -> tuple[Shared, bool]:
    """Remove what was stored when the survey began and nobody needs now. Returns what that is, and `Pruned.held`."""
    marks = frozenset(services.started.list(survey.api))
    under_way, cut_off = _unsubmitted(services, marks)
    if under_way:
        return Shared(), True
    if not dry_run:
        services.started.unmark(cut_off)
    survey.read_new()
    deployed = survey.deployed()
    unneeded = survey.stored.without(survey.needed(deployed))

    def is_quiet() -> bool:
        # The marks last: a submission may skip many files of an upload because they are there, and nobody would miss them.
        return deployed == survey.deployed() and marks.issuperset(services.started.list(survey.api))

    return unneeded, not dry_run and not _remove(services, unneeded, is_quiet)


def _remove(services: Services, unneeded: Shared, is_quiet: Callable[[], bool]) -> bool:
    """False if it was not completed, because somebody submits or deploys just now."""
    keys = keys_of(services.store, unneeded)
    while some := list(islice(keys, _KEYS)):
        if not is_quiet():
            return False
        services.store.delete(some)
    return True


def _unsubmitted(services: Services, marks: Iterable[JobRef]) -> tuple[list[JobRef], list[JobRef]]:
    """The marks of jobs that are not there: of those that are being submitted, and of those whose submission was cut off."""
    under_way: list[JobRef] = []
    cut_off: list[JobRef] = []
    for run in marks:
        if not JobRecords(services.store, run).exists:
            marked_at = services.started.marked_at(run)
            fresh = marked_at and datetime.now(UTC) - marked_at < SUBMITTING_AT_MOST
            (under_way if fresh else cut_off).append(run)
    return under_way, cut_off
