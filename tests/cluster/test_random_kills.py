"""Pods that are deleted at random moments, whichever they are: every batch has an outcome all the same, and each outcome is true.

The seed is printed; BATCHFLOW_KILL_SEED=N repeats a run's choices (not the cluster's timing).
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.cluster.kit import Cluster, Job, items

SEED = int(os.environ.get("BATCHFLOW_KILL_SEED") or time.time_ns() % 1_000_000)
JOBS = 3
BATCHES = 60
PAUSES_S = (3.0, 12.0)
HANDLED_S = 0.5
KILLS = 6  # of each job; then it may end


@pytest.mark.extended
def test_whatever_is_deleted_every_batch_has_a_true_outcome(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nBATCHFLOW_KILL_SEED={SEED}")
    described = items(BATCHES, {n: {"do": "sleep", "s": HANDLED_S} for n in range(BATCHES)})
    jobs = [Job(cluster, tmp_path, f"killed-{n}", items=described, workers=3).submit() for n in range(JOBS)]
    ended = threading.Event()
    killers = [threading.Thread(target=kill_some, args=(job, random.Random(f"{SEED}-{n}"), ended)) for n, job in enumerate(jobs)]
    for killer in killers:
        killer.start()
    try:
        for job in jobs:
            job.finished(limit_s=1200)
    finally:
        ended.set()
        for killer in killers:
            killer.join()


def kill_some(job: Job, choice: random.Random, ended: threading.Event) -> None:
    """Delete living pods of the job, any of them, half of them at once and half in good order."""
    for _ in range(KILLS):
        if ended.wait(choice.uniform(*PAUSES_S)):
            return
        living = [pod["metadata"]["name"] for pod in job.pods() if pod["status"].get("phase") in ("Pending", "Running")]
        if living:
            manner = choice.choice((["--grace-period=0", "--force"], []))
            job.cluster.kubectl("delete", "pod", choice.choice(living), "--ignore-not-found", "--wait=false", *manner)
