"""batchflow as a library: the same job as the command line's."""

from __future__ import annotations

from pathlib import Path

import pytest

import batchflow
from batchflow.client import Client
from batchflow.settings import Settings
from tests.acceptance.command import EXAMPLES


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store"), "BATCHFLOW_CACHE_DIR": str(tmp_path / "cache")}, local=True)


def test_submit_wait_and_get(settings: Settings) -> None:
    submission = batchflow.load(EXAMPLES / "hello" / "job.yaml", workers=1)
    job = batchflow.submit(submission, engine="local", settings=settings)
    seen: list[str] = []
    status = job.wait(lambda status: seen.append(status.status))
    assert (status.status, status.workers, status.batch_metrics.succeeded) == ("succeeded", 1, 4)
    assert seen[-1] == "succeeded"
    again = batchflow.get(job.api, job.id, engine="local", settings=settings)
    assert again.status() == status
    assert any("Ada" in line.text for line in again.logs(container="handler"))
    assert list(again.failures()) == []


def test_compile_needs_no_store_and_no_cluster() -> None:
    workflow = batchflow.compile(batchflow.load(EXAMPLES / "digits" / "job.yaml"), job_id="0" * 16, settings=Settings())
    assert workflow.name == "digits-" + "0" * 16


def test_errors_are_one_tree(settings: Settings) -> None:
    with pytest.raises(batchflow.NotFound, match="nothing is not deployed"):
        Client(settings).job_ids("nothing")
    with pytest.raises(batchflow.InvalidInput, match="not a job id"):
        batchflow.get("hello", "x", settings=settings)
