"""What pods hold and what can be seen of them while they run and after they are gone."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.command import Json, until
from tests.cluster.kit import Cluster, Job, items


def test_a_job_seen_from_outside(cluster: Cluster, tmp_path: Path) -> None:
    """Progress, logs that are followed and logs that are saved, and nothing of ours in the user's containers."""
    count, half = 40, 20
    job = Job(cluster, tmp_path, "seen", items=items(count, gate="seen"), workers=2).submit()
    following = job.terminal.start("logs", job.api, job.id, "--follow")
    job.held_up("seen", ended=half, begun=2)
    until(lambda: near(cluster.workflow(job.workflow), len(job.notes("ended")), count), "Argo's progress", limit_s=120, pause_s=1)
    cluster.recorder.open("seen")
    job.finished()
    for pod in job.pods():
        check_security(pod)

    followed = job.terminal.wait(following).lines()
    for worker in ("0/main", "1/main", "enqueue/main", "finalize/main", "0/handler", "finalize/handler"):
        assert any(line.startswith(f"{worker} | ") for line in followed), worker
    saved = until(lambda: job.saved_logs(), "saved logs", limit_s=60, pause_s=1)
    assert {container for _, _, container in saved} >= {"main", "handler", "prepare"}
    cluster.kubectl("delete", "workflow", job.workflow)
    until(lambda: not job.pods(), "the pods to go", limit_s=120, pause_s=1)
    assert job.status()["status"] == "succeeded"
    for worker in ("0", "finalize", "enqueue"):
        kept = job.terminal.logs(job.api, job.id, "--worker", worker, "--container", "main")
        assert kept, worker
        assert set(kept) <= set(followed), worker

    for note in job.notes():
        assert [name for name in note.env if name.startswith("AWS_")] == ["AWS_DEFAULT_REGION"], note  # which a Handler has from Cortex
        assert not [name for name in note.env if "STORE" in name], note
        assert not note.token, note


def near(workflow: Json | None, done: int, total: int) -> bool:
    """Whether Argo's progress is within 5 % of the truth."""
    assert workflow is not None
    finished, _, of = workflow["status"].get("progress", "0/1").partition("/")
    return abs(int(finished) / int(of) - done / total) <= 0.05


def check_security(pod: Json) -> None:
    """Nothing is privileged, and ours are not root."""
    for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        context = container.get("securityContext", {})
        assert not context.get("privileged"), container["name"]
        assert context.get("runAsNonRoot") or container["name"] not in ("main", "prepare"), container["name"]
