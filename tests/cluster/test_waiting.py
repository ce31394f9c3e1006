"""A job that can't get on says why, and one that never will ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchflow import contract
from tests.acceptance.command import Json, until
from tests.cluster.kit import Cluster, Job, items

PYTHON = {"type": "python", "path": "handler.py"}
NO_IMAGE = "batchflow.local/no-such-image:1"


@pytest.mark.extended
def test_a_job_that_can_not_get_on_says_why_and_one_that_never_will_ends(cluster: Cluster, tmp_path: Path) -> None:
    gate, crash = {"start": {"do": "gate", "gate": "never"}}, {"start": {"do": "raise", "text": "no model"}}
    waiting = {
        Job(cluster, tmp_path, "no-image", items=items(1), entry={"handler": {**PYTHON, "image": NO_IMAGE}}): (NO_IMAGE, "initializing"),
        Job(cluster, tmp_path, "too-big", items=items(1), entry={"handler": PYTHON, "compute": {"cpu": "64"}}): (
            "Insufficient cpu",
            "pending",
        ),
        Job(cluster, tmp_path, "unready", items=items(1), config=gate): ("handler", "initializing"),
    }
    ending = {
        Job(cluster, tmp_path, "never", items=items(2), batchflow={"start_timeout_s": 8}, config=gate): "__init__",
        Job(cluster, tmp_path, "crashing", items=items(2), config=crash): "no model",
    }
    for job in (*ending, *waiting):
        job.submit()
    for job, (words, state) in waiting.items():
        status = waits(job, words)
        assert status["worker_counts"][state] == 1, status
        job.terminal.run("stop", job.api, job.id)
    for job, words in ending.items():
        status = job.ended()
        assert status["status"] == "worker_error", status
        assert words in status["message"], status
        assert status["batches_without_outcome"] == 2, status
    for job in waiting:
        status = job.ended()
        assert status["status"] == "stopped", status
        assert status["batches_without_outcome"] == 1, status


@pytest.mark.extended
def test_a_used_up_quota_is_named_and_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "poor", items=items(4, gate="poor"), workers=2)
    until(lambda: not cluster.living_pods(), "earlier tests' pods to end", cluster.living_pods, limit_s=120, pause_s=1)
    pods = 1 + len(cluster.objects("pods", f"app.kubernetes.io/name={contract.GATEWAY}"))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": str(pods)}}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    try:
        job.submit()
        job.begun(1)
        waits(job, "exceeded quota")
    finally:
        cluster.kubectl("delete", "resourcequota", "few")
    cluster.recorder.open("poor")
    job.finished()


def waits(job: Job, words: str) -> Json:
    """Wait until the status' message says these words; returns that status."""
    seen: list[Json] = []

    def told() -> Json | None:
        seen[:] = [job.status()]
        return seen[0] if words in seen[0]["message"] else None

    status: Json = until(told, f"a message with {words}", lambda: json.dumps(seen), limit_s=240, pause_s=1.0)
    assert status["status"] == "running", status
    return status
