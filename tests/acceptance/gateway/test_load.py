"""Several large submissions at once. The measured load, ten jobs of 100,000 items, is `python -m bench gateway`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import item_list, pod, serving

JOBS = 3
ITEMS = 2_000
BATCH_SIZE = 20
LIMIT_S = 300
MAX_MEMORY = 300 * 2**20


def test_jobs_submitted_at_once_all_succeed(shell: Terminal, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with serving(shell) as gateway, ThreadPoolExecutor(JOBS) as pool:
        gateway.deploy(pod("loaded", notes=notes)).ok()
        bodies = [item_list([{"job": job, "item": item} for item in range(ITEMS)], batch_size=BATCH_SIZE, workers=2) for job in range(JOBS)]
        ids = list(pool.map(lambda body: gateway.submit("loaded", body), bodies))
        assert len(set(ids)) == JOBS
        for status in pool.map(lambda job_id: gateway.ended("loaded", job_id, limit_s=LIMIT_S), ids):
            assert (status["status"], status["metrics"]["succeeded"], status["metrics"]["failed"]) == ("succeeded", ITEMS // BATCH_SIZE, 0)
        assert len(set(notes.read_text().splitlines())) == JOBS * (ITEMS // BATCH_SIZE + 1), "a batch was lost"
        assert gateway.memory_peak_bytes() < MAX_MEMORY


def test_large_bodies_at_once_do_not_add_up_in_memory(shell: Terminal) -> None:
    body = item_list(["x" * 100] * 60_000, batch_size=2_000)  # 6 MiB; parsed it is more
    with serving(shell) as gateway, ThreadPoolExecutor(12) as pool:
        gateway.deploy(pod("loaded")).ok()
        answers = list(pool.map(lambda _: gateway.post("/batch/loaded?dryRun=true", body), range(24)))
        assert {(answer.status, answer.text) for answer in answers} == {(200, "validations passed")}
        assert gateway.memory_peak_bytes() < MAX_MEMORY


def test_a_large_submission_does_not_keep_others_from_their_answers(shell: Terminal) -> None:
    """While one thread works on large bodies, small requests go on; each is bounded only by what hangs."""
    body = item_list(range(1_200_000), batch_size=1_000)
    with serving(shell) as gateway, ThreadPoolExecutor(4) as pool:
        gateway.deploy(pod("loaded")).ok()
        large = [pool.submit(gateway.post, "/batch/loaded?dryRun=true", body) for _ in range(3)]
        answered = 0
        while not all(future.done() for future in large):
            assert gateway.get("/get/loaded").status == 200
            answered += 1
        assert [future.result().text for future in large] == ["validations passed"] * 3
        assert answered > 3, "nobody else was answered"
