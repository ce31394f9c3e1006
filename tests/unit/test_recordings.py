"""What the status says of real jobs: each moment that tests/recordings/record.py recorded on a cluster."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from batchflow.records import FinalStatus
from batchflow.status.model import TERMINAL_STATUSES, JobStatus
from tests.recordings.replay import HERE, replay
from tests.recordings.scenario import Moment
from tests.recordings.scenarios import SCENARIOS

MOMENTS = [moment for scenario in SCENARIOS for moment in scenario.moments if moment.name]
ENDINGS = [moment.name for moment in MOMENTS if f"{moment.name}-cleanup" in {other.name for other in MOMENTS}]
LATER = timedelta(minutes=11)

# The seed's `job_status`, and what other generations and we add to it: docs/status.md.
ALWAYS = {
    *("job_id", "api_name", "api_id", "kind", "workers", "sqs_dead_letter_queue", "config", "timeout", "sqs_url", "status", "run"),
    *("total_batch_count", "batches_in_queue", "batches_failed", "batches_without_outcome", "batch_metrics", "metrics"),
    *("created_time", "start_time", "message"),
}


def test_every_moment_is_recorded_and_every_recording_has_its_moment() -> None:
    assert sorted(path.stem for path in HERE.glob("*.json")) == sorted(moment.name for moment in MOMENTS)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_a_moment_reads_as_what_it_is(moment: Moment, tmp_path: Path) -> None:
    status = replay(moment.name, tmp_path).status()
    assert status.status == moment.status, status
    assert nonzero(status) == moment.workers, status
    assert all(words in status.message for words in moment.words), status.message
    assert bool(status.message) == bool(moment.words), status.message


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_a_status_has_the_documented_keys(moment: Moment, tmp_path: Path) -> None:
    status = replay(moment.name, tmp_path).status()
    document = json.loads(json.dumps(status.to_dict()))
    ended = moment.status in TERMINAL_STATUSES
    now_and_then = {"end_time": ended, "worker_counts": moment.workers is not None}
    assert set(document) == ALWAYS | {key for key, is_there in now_and_then.items() if is_there}
    assert JobStatus.from_dict(document) == status
    assert document["batches_in_queue"] == 0 or not ended


@pytest.mark.parametrize("name", ENDINGS)
def test_cleanup_writes_what_get_would_compute_afterwards(name: str, tmp_path: Path) -> None:
    """Cleanup looks while the workflow still runs; on the cluster it wrote status.json, which `get` returns."""
    early, late = replay(f"{name}-cleanup", tmp_path / "early").verdict(), replay(name, tmp_path / "late").verdict()
    assert replace(early, end_time="") == replace(late, end_time="")
    written = replay(name, tmp_path / "late").facts().final
    assert isinstance(written, FinalStatus)
    assert written.status["status"] == late.status


@pytest.mark.parametrize(
    ("name", "workers", "words"),
    [
        ("unschedulable", {"stalled": 2}, "Insufficient cpu"),
        ("image-pull-back-off", {"stalled": 2}, "no such host"),
        ("secret-missing", {"stalled": 1, "initializing": 1}, "no-such-secret"),
        ("quota-workers", {"stalled": 3}, "worker 0"),
        ("node-silent", {"stalled": 2}, "its node has not taken it up for"),
        ("import-error-restarted", {"stalled": 2}, "worker 0"),
        # nothing was heard of these for that time
        ("running", {"stalled": 2}, "its node, or the store, may be out of reach"),
        # what was lost is replaced at once
        ("worker-lost", {"pending": 1, "stalled": 1}, "pod deleted"),
        # a large image may take long
        ("workers-pending", {"initializing": 2}, ""),
    ],
)
def test_what_does_not_come_within_ten_minutes_is_stalled(name: str, workers: dict[str, int], words: str, tmp_path: Path) -> None:
    status = replay(name, tmp_path).status(later=LATER)
    assert (status.status, nonzero(status)) == ("running", workers), status
    assert words in status.message


def test_a_workflow_that_no_controller_takes_up_says_so(tmp_path: Path) -> None:
    message = replay("no-controller", tmp_path).status(later=LATER).message
    assert "no Argo controller has taken the workflow up" in message
    assert 'namespace batchflow and the instance id "nobody"' in message


def test_a_deadline_that_argo_does_not_notice_is_told(tmp_path: Path) -> None:
    assert "but Argo has not ended the job" in replay("image-pull-back-off", tmp_path).status(later=timedelta(minutes=5)).message


@pytest.mark.parametrize("name", ["running", "finalizing", "timed-out-cleanup", "enqueuing"])
def test_compressed_nodes_are_read(name: str, tmp_path: Path) -> None:
    """Derived: only above 1 MiB does Argo do it itself (util/file/fileutil.go, CompressEncodeString)."""
    recorded = replay(name, tmp_path)
    assert recorded.workflow is not None
    status: dict[str, Any] = dict(recorded.workflow["status"])
    packed = base64.b64encode(gzip.compress(json.dumps(status.pop("nodes")).encode())).decode()
    compressed = {**recorded.workflow, "status": {**status, "compressedNodes": packed}}
    assert replace(recorded, workflow=compressed).status() == recorded.status()


@pytest.mark.parametrize(
    ("name", "status"), [("running", "running"), ("enqueuing", "enqueuing"), ("succeeded", "succeeded"), ("timed-out", "timed_out")]
)
def test_nodes_that_argo_keeps_in_its_database_are_no_wrong_counts(name: str, status: str, tmp_path: Path) -> None:
    """Derived: the recording's controller has no database (workflow/hydrator/hydrator.go)."""
    recorded = replay(name, tmp_path)
    assert recorded.workflow is not None
    rest = {key: value for key, value in recorded.workflow["status"].items() if key != "nodes"}
    offloaded = {**recorded.workflow, "status": {**rest, "offloadNodeStatusVersion": "fnv:1827394659"}}
    found = replace(recorded, workflow=offloaded).status()
    assert (found.status, found.worker_counts) == (status, None)
    if not found.ended:
        assert "its own database" in found.message
    assert replace(recorded, workflow=offloaded).verdict().status == recorded.verdict().status


def nonzero(status: JobStatus) -> dict[str, int] | None:
    return {state: count for state, count in asdict(status.worker_counts).items() if count} if status.worker_counts else None
