"""What a step does before its own work."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow import contract
from batchflow.cli.steps import run_step
from batchflow.records import Checkpoint, JobRef, SubmissionRecord
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_store

JOB = JobRef("words", "69a1b2c3d4e5f607", run=2)


@pytest.mark.parametrize("written_over", [None, Checkpoint(run=2, next_index=5), Checkpoint(run=1, next_index=9, done=True, total=9)])
def test_a_checkpoint_that_an_enqueuer_thought_lost_wrote_over_is_waited_for(
    written_over: Checkpoint | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = JobRecords(open_store(str(tmp_path)), JOB)
    body = {"workers": 1, "item_list": {"items": [1], "batch_size": 1}}
    records.create_submission(SubmissionRecord(JOB.api, "0" * 32, JOB.job_id, "2026-01-01T00:00:00Z", body))
    if written_over:
        records.save_checkpoint(written_over)
    environ = {
        "BATCHFLOW_ENGINE": "local",
        "BATCHFLOW_STORE": str(tmp_path),
        contract.ENV_VERSION: contract.VERSION,
        contract.ENV_API: JOB.api,
        contract.ENV_JOB: JOB.job_id,
        contract.ENV_RUN: str(JOB.run),
        contract.ENV_POD: "pod",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert run_step("work") == contract.EXIT_TRY_AGAIN
    assert "the run is not enqueued" in capsys.readouterr().err
