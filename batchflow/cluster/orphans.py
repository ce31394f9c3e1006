"""What nobody uses any more, or nobody ends: queues without a run, workflows without a job, runs without a workflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from batchflow import contract
from batchflow.cluster.check import JOB_NAME
from batchflow.enqueuer import queue_name
from batchflow.errors import BatchflowError
from batchflow.records import MAX_RUN, JobRef, new_job_id
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import Store
from batchflow.store.started import StartedRuns

__all__ = ["QUEUE_PREFIX", "Orphan", "Workflows", "find_orphans"]

QUEUE_PREFIX: Final = "cx_"
# A check that is still under way has queues of its own, and a run that was just submitted has no workflow yet.
CHECK_TAKES: Final = timedelta(hours=1)
SUBMIT_TAKES: Final = timedelta(minutes=5)

_QUEUE: Final = re.compile(r"cx_[0-9a-f]{8}_b_(?P<api>[a-z][-a-z0-9]*)_(?P<job_id>[0-9a-f]{16})\.fifo")
_COMPLETED: Final = "workflows.argoproj.io/completed"  # Argo's label

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Orphan:
    """What it is and why it is one; how to be rid of it. `queue`: its name if it is a queue that can be removed at once."""

    what: str
    hint: str
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Workflows:
    """The workflows of a namespace that have a job's labels, by name: whether each has ended."""

    ended: Mapping[str, bool]
    jobs: Mapping[str, JobRef]

    @classmethod
    def of(cls, metadata: Iterable[Mapping[str, Any]]) -> Workflows:
        ended, jobs = {}, {}
        for one in metadata:
            name, labels = one["name"], one["labels"]
            ended[name] = labels.get(_COMPLETED) == "true"
            try:
                jobs[name] = JobRef(labels[contract.LABEL_API], labels[contract.LABEL_JOB], int(labels[contract.LABEL_RUN]))
            except (BatchflowError, KeyError, ValueError):  # somebody else's labels
                continue
        return cls(ended, jobs)


def find_orphans(
    queues: Iterable[str], workflows: Workflows, store: Store, namespace: str, now: datetime, *, tick: Callable[[], None]
) -> Iterator[Orphan]:
    """`queues` are names that were listed before `workflows`, or a queue just made would seem to be without one.

    `tick` is called before each thing is looked at; what it raises ends the search.
    """
    yield from _queues(_ticking(queues, tick), workflows, store, now)
    for name, run in _ticking(workflows.jobs.items(), tick):
        if not JobRecords(store, run).exists:
            what = f"workflow {name}: {store.url} has no job {run.job_id} of {run.api}"
            yield Orphan(what, f"kubectl -n {namespace} delete workflow {name}")
    yield from _runs(_ticking(StartedRuns(store).list(), tick), workflows, store, namespace, now)


def _ticking(things: Iterable[_Thing], tick: Callable[[], None]) -> Iterator[_Thing]:
    for thing in things:
        tick()
        yield thing


def _queues(names: Iterable[str], workflows: Workflows, store: Store, now: datetime) -> Iterator[Orphan]:
    """A run without a final status may go on where this namespace's workflows do not show it: its queue is left alone."""
    for name in names:
        run = _run_of(name, store.url)
        if run is None or workflows.ended.get(run.workflow) is False:
            continue
        if run.api == JOB_NAME:
            is_old = run.job_id > new_job_id(int((now - CHECK_TAKES).timestamp() * 1e9))  # newer ids are smaller
            reason = "a check of doctor's was cut off" if is_old else ""
        else:
            reason = _reason(run, workflows, store)
        if reason:
            yield Orphan(f"queue {name}: {reason}", "batchflow doctor --delete-orphans", name)


def _runs(started: Iterable[JobRef], workflows: Workflows, store: Store, namespace: str, now: datetime) -> Iterator[Orphan]:
    """Those that never came to a final status, and whose workflow is gone."""
    for run in started:
        marked_at = None if run.workflow in workflows.ended else StartedRuns(store).marked_at(run)
        if marked_at is None or now - marked_at < SUBMIT_TAKES:
            continue
        records = JobRecords(store, run)
        if records.exists and not _is_final(records):
            what = f"job {run.job_id} of {run.api}: run {run.run} has neither a final status nor a workflow in {namespace}"
            yield Orphan(what, f"batchflow resume {run.api} {run.job_id} goes on with it, batchflow delete removes it")


def _run_of(name: str, store_url: str) -> JobRef | None:
    """The run that has a queue of this name; None if it is another store's, or no job's."""
    match = _QUEUE.fullmatch(name)
    if match is None:
        return None
    try:
        runs = (JobRef(match["api"], match["job_id"], run) for run in range(1, MAX_RUN + 1))
        return next((run for run in runs if queue_name(run, store_url) == name), None)
    except BatchflowError:  # no name that an api can have
        return None


def _reason(run: JobRef, workflows: Workflows, store: Store) -> str:
    """Why the run needs no queue any more; "" if it may need one."""
    records = JobRecords(store, run)
    if not records.exists:
        return "its job was deleted"
    if _is_final(records):
        return "its job has ended"
    return "its workflow has ended" if workflows.ended.get(run.workflow) else ""


def _is_final(records: JobRecords) -> bool:
    final = records.final()
    return final is not None and final.run >= records.job.run
