"""From records and what was observed to a job status: live phases, workers, what is waited for, the two generations' keys."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchflow.queues.protocol import Depth
from batchflow.records import Checkpoint, Counters, FinalStatus, HookAnswer, Outcome, SubmissionRecord
from batchflow.status.accounting import Accounting
from batchflow.status.adapter import Facts, job_status
from batchflow.status.model import JobStatus, WorkerCounts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BODY = {"workers": 2, "timeout": 60, "config": {"a": 1}, "item_list": {"items": [1, 2], "batch_size": 1}}
RECORD = SubmissionRecord("words", "id1", "69a1b2c3d4e5f607", "2026-11-22T11:59:30Z", BODY)
ENQUEUED = Checkpoint(run=1, next_index=10, done=True, total=10, queue_url="sqlite:///q")


def node(name: str, step: str, phase: str, kind: str = "Retry", children: tuple[str, ...] = (), message: str = "") -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "displayName": name,
        "type": kind,
        "templateName": step,
        "phase": phase,
        "children": list(children),
        "message": message,
    }


def pod(name: str, phase: str = "Running", *, age_s: float = 5, **status: Any) -> dict[str, Any]:
    created = (NOW - timedelta(seconds=age_s)).isoformat()
    annotations = {"workflows.argoproj.io/node-id": f"{name}-node"}
    return {
        "metadata": {"name": name, "annotations": annotations, "creationTimestamp": created},
        "status": {"phase": phase, "startTime": created, **status},
    }


def workflow(*nodes: dict[str, Any], phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return {"spec": spec, "status": {"phase": phase, "nodes": {n["id"]: n for n in nodes}}}


def worker(name: str, phase: str = "Running") -> tuple[dict[str, Any], dict[str, Any]]:
    return node(name, "work", phase, children=(f"{name}-0-node",)), node(f"{name}-0-node", "work", phase, "Pod")


def facts(**changes: Any) -> Facts:
    checkpoint = changes.get("checkpoint")
    total = checkpoint.total if checkpoint and checkpoint.done else None
    return Facts(**{"submission": RECORD, "run": 1, "hook_due": True, "total": total, **changes})


UNSCHEDULED = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: insufficient cpu"}], "startTime": None}
ENQUEUING = workflow(node("e", "enqueue", "Running"))
WORKING = workflow(node("e", "enqueue", "Succeeded"), *worker("w0"), *worker("w1"))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pending"),
        ({"workflow": workflow(phase="")}, "pending"),
        ({"workflow": workflow(node("e", "enqueue", "Pending"))}, "pending"),
        ({"workflow": ENQUEUING}, "enqueuing"),
        ({"workflow": ENQUEUING, "checkpoint": Checkpoint(run=1, next_index=4)}, "enqueuing"),
        ({"workflow": WORKING, "checkpoint": ENQUEUED}, "running"),
        # the second run enqueues while the checkpoint is still the first one's
        ({"run": 2, "workflow": ENQUEUING, "checkpoint": ENQUEUED}, "enqueuing"),
    ],
)
def test_live_status(changes: dict[str, Any], status: str) -> None:
    found = job_status(facts(**changes), NOW)
    assert (found.status, found.ended, found.end_time) == (status, False, None)


def test_a_record_without_a_workflow_is_pending_for_a_minute_and_then_an_error() -> None:
    later = NOW + timedelta(minutes=2)
    assert job_status(facts(), later).status == "unexpected_error"
    assert job_status(facts(explanation="the local engine died"), NOW).message.startswith("the local engine died")


def test_live_counts_come_from_counters_and_the_queue() -> None:
    counters = [
        Counters("w0-0", 1, "work", "ready", succeeded=3, failed=2, finished=4, seconds=6.0),
        Counters("w1-0", 1, "work", "ready", succeeded=1, failed=0, finished=1, seconds=2.0),
    ]
    found = job_status(facts(workflow=WORKING, checkpoint=ENQUEUED, counters=counters, depth=Depth(2, 3)), NOW)
    assert (found.total_batch_count, found.batches_in_queue, found.batches_failed, found.batches_done) == (10, 5, 1, 5)
    document = found.to_dict()
    assert document["batch_metrics"] == {"succeeded": 4, "failed": 2, "avg_time_per_batch": 2.0}
    assert document["metrics"] == {"succeeded": 4, "failed": 2, "average_time_per_batch": 2.0}
    assert document["created_time"] == document["start_time"] == "2026-11-22T11:59:30Z"


def test_the_average_is_absent_in_the_seeds_schema_and_null_in_the_later_one() -> None:
    document = job_status(facts(workflow=WORKING, checkpoint=ENQUEUED), NOW).to_dict()
    assert "avg_time_per_batch" not in document["batch_metrics"]
    assert document["metrics"]["average_time_per_batch"] is None
    assert "end_time" not in document


@pytest.mark.parametrize(
    ("pods", "states", "phase", "expected"),
    [
        ([], {}, "Running", {"pending": 1}),
        ([pod("w0-0", "Pending", **UNSCHEDULED)], {}, "Pending", {"pending": 1}),
        ([pod("w0-0", "Pending", age_s=601, **UNSCHEDULED)], {}, "Pending", {"stalled": 1}),
        ([pod("w0-0", "Pending")], {}, "Pending", {"initializing": 1}),
        ([pod("w0-0")], {"w0-0": "waiting"}, "Running", {"initializing": 1}),
        ([pod("w0-0")], {"w0-0": "ready"}, "Running", {"running": 1}),
        ([pod("w0-0")], {"w0-0": "leaving"}, "Running", {"running": 1}),
        ([pod("w0-0", "Succeeded")], {"w0-0": "done"}, "Succeeded", {"succeeded": 1}),
        ([pod("w0-0", "Failed")], {"w0-0": "failed"}, "Failed", {"failed": 1}),
        ([pod("w0-0", "Failed")], {}, "Error", {"failed": 1}),
    ],
)
def test_a_worker_is_counted_once_in_its_state(
    pods: list[dict[str, Any]], states: dict[str, str], phase: str, expected: dict[str, int]
) -> None:
    counters = [Counters(name, 1, "work", state) for name, state in states.items()]
    found = job_status(facts(workflow=workflow(*worker("w0", phase)), checkpoint=ENQUEUED, pods=pods, counters=counters), NOW)
    # the pod belongs to the worker's last try, whose node is named after it
    assert found.worker_counts == WorkerCounts(**expected)


@pytest.mark.parametrize(
    ("pods", "counters", "words"),
    [
        ([pod("w0-0", "Pending", **UNSCHEDULED)], [], "can't be scheduled: 0/1 nodes: insufficient cpu"),
        (
            [pod("w0-0", "Pending", initContainerStatuses=[{"name": "handler", "state": {"waiting": {"reason": "ErrImagePull"}}}])],
            [],
            "container handler: ErrImagePull",
        ),
        (
            [
                pod(
                    "w0-0",
                    initContainerStatuses=[
                        {
                            "name": "handler",
                            "restartCount": 4,
                            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                            "lastState": {"terminated": {"exitCode": 1}},
                        }
                    ],
                )
            ],
            [],
            "container handler: CrashLoopBackOff, exit code 1, restarted 4 times",
        ),
        ([pod("w0-0")], [Counters("w0-0", 1, "work", "waiting", error="the handler is not ready")], "the handler is not ready"),
        # a pod that is gone is waited for no more
        ([pod("w0-0", "Failed")], [Counters("w0-0", 1, "work", "waiting", error="the handler is not ready")], ""),
    ],
)
def test_a_running_job_says_what_it_waits_for(pods: list[dict[str, Any]], counters: list[Counters], words: str) -> None:
    found = job_status(facts(workflow=WORKING, checkpoint=ENQUEUED, pods=pods, counters=counters), NOW)
    assert words in found.message
    assert bool(words) == bool(found.message)


def test_compressed_nodes_are_read() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(ENQUEUING["status"]["nodes"]).encode())).decode()
    compressed = {"spec": {}, "status": {"phase": "Running", "compressedNodes": packed}}
    assert job_status(facts(workflow=compressed), NOW).status == "enqueuing"


@pytest.mark.parametrize(
    ("observed", "pods", "status"),
    [
        (workflow(phase="Failed", shutdown="Stop"), [], "stopped"),
        (workflow(node("w", "work", "Failed", "Pod", message="Step exceeded its deadline"), phase="Failed"), [], "timed_out"),
        (workflow(node("w", "work", "Failed", "Pod", message="main: OOMKilled (exit code 137)"), phase="Failed"), [], "worker_oom"),
        (
            workflow(phase="Failed"),
            [pod("w0-0", initContainerStatuses=[{"name": "h", "lastState": {"terminated": {"reason": "OOMKilled"}}}])],
            "worker_oom",
        ),
        (workflow(phase="Failed"), [], "worker_error"),
        (None, [], "unexpected_error"),
    ],
)
def test_how_the_workflow_ended_decides_when_batches_are_missing(observed: Any, pods: list[dict[str, Any]], status: str) -> None:
    accounting = Accounting(10, [Outcome(0, "succeeded", 1, 1.0)])
    found = job_status(facts(run=2, workflow=observed, pods=pods, checkpoint=ENQUEUED), NOW, accounting)
    assert (found.status, found.batches_without_outcome, found.resumable) == (status, 9, True)
    assert "9 of 10 batches have no outcome" in found.message


def test_the_dequeuers_own_words_explain_a_worker_error() -> None:
    counters = [Counters("w0-0", 1, "work", "failed", error="handler.py:3: ModuleNotFoundError: No module named 'x'")]
    found = job_status(facts(workflow=workflow(phase="Failed"), checkpoint=ENQUEUED, counters=counters), NOW, Accounting(10))
    assert found.message.startswith("handler.py:3: ModuleNotFoundError")


def test_a_final_status_is_returned_as_written_and_only_for_its_run() -> None:
    done = workflow(phase="Succeeded")
    hook = HookAnswer(1, 200, True)
    first = job_status(facts(workflow=done, checkpoint=ENQUEUED, hook=hook), NOW, Accounting(0))
    assert (first.status, first.end_time) == ("succeeded", "2026-11-22T12:00:00Z")
    stored = FinalStatus(1, first.to_dict())
    assert job_status(facts(final=stored), NOW + timedelta(days=1)) == first
    assert job_status(facts(final=stored, run=2, workflow=ENQUEUING), NOW).status == "enqueuing"
    assert JobStatus.from_dict(json.loads(json.dumps(first.to_dict()))) == first
