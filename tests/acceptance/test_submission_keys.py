"""One job for one `Idempotency-Key`, wherever the submission before was cut off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchflow.client import Client, Services
from batchflow.client.plan import plan_submission
from batchflow.errors import Conflict, InvalidInput
from batchflow.records import JobRef, KeyRecord, new_job_id
from batchflow.settings import Settings
from batchflow.spec.model import FilePathLister, ItemList, Submission
from batchflow.store.jobs import JobRecords
from tests.acceptance.command import EXAMPLES

WORK = Submission("hello", workers=1, source=ItemList(["a", "b", "c"], batch_size=2))
BODY = "0" * 64
JOB_ID = new_job_id(1_800_000_000 * 10**9)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store")}, local=True)


@pytest.fixture
def services(settings: Settings) -> Services:
    Client(settings).deploy(EXAMPLES / "hello" / "cortex.yaml")
    return Services(settings)


def claim(services: Services, key: str, created: datetime | None = None) -> KeyRecord:
    time = (created or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return services.keys.claim("hello", key, KeyRecord(JOB_ID, BODY, time))


def test_a_repeat_gives_the_same_job_and_leaves_it_as_it_is(settings: Settings, services: Services) -> None:
    client = Client(settings)
    job = client.submit_once(WORK, "key", BODY)
    assert client.submit_once(WORK, "key", BODY).id == job.id
    job.stop()
    before = job.wait()
    again = client.submit_once(WORK, "key", BODY)
    assert (again.id, again.status()) == (job.id, before)
    assert client.job_ids("hello") == [job.id]
    assert client.submit_once(WORK, "another", BODY).id != job.id


def test_a_key_stands_for_one_body(settings: Settings, services: Services) -> None:
    client = Client(settings)
    job = client.submit_once(WORK, "key", BODY)
    with pytest.raises(Conflict, match="another body"):
        client.submit_once(WORK, "key", "1" * 64)
    assert client.job_ids("hello") == [job.id]
    job.wait()


def test_a_submission_that_only_claimed_its_key_is_completed(settings: Settings, services: Services) -> None:
    claim(services, "key")
    job = Client(settings).submit_once(WORK, "key", BODY)
    assert (job.id, job.wait().status) == (JOB_ID, "succeeded")


def test_a_job_without_a_workflow_gets_it(settings: Settings, services: Services) -> None:
    claim(services, "key")
    plan = plan_submission(services, WORK)
    services.started.mark(JobRef("hello", JOB_ID))
    assert JobRecords(services.store, JobRef("hello", JOB_ID)).create_submission(plan.record(JOB_ID, ""))
    job = Client(settings).submit_once(WORK, "key", BODY)
    status = job.wait()
    assert (job.id, status.status, status.run, status.batch_metrics.succeeded) == (JOB_ID, "succeeded", 1, 2)


def test_keys_go_with_their_jobs(settings: Settings, services: Services) -> None:
    client = Client(settings)
    client.submit_once(WORK, "pruned", BODY).wait()
    claim(services, "of a submission under way")
    claim(services, "of one that was given up", datetime.now(UTC) - timedelta(days=2))
    assert len(list(services.keys.list())) == 3
    client.prune(timedelta(0))
    [left] = services.keys.list()
    found = services.keys.record(left)
    assert found and found[1].job_id == JOB_ID
    client.submit_once(WORK, "deleted", BODY).wait()
    client.delete_api("hello")
    assert list(services.keys.list()) == [left], "whoever submits meanwhile has a job that stays, and may repeat it"


def test_a_repeat_is_the_same_job_though_its_input_is_gone(tmp_path: Path, settings: Settings, services: Services) -> None:
    file = tmp_path / "input"
    file.touch()
    work = Submission("hello", workers=1, source=FilePathLister([str(file)], batch_size=1))
    client = Client(settings)
    job = client.submit_once(work, "key", BODY)
    job.wait()
    file.unlink()
    assert client.submit_once(work, "key", BODY).id == job.id
    with pytest.raises(InvalidInput, match="no files"):
        client.submit_once(work, "another", BODY)
