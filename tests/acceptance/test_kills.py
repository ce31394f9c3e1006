"""SIGKILL of any one process of a local job, at a random moment: every batch has an outcome all the same, and each outcome is true.

The seed is printed; BATCHFLOW_KILL_SEED=N repeats a run's choices (not the machine's timing), BATCHFLOW_KILL_RUNS=N makes more of them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Job, Json, Terminal, until

SEED = int(os.environ.get("BATCHFLOW_KILL_SEED") or time.time_ns() % 1_000_000)
RUNS = int(os.environ.get("BATCHFLOW_KILL_RUNS") or 30)
AT_ONCE = 3
BATCHES = 40
SHORT = {"BATCHFLOW_VISIBILITY_S": "3", "BATCHFLOW_HEARTBEAT_S": "1", "BATCHFLOW_GRACE_S": "3"}

HANDLER = """\
    def handle(self, payload):
        time.sleep(0.05)

    def on_job_complete(self):
        self.note("complete", None)
"""


@dataclass(frozen=True)
class Target:
    """A container, and how long after its start it may be killed: about as long as it lives."""

    step: str
    container: str
    within_s: float


TARGETS = (
    Target("enqueue", "main", 0.5),
    Target("work", "main", 4.0),
    Target("work", "handler", 3.0),
    Target("finalize", "main", 1.0),
    Target("cleanup", "main", 0.8),
)


def containers(folder: Path, target: Target) -> list[str]:
    """The ids (`process://<guard>/<child>`) of the running containers of that kind."""
    try:
        pods = json.loads((folder / "pods.json").read_text())
    except FileNotFoundError:
        return []
    found = []
    for pod in pods:
        if f"-{target.step}-" in pod["metadata"]["name"]:
            status = pod["status"]
            for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
                if container["name"] == target.container and "running" in container["state"]:
                    found.append(container["containerID"])
    return found


def kill_one(folder: Path, target: Target, choice: random.Random, ended: threading.Event) -> str:
    """Kill one process of that kind; says which, or "missed" if it ended before its moment came."""
    while not containers(folder, target):
        if ended.wait(0.01):
            return "missed"
    time.sleep(choice.uniform(0, target.within_s))
    living = containers(folder, target)
    if not living:
        return "missed"
    guard, child = choice.choice(living).removeprefix("process://").split("/")
    role, pid = choice.choice((("guard", guard), ("child", child), ("child", child)))
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        return "missed"
    return role


def faulted_run(shell: Terminal, number: int) -> tuple[Target, str]:
    """One job with one kill, checked against what its handler really did; returns what was killed."""
    choice = random.Random(f"{SEED}-{number}")
    target = TARGETS[number % len(TARGETS)]
    job = Job(shell.folder, f"kill-{number}", HANDLER, items=range(BATCHES), workers=2)
    job_id = f"{choice.getrandbits(64):016x}"
    ended = threading.Event()
    with ThreadPoolExecutor(1) as killer:
        kill = killer.submit(kill_one, shell.store / "local" / f"{job.api}-{job_id}", target, choice, ended)
        shell.submit(job.file, "--job-id", job_id)
        status = shell.ended(job.api, job_id)
        ended.set()
        killed = kill.result()
    story = f"run {number}: {killed} of {target.step}/{target.container}; {status}"
    check(job, status, story, one_may_fail=target.container == "handler")
    return target, killed


def check(job: Job, status: Json, story: str, *, one_may_fail: bool) -> None:
    failed = status["batches_failed"]
    assert status["batches_without_outcome"] == 0, story
    assert failed <= one_may_fail, story
    assert status["status"] == ("completed_with_failures" if failed else "succeeded"), story
    assert status["batch_metrics"]["succeeded"] == BATCHES - failed, story
    notes = job.notes()
    handled = {rest[0][0] for event, *rest in notes if event == "ended"}
    assert len(handled) >= BATCHES - failed, story
    assert len({rest[0][0] for event, *rest in notes if event == "began"}) >= BATCHES - failed, story
    complete = [place for place, (event, *_) in enumerate(notes) if event == "complete"]
    first_ends = {rest[0][0]: place for place, (event, *rest) in reversed(list(enumerate(notes))) if event == "ended"}
    assert complete, story
    assert max(first_ends.values()) < complete[0], f"the hook ran before the last batch; {story}"


def test_whatever_is_killed_every_batch_has_a_true_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Terminal(tmp_path, **SHORT)
    with capsys.disabled():
        print(f"\nBATCHFLOW_KILL_SEED={SEED}: {RUNS} runs")
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            killed = list(pool.map(lambda number: faulted_run(shell, number), range(RUNS)))
        shell.wait_until_alone()
    finally:
        shell.close()
    counted = Counter(f"{how} of {target.step}/{target.container}" for target, how in killed)
    with capsys.disabled():
        print(", ".join(f"{n} × {what}" for what, n in sorted(counted.items())))
    assert not list((shell.store / "queues").glob("cx_*")), "a queue was left"
    assert sum(how != "missed" for _, how in killed) >= RUNS // 2, "most kills missed: the moments no longer fit the steps"


def test_a_killed_engine_takes_its_children_along_and_resume_finishes(shell: Terminal) -> None:
    job = Job(shell.folder, "engine", HANDLER, items=range(BATCHES), workers=2)
    job_id = shell.submit(job.file)
    until(lambda: len(job.noted("ended")) >= BATCHES // 4, "some batches")
    engines = [pid for pid, command in shell.processes().items() if "batchflow.engines.local" in command]
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    shell.wait_until_alone()

    status: dict[str, Any] = shell.status(job.api, job_id)
    assert status["status"] == "unexpected_error"
    assert "local engine ended before the job did" in status["message"]
    had_outcomes = status["batch_metrics"]["succeeded"]
    assert status["batches_without_outcome"] == BATCHES - had_outcomes
    before = len(job.noted("began"))

    shell.run("resume", job.api, job_id, "--watch", "-o", "json")
    status = shell.status(job.api, job_id)
    check(job, status, "resumed", one_may_fail=False)
    assert len(job.noted("began")) - before == BATCHES - had_outcomes, "resume handled a batch that had an outcome"
    assert not list((shell.store / "queues").glob("cx_*")), "a queue was left"
