"""SIGKILL of the local engine. What else is killed, and whenever: tests/faults."""

from __future__ import annotations

import os
import signal

from tests.acceptance.command import Job, Terminal, until

BATCHES = 40
HANDLER = """\
    def handle(self, payload):
        time.sleep(0.05)

    def on_job_complete(self):
        self.note("complete", None)
"""


def test_a_killed_engine_takes_its_children_along_and_resume_finishes(shell: Terminal) -> None:
    job = Job(shell.folder, "engine", HANDLER, items=range(BATCHES), workers=2)
    job_id = shell.submit(job.file)
    until(lambda: len(job.noted("ended")) >= BATCHES // 4, "some batches")
    engines = [pid for pid, command in shell.processes().items() if "batchflow.engines.local" in command]
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    shell.wait_until_alone()

    status = shell.status(job.api, job_id)
    assert status["status"] == "unexpected_error"
    assert "local engine ended before the job did" in status["message"]
    had_outcomes = status["batch_metrics"]["succeeded"]
    assert status["batches_without_outcome"] == BATCHES - had_outcomes
    before = len(job.noted("began"))

    shell.run("resume", job.api, job_id, "--watch", "-o", "json")
    status = shell.status(job.api, job_id)
    assert (status["status"], status["batch_metrics"]["succeeded"]) == ("succeeded", BATCHES)
    assert len(job.noted("began")) - before == BATCHES - had_outcomes, "resume handled a batch that had an outcome"
    assert job.notes()[-1] == ["complete", None]
    assert not list((shell.store / "queues").glob("cx_*")), "a queue was left"
