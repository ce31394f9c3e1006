"""A job that is cut off, by us or behind our back: the queue is gone, the status says what happened, and `resume` does the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.command import Json, until
from tests.cluster.kit import Cluster, Job, items, many_files, run


def test_a_stopped_job_and_one_that_took_too_long_leave_no_queue_and_can_be_resumed(cluster: Cluster, tmp_path: Path) -> None:
    stopped = Job(cluster, tmp_path, "stopped", items=items(12, gate="stopped"), workers=2).submit()
    late = Job(cluster, tmp_path, "late", items=items(3, gate="never"), workers=1, timeout=40).submit()
    stopped.held_up("stopped", ended=4, begun=2)
    stopped.terminal.run("stop", stopped.api, stopped.id)
    status = stopped.ended()
    assert status["status"] == "stopped", status
    assert status["batch_metrics"]["succeeded"] == len(set(stopped.indexes("ended"))) == 4, status
    assert status["batches_without_outcome"] == 8, status
    cluster.recorder.open("stopped")
    stopped.terminal.run("resume", stopped.api, stopped.id)
    status = late.ended()
    assert status["status"] == "timed_out", status
    assert status["batches_without_outcome"] == 3, status
    assert status["message"].startswith("the job's timeout passed"), status
    status = stopped.finished()
    assert status["run"] == 2
    assert sorted(stopped.indexes("ended")) == list(range(12)), "a batch was handled twice"


@pytest.mark.extended
def test_a_job_stopped_before_it_starts(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "early", items=items(3)).submit()
    job.terminal.run("stop", job.api, job.id)
    status = job.ended()
    assert status["status"] == "stopped", status
    assert not job.notes("began")
    resumed(job)


@pytest.mark.extended
def test_a_job_stopped_while_enqueuing(cluster: Cluster, tmp_path: Path) -> None:
    job = many_files(cluster, tmp_path, "halfway", files=3000).submit()
    until(lambda: job.enqueued()["next_index"], "the first checkpoint", job.enqueued, limit_s=120, pause_s=0.2)
    assert job.has_queue()
    assert job.status()["status"] == "enqueuing"
    job.terminal.run("stop", job.api, job.id)
    status = job.ended()
    assert status["status"] == "stopped", status
    assert status["batches_without_outcome"] is None, status
    assert 0 < status["total_batch_count"] < 300, status
    resumed(job)


@pytest.mark.extended
def test_a_job_stopped_while_its_hook_runs(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "hooked", items=items(3), config={"hook": {"do": "gate", "gate": "hooked"}}).submit()
    job.wait_for("complete")
    job.terminal.run("stop", job.api, job.id)
    status = job.ended()
    assert status["status"] == "stopped", status
    assert status["batches_without_outcome"] == 0, status
    assert "on-job-complete" in status["message"], status
    cluster.recorder.open("hooked")
    resumed(job)
    assert len(job.indexes("ended")) == 3, "a batch was handled again"


@pytest.mark.extended
def test_others_stop_terminate_and_delete_workflows(cluster: Cluster, tmp_path: Path) -> None:
    """Argo's and Kubernetes' own commands; the last two skip our cleanup."""
    jobs = {name: Job(cluster, tmp_path, name, items=items(8, gate=name)).submit() for name in ("halt", "terminate", "delete")}
    for name, job in jobs.items():
        job.held_up(name, ended=2, begun=1)
    run("argo", "-n", cluster.namespace, "stop", jobs["halt"].workflow)
    run("argo", "-n", cluster.namespace, "terminate", jobs["terminate"].workflow)
    cluster.kubectl("delete", "workflow", jobs["delete"].workflow)
    status = jobs["halt"].ended()
    assert status["status"] == "stopped", status
    for name, code, words in (("terminate", "stopped", ""), ("delete", "unexpected_error", "deleted")):
        job = jobs[name]
        status = job.terminal.ended(job.api, job.id)
        assert status["status"] == code, status
        assert words in status["message"], status
        assert status["batches_without_outcome"] == 6, status
        assert status["batch_metrics"]["succeeded"] == 2, status
    for name, job in jobs.items():
        cluster.recorder.open(name)
        resumed(job)


def resumed(job: Job) -> Json:
    """The job's next run finishes it."""
    job.terminal.run("resume", job.api, job.id)
    status = job.finished()
    assert status["run"] == 2, status
    return status
