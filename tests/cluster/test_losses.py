"""Whatever is killed, every batch has a true outcome."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.command import until
from tests.cluster.installation import SHARED
from tests.cluster.kit import WORKFLOW, Cluster, Job, items, many_files, run

# A container under containerd, and Argo's controller as a process, can only be reached on the cluster's own machine.
on_its_machine = pytest.mark.skipif(not os.environ.get("CONTAINERD_ADDRESS"), reason="CONTAINERD_ADDRESS is not set: no node's machine")
AT_ONCE = ("--wait=false", "--grace-period=0", "--force")


def test_deleted_pods_and_a_handler_out_of_memory_lose_no_batch(cluster: Cluster, tmp_path: Path) -> None:
    """One pod in good order, one at once, each with a batch in its handler; the memory costs the one batch that took it."""
    deleted = Job(cluster, tmp_path, "deleted", items=items(24, gate="deleted"), workers=3).submit()
    described = items(12, {5: {"do": "eat"}})
    hungry = Job(cluster, tmp_path, "hungry", items=described, workers=2, batchflow={"memory_limit": "100Mi"}).submit()
    gently, roughly, _ = deleted.held_up("deleted", ended=6, begun=3)
    cluster.kubectl("delete", "pod", gently, "--wait=false")
    cluster.kubectl("delete", "pod", roughly, *AT_ONCE)
    deleted.begun(5)
    cluster.recorder.open("deleted")
    deleted.finished()
    assert len(deleted.pods("work")) == 3, "the pods were not replaced"

    status = hungry.finished("completed_with_failures", failed=[5])
    assert status["batch_metrics"]["failed"] == 1
    (failure,) = [json.loads(line) for line in hungry.terminal.run("get", hungry.api, hungry.id, "--failed", "-o", "json").lines()]
    assert failure["batch"] == 5
    assert failure["items"] == [described[5]]
    assert "out of memory" in failure["error"], failure


@pytest.mark.extended
@on_its_machine
def test_a_dequeuer_that_is_killed_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "shot", items=items(16, gate="shot"), workers=2).submit()
    victim, _ = job.held_up("shot", ended=4, begun=2)
    (pod,) = [pod for pod in job.pods("work") if pod["metadata"]["name"] == victim]
    main = next(status for status in pod["status"]["containerStatuses"] if status["name"] == "main")
    run("ctr", "-a", os.environ["CONTAINERD_ADDRESS"], "-n", "k8s.io", "tasks", "kill", "-s", "KILL", main["containerID"].split("//")[1])
    cluster.recorder.open("shot")
    job.finished()
    assert len(job.pods("work")) == 3


@pytest.mark.extended
def test_all_pods_of_a_job_vanish_at_once_and_again(cluster: Cluster, tmp_path: Path) -> None:
    """As when its nodes are drained. Argo makes a pod anew, under the same name, that it had not yet seen running."""
    job = Job(cluster, tmp_path, "drained", items=items(20, gate="drained"), workers=2).submit()
    job.held_up("drained", ended=4, begun=2)
    for begun in (2, 4, 6):
        job.begun(begun)
        cluster.kubectl("delete", "pods", "-l", f"{WORKFLOW}={job.workflow}", *AT_ONCE)
    cluster.recorder.open("drained")
    job.finished()


@pytest.mark.extended
def test_finalize_and_cleanup_that_are_deleted_run_again(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "late", items=items(4), config={"hook": {"do": "gate", "gate": "late"}}).submit()
    (complete,) = job.wait_for("complete")
    cluster.kubectl("delete", "pod", complete.pod, *AT_ONCE)
    job.wait_for("complete", 2)
    cluster.recorder.open("late")
    (cleanup,) = until(lambda: job.pods("cleanup"), "cleanup", limit_s=120)
    cluster.kubectl("delete", "pod", cleanup["metadata"]["name"], *AT_ONCE)
    job.finished()


@pytest.mark.extended
def test_an_enqueuer_that_is_deleted_goes_on_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    job = many_files(cluster, tmp_path, "cut", files=3000).submit()
    until(lambda: job.enqueued()["next_index"], "the first checkpoint", job.enqueued, limit_s=120, pause_s=0.2)
    (pod,) = job.pods("enqueue")
    cluster.kubectl("delete", "pod", pod["metadata"]["name"], *AT_ONCE)
    before = job.enqueued()
    assert not before["done"], "the input is too small: it was enqueued before it could be interrupted"
    status = job.finished()
    assert len(job.pods("enqueue")) == 1
    log = "\n".join(job.terminal.logs(job.api, job.id, "--worker", "enqueue"))
    assert "enqueuing" in log
    assert "next_index=0" not in log, log
    assert status["total_batch_count"] == 300


@pytest.mark.extended
@on_its_machine
def test_a_controller_that_is_restarted_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "patient", items=items(10, gate="patient"), workers=2).submit()
    lost, _ = job.held_up("patient", ended=4, begun=2)
    state = Path(os.environ["KUBECONFIG"]).parent  # of the shared cluster, whose `up` starts what does not run
    os.kill(int((state / "run" / "workflow-controller.pid").read_text()), signal.SIGKILL)
    cluster.kubectl("delete", "pod", lost, *AT_ONCE)
    cluster.recorder.open("patient")
    run(SHARED / "cluster" / "up", timeout_s=300, environ={**os.environ, "BATCHFLOW_CLUSTER": str(state)})
    job.finished()
