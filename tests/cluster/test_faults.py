"""The fault suite on a cluster, its short version. The long one: `python -m tests.faults --on cluster`.

A run that fails names its seed; `--seeds SEED:1` repeats its choices (not the cluster's timing).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cluster.recorder import Recorder
from tests.cluster.test_losses import on_its_machine
from tests.faults import results
from tests.faults.__main__ import run_seeds
from tests.faults.cluster import Site
from tests.faults.services import Amazon

FIXED = (1, 19)
RANDOM = int(os.environ.get("BATCHFLOW_FAULTS_SEED") or time.time_ns() % 1_000_000)


@on_its_machine
def test_nothing_is_lost_and_nothing_untrue_whatever_fails(
    host: str, step_image: str, sqs_url: str, s3_url: str, recording: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(host, step_image, Amazon(s3_url, sqs_url), recording)
    seeds, file = [*FIXED, RANDOM], tmp_path / "results.jsonl"
    with capsys.disabled():
        print(f"\nBATCHFLOW_FAULTS_SEED={RANDOM}", flush=True)
        complete = run_seeds(site.run, "cluster", seeds, at_once=len(seeds), file=file, folder=tmp_path / "runs")
    found = results.read(file)
    assert complete and not results.failed(found), results.report(found)
    assert sorted(result.seed for result in found) == sorted(seeds)
