"""The status where no recording can show it: arithmetic, what was written before, and shapes that this cluster does not write."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchflow.queues.protocol import Depth
from batchflow.records import Checkpoint, Counters, FinalStatus, HookAnswer, Outcome, SubmissionRecord
from batchflow.status.accounting import Accounting
from batchflow.status.adapter import Facts, job_status
from batchflow.status.model import JobStatus
from tests.recordings.replay import Replay, replay

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BODY = {"workers": 2, "timeout": 60, "config": {"a": 1}, "item_list": {"items": [1, 2], "batch_size": 1}}
RECORD = SubmissionRecord("words", "id1", "69a1b2c3d4e5f607", "2026-11-22T11:59:30Z", BODY)
ENQUEUED = Checkpoint(run=1, next_index=10, done=True, total=10, queue_url="sqlite:///q")


@pytest.fixture
def running(tmp_path: Path) -> Replay:
    return replay("running", tmp_path)


def facts(**changes: Any) -> Facts:
    return Facts(**{"submission": RECORD, "run": 1, "hook_due": True, **changes})


def test_a_record_without_a_workflow_is_pending_for_a_minute_and_then_an_error() -> None:
    assert job_status(facts(), NOW).status == "pending"
    assert job_status(facts(), NOW + timedelta(minutes=2)).status == "unexpected_error"
    assert job_status(facts(explanation="the local engine died"), NOW).message.startswith("the local engine died")


def test_a_job_whose_workflow_is_deleted_in_its_first_minute_is_not_about_to_be_submitted() -> None:
    assert job_status(facts(checkpoint=ENQUEUED, total=10), NOW, Accounting(10)).status == "unexpected_error"


def test_live_counts_come_from_counters_and_the_queue(running: Replay) -> None:
    counters = [
        Counters("w0-0", 1, "work", "ready", succeeded=3, failed=2, finished=4, seconds=6.0),
        Counters("w1-0", 1, "work", "ready", succeeded=1, failed=0, finished=1, seconds=2.0),
    ]
    found = job_status(replace(running.facts(), counters=counters, depth=Depth(2, 3)), running.now)
    assert (found.total_batch_count, found.batches_in_queue, found.batches_failed, found.batches_done) == (12, 5, 1, 5)
    document = found.to_dict()
    assert document["batch_metrics"] == {"succeeded": 4, "failed": 2, "avg_time_per_batch": 2.0}
    assert document["metrics"] == {"succeeded": 4, "failed": 2, "average_time_per_batch": 2.0}


def test_without_the_queue_what_is_left_is_counted(running: Replay) -> None:
    found = job_status(replace(running.facts(), counters=(), depth=None), running.now)
    assert found.batches_in_queue == found.batches_without_outcome == 12


def test_the_average_is_absent_in_the_seeds_schema_and_null_in_the_later_one(running: Replay) -> None:
    document = job_status(replace(running.facts(), counters=()), running.now).to_dict()
    assert "avg_time_per_batch" not in document["batch_metrics"]
    assert document["metrics"]["average_time_per_batch"] is None
    assert "end_time" not in document
    assert document["created_time"] == document["start_time"]


def test_a_container_in_back_off_is_told_also_where_kubernetes_calls_it_so(running: Replay) -> None:
    """Up to Kubernetes 1.33, and here as the local engine writes it."""
    crashing = [with_handler(pod, CRASHING) for pod in running.pods]
    counters = [replace(c, state="waiting", error="nothing listened") for c in running.facts().counters]
    found = job_status(replace(running.facts(), pods=crashing, counters=counters), running.now)
    assert "worker 0: nothing listened; container handler was restarted 4 times, after exit code 1" in found.message


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi.", "worker_oom"),
        # a main that thrashes for minutes before it is killed is no scenario; this was seen once
        ("main: OOMKilled (exit code 137)", "worker_oom"),
        # other deadlines than the workflow's
        ('Failed to pull image "a": rpc error: code = DeadlineExceeded desc = context deadline exceeded', "worker_error"),
        ("Pod was active on the node longer than the specified deadline", "timed_out"),
    ],
)
def test_what_kubelet_said_decides_what_became_of_a_failed_job(running: Replay, message: str, status: str) -> None:
    assert running.workflow is not None
    nodes = running.workflow["status"]["nodes"]
    failed = {key: {**node, "phase": "Failed", "message": message} if is_worker(node) else node for key, node in nodes.items()}
    ended = {"phase": "Failed", "finishedAt": "2026-11-22T12:00:00Z", "nodes": failed}
    found = replace(running, workflow={**running.workflow, "status": ended}, pods=[]).status()
    assert found.status == status
    assert ("12 of 12 batches" in found.message or "batches have no outcome" in found.message) and found.resumable
    assert (message in found.message) == (status != "timed_out")


def test_a_final_status_is_returned_as_written_and_only_for_its_run(tmp_path: Path) -> None:
    recorded = replay("succeeded", tmp_path)
    hook = HookAnswer(1, 200, True)
    first = job_status(facts(workflow=recorded.workflow, checkpoint=ENQUEUED, hook=hook), NOW, Accounting(0))
    assert recorded.workflow is not None
    assert (first.status, first.end_time) == ("succeeded", recorded.workflow["status"]["finishedAt"])
    stored = FinalStatus(1, first.to_dict())
    assert job_status(facts(final=stored), NOW + timedelta(days=1)) == first
    again = replay("enqueuing", tmp_path / "again")
    assert job_status(facts(final=stored, run=2, workflow=again.workflow), NOW).status == "enqueuing"
    assert JobStatus.from_dict(json.loads(json.dumps(first.to_dict()))) == first


def test_a_hook_that_failed_in_an_earlier_run_is_asked_again(tmp_path: Path) -> None:
    bad = HookAnswer(1, 500, ok=False, error="disk full")
    done = Accounting(1, [Outcome(0, "succeeded", 1, 1.0)])
    assert "disk full" in job_status(facts(hook=bad), NOW + timedelta(hours=1), done).message
    again = job_status(facts(hook=bad, run=2), NOW + timedelta(hours=1), done)
    assert (again.status, "disk full" in again.message) == ("unexpected_error", False)


CRASHING = {
    "name": "handler",
    "restartCount": 4,
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
    "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
}


def with_handler(pod: dict[str, Any], handler: dict[str, Any]) -> dict[str, Any]:
    containers = [handler if c["name"] == "handler" else c for c in pod["status"].get("initContainerStatuses", ())]
    return {**pod, "status": {**pod["status"], "initContainerStatuses": containers}}


def is_worker(node: dict[str, Any]) -> bool:
    return node.get("templateName") == "work" and node["type"] in ("Pod", "Retry")
