"""Which queues, workflows and runs are nobody's any more, and which are left alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchflow import contract
from batchflow.cluster.check import JOB_NAME
from batchflow.cluster.orphans import Orphan, Workflows, find_orphans
from batchflow.enqueuer import queue_name
from batchflow.records import FinalStatus, JobRef, SubmissionRecord, new_job_id
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords
from batchflow.store.protocol import Store
from batchflow.store.started import StartedRuns

JOB = JobRef("digits", "67158b9b04045cde")
NOW = datetime.now(UTC)
LATER = NOW + timedelta(hours=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return DirectoryStore(tmp_path)


def submitted(store: Store, job: JobRef = JOB, *, final_run: int = 0) -> None:
    records = JobRecords(store, job)
    records.create_submission(SubmissionRecord(job.api, "id", job.job_id, "2026-11-22T19:00:00Z", {}))
    if final_run:
        records.save_final(FinalStatus(final_run, {}))


def metadata(job: JobRef = JOB, *, ended: bool = False, **labels: str) -> dict[str, Any]:
    own = {contract.LABEL_API: job.api, contract.LABEL_JOB: job.job_id, contract.LABEL_RUN: str(job.run)}
    return {"name": job.workflow, "labels": {**own, "workflows.argoproj.io/completed": str(ended).lower(), **labels}}


def found(store: Store, *, queues: tuple[str, ...] = (), workflows: tuple[dict[str, Any], ...] = (), now: datetime = LATER) -> list[Orphan]:
    return list(find_orphans(queues, Workflows.of(workflows), store, "here", now, tick=lambda: None))


def queue(store: Store, job: JobRef = JOB) -> str:
    return queue_name(job, store.url)


def test_the_queue_of_a_running_workflow_is_left_alone(store: Store) -> None:
    submitted(store)
    assert found(store, queues=(queue(store),), workflows=(metadata(),)) == []


def test_the_queue_of_a_run_that_ended_is_an_orphan(store: Store) -> None:
    submitted(store, final_run=1)
    [orphan] = found(store, queues=(queue(store),))
    assert orphan.queue == queue(store) and "has ended" in orphan.what and "--delete-orphans" in orphan.hint


def test_the_queue_of_a_later_run_outlives_the_end_of_an_earlier_one(store: Store) -> None:
    second = JobRef(JOB.api, JOB.job_id, 2)
    submitted(store, final_run=1)
    assert found(store, queues=(queue(store, second),)) == []
    JobRecords(store, JOB).save_final(FinalStatus(2, {}))
    assert [orphan.queue for orphan in found(store, queues=(queue(store, second),))] == [queue(store, second)]


def test_the_queue_of_a_deleted_job_is_an_orphan(store: Store) -> None:
    [orphan] = found(store, queues=(queue(store),))
    assert "its job was deleted" in orphan.what


def test_the_queue_of_a_workflow_that_ended_without_a_final_status_is_an_orphan(store: Store) -> None:
    submitted(store)
    [orphan] = found(store, queues=(queue(store),), workflows=(metadata(ended=True),))
    assert "its workflow has ended" in orphan.what


def test_a_run_without_final_status_may_go_on_elsewhere_so_its_queue_is_left_alone(store: Store) -> None:
    submitted(store)
    assert found(store, queues=(queue(store),)) == []


@pytest.mark.parametrize(
    "name",
    [
        queue_name(JOB, "s3://another/store"),
        "cx_00000000_b_digits_67158b9b04045cde.fifo",
        f"cx_00000000_b_{'a' * 60}_67158b9b04045cde.fifo",
        "failed.fifo",
        "cx_anything.fifo",
    ],
)
def test_a_queue_of_others_is_left_alone(store: Store, name: str) -> None:
    assert found(store, queues=(name,)) == []


def test_a_queue_of_doctors_own_is_an_orphan_after_an_hour(store: Store) -> None:
    check = JobRef(JOB_NAME, new_job_id(time.time_ns()), 2)
    assert found(store, queues=(queue(store, check),), now=NOW + timedelta(minutes=10)) == []
    assert [orphan.queue for orphan in found(store, queues=(queue(store, check),))] == [queue(store, check)]


def test_a_workflow_without_its_job_is_an_orphan_with_the_command_that_removes_it(store: Store) -> None:
    other = JobRef("hello", "67158b9b04045cdf")
    submitted(store)
    [orphan] = found(store, workflows=(metadata(), metadata(other, ended=True)))
    assert orphan.hint == "kubectl -n here delete workflow hello-67158b9b04045cdf"
    assert orphan.queue == ""


def test_a_workflow_with_labels_of_somebody_else_is_left_alone(store: Store) -> None:
    strange = metadata(**{contract.LABEL_JOB: "not-a-job"})
    del strange["labels"][contract.LABEL_RUN]
    assert found(store, workflows=(strange,)) == []


def test_a_run_without_a_workflow_is_told_with_what_to_do(store: Store) -> None:
    submitted(store)
    StartedRuns(store).mark(JOB)
    [orphan] = found(store)
    assert JOB.job_id in orphan.what
    assert f"batchflow resume digits {JOB.job_id}" in orphan.hint and "delete" in orphan.hint


@pytest.mark.parametrize(
    ("final_run", "workflows", "now"),
    [(1, (), LATER), (0, (metadata(),), LATER), (0, (metadata(ended=True),), LATER), (0, (), datetime.now(UTC))],
    ids=["it ended", "it runs", "its workflow is there", "it was submitted just now"],
)
def test_a_run_that_is_accounted_for_is_left_alone(
    store: Store, final_run: int, workflows: tuple[dict[str, Any], ...], now: datetime
) -> None:
    submitted(store, final_run=final_run)
    StartedRuns(store).mark(JOB)
    assert found(store, workflows=workflows, now=now) == []


def test_a_submission_that_was_cut_off_is_prunes_business(store: Store) -> None:
    StartedRuns(store).mark(JOB)
    assert found(store) == []


@pytest.mark.parametrize("of", ["queues", "workflows", "runs"])
def test_the_search_can_be_ended_at_each_thing_that_is_looked_at(store: Store, of: str) -> None:
    class Enough(Exception):
        pass

    def tick() -> None:
        raise Enough

    if of == "runs":
        StartedRuns(store).mark(JOB)
    queues = [queue(store)] if of == "queues" else []
    workflows = Workflows.of([metadata()] if of == "workflows" else [])
    with pytest.raises(Enough):
        list(find_orphans(queues, workflows, store, "here", LATER, tick=tick))
