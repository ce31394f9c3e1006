"""The tables of `get`: what they say, and that they stay cheap whatever number of jobs has ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from batchflow.client import Services
from batchflow.client.listing import list_jobs, running_jobs, summarize_apis
from batchflow.records import FinalStatus, JobRef, LogName, SubmissionRecord
from batchflow.settings import Settings
from batchflow.store.jobs import JobRecords
from tests.unit.stored_jobs import ago, deployed, ended, submitted, text, version, watched

OLD_JOBS = 300


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store")}, local=True))


def counted(services: Services) -> tuple[Services, Counter[str]]:
    calls: Counter[str] = Counter()
    return watched(services, lambda call, _: calls.update([call])), calls


def test_neither_table_looks_at_old_jobs(services: Services) -> None:
    version_id = deployed(services, "api")
    jobs = [ended(services, "api", version_id, ago(hours=n)) for n in range(OLD_JOBS)]
    running = submitted(services, "api", version_id, ago())
    services.started.mark(running)
    counting, calls = counted(services)
    [api] = summarize_apis(counting)
    assert (api.running_jobs, api.latest and api.latest.job_id) == (1, running.job_id)
    assert sum(calls.values()) < 30
    counting, calls = counted(services)
    found = list_jobs(counting, "api", 3)
    assert [status.job_id for status in found.statuses] == [running.job_id, jobs[0].job_id, jobs[1].job_id]
    assert found.more == OLD_JOBS - 2
    assert sum(calls.values()) < 40


def test_jobs_that_run_are_counted_and_the_marks_of_others_go(services: Services) -> None:
    version_id = deployed(services, "api")
    running = submitted(services, "api", version_id, ago())
    vanished = submitted(services, "api", version_id, ago(hours=1))
    over = ended(services, "api", version_id, ago(hours=1))
    being_submitted = JobRef("api", "0123456789abcdef")
    for job in (running, vanished, over, being_submitted):
        services.started.mark(job)
    assert [job.id for job in running_jobs(services)] == [running.job_id]
    assert set(services.started.list()) == {running, vanished, being_submitted}
    assert [job.id for job in running_jobs(services, "api")] == [running.job_id]
    assert running_jobs(services, "ap") == []


def test_the_end_of_a_run_does_not_take_the_mark_of_the_next_one(services: Services) -> None:
    job = ended(services, "api", deployed(services, "api"), ago(hours=1))
    following = JobRef("api", job.job_id, 2)
    for run in (job, following):
        services.started.mark(run)
    assert running_jobs(services) == []  # nobody has started it yet
    assert list(services.started.list()) == [following]
    records = JobRecords(services.store, following)
    final = records.final()
    assert final
    records.save_final(FinalStatus(2, final.status))
    assert running_jobs(services) == []
    assert list(services.started.list()) == []


def test_apis_are_those_that_are_deployed_or_have_a_job(services: Services) -> None:
    deployed(services, "deployed")
    ended(services, "of-a-file", version(services, "of-a-file"), ago(hours=1))
    version(services, "left-over")
    JobRecords(services.store, JobRef("half-deleted", "0" * 16)).save_log(LogName("0", "pod", "main"), b"")
    found = [(api.name, api.deployed is not None, api.latest is not None) for api in summarize_apis(services)]
    assert found == [("deployed", True, False), ("of-a-file", False, True)]


def test_what_is_being_deleted_is_not_listed(services: Services) -> None:
    version_id = deployed(services, "api")
    job = ended(services, "api", version_id, ago(hours=1))
    JobRecords(services.store, JobRef("api", "0" * 16)).save_log(LogName("0", "pod", "main"), b"")
    found = list_jobs(services, "api", 10)
    assert ([status.job_id for status in found.statuses], found.more) == ([job.job_id], 0)
    [api] = summarize_apis(services)
    assert api.latest and api.latest.job_id == job.job_id


def test_the_latest_job_s_time_is_when_it_was_submitted_whatever_its_id(services: Services) -> None:
    version_id = deployed(services, "api")
    record = SubmissionRecord("api", version_id, "0" * 16, text(ago(hours=2)), {"workers": 1, "item_list": {"items": [1], "batch_size": 1}})
    JobRecords(services.store, JobRef("api", "0" * 16)).create_submission(record)
    [api] = summarize_apis(services)
    assert api.latest and api.latest.created_time == text(ago(hours=2))
