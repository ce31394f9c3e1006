"""stop, Ctrl-C, a closed terminal, and resume: a job goes on, or ends, as it was told, and no batch with an outcome is handled again."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import HANG_S, Job, Json, Result, Terminal, terminal, until

# Batch 1 waits for its gate; batches 0, 2 and 3 don't.
ONE_WAITS = """\
    def handle(self, payload):
        if payload == ["wait"]:
            self.gate("gate")
"""
ITEMS = ["first", "wait", "third", "fourth"]


def counts(status: Json) -> tuple[str, int, int, int, int]:
    """Status, batches in all, succeeded, failed attempts, without an outcome."""
    metrics = status["batch_metrics"]
    return status["status"], status["total_batch_count"], metrics["succeeded"], metrics["failed"], status["batches_without_outcome"]


def is_leaving(shell: Terminal, job: Job, job_id: str) -> bool:
    return any("leaving" in line for line in shell.logs(job.api, job_id, "--container", "main"))


class Stopped:
    """A job that was stopped by `batchflow stop` with a batch in hand, and resumed."""

    def __init__(self, shell: Terminal) -> None:
        self.job = Job(shell.folder, "stopped", ONE_WAITS, items=ITEMS)
        self.id = shell.submit(self.job.file)
        self.job.wait_for("began", ["wait"])
        self.answer = shell.run("stop", self.job.api, self.id)
        until(lambda: is_leaving(shell, self.job, self.id), "the worker to see the stop")
        self.begun_while_in_hand = self.job.noted("began")
        self.refused_resume = shell.run("resume", self.job.api, self.id, code=None)
        self.job.open("gate")
        self.status = shell.ended(self.job.api, self.id)
        shell.wait_until_alone()
        self.queues_left = list((shell.store / "queues").glob("cx_*"))
        self.watched = shell.run("get", self.job.api, self.id, "--watch", code=None)
        self.notes_before_resume = self.job.notes()
        self.resumed = shell.run("resume", self.job.api, self.id, "--watch", "-o", "json", code=None)
        self.again = shell.run("resume", self.job.api, self.id, code=None)
        self.stop_again = shell.run("stop", self.job.api, self.id, code=None)


@pytest.fixture(scope="module")
def stopped(shared_shell: Terminal) -> Stopped:
    return Stopped(shared_shell)


def test_stop_lets_the_batch_in_hand_finish_and_begins_no_other(stopped: Stopped) -> None:
    assert stopped.answer.out == f"stopped job {stopped.id}\n"
    assert stopped.begun_while_in_hand == [["first"], ["wait"]]
    assert stopped.notes_before_resume[-1] == ["ended", ["wait"]]
    assert counts(stopped.status) == ("stopped", 4, 2, 0, 2)
    assert stopped.status["message"] == "2 of 4 batches have no outcome"
    assert "end_time" in stopped.status


def test_a_stopped_job_leaves_no_queue(stopped: Stopped) -> None:
    assert stopped.queues_left == []


def test_watching_a_stopped_job_exits_1(stopped: Stopped) -> None:
    assert stopped.watched.code == 1
    assert re.search(r"^status: +stopped$", stopped.watched.out, re.M)


def test_resume_handles_only_what_was_left(stopped: Stopped) -> None:
    assert stopped.resumed.code == 0, stopped.resumed.err
    status = stopped.resumed.json()["job_status"]
    assert counts(status) == ("succeeded", 4, 4, 0, 0)
    assert status["run"] == 2
    assert stopped.job.noted("began") == stopped.job.noted("ended") == [["first"], ["fourth"], ["third"], ["wait"]]


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("refused_resume", r"job {id} of stopped is running; stop it, or wait for its end"),
        ("again", r"every batch of job {id} of stopped has an outcome; there is nothing to resume"),
        ("stop_again", r"{id} \(stopped api\): cannot stop BatchAPI job because it is not in progress"),
    ],
)
def test_what_can_not_be_done_is_refused_in_one_line(stopped: Stopped, which: str, text: str) -> None:
    refused: Result = getattr(stopped, which)
    assert refused.code == 2
    assert refused.out == ""
    assert re.fullmatch(rf"batchflow: {text.format(id=stopped.id)}\n", refused.err), refused.err


def test_a_handler_that_hangs_and_ignores_sigterm_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    hangs = """\
    def __init__(self, config):
        super().__init__(config)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def handle(self, payload):
        while True:
            time.sleep(1)
"""
    with terminal(tmp_path, BATCHFLOW_GRACE_S="1") as shell:
        job = Job(tmp_path, "hangs", hangs)
        job_id = shell.submit(job.file)
        job.wait_for("began", [1])
        shell.run("stop", job.api, job_id)
        assert counts(shell.ended(job.api, job_id)) == ("stopped", 3, 0, 0, 3)
        shell.wait_until_alone()
        assert job.notes() == [["began", [1]]]


def test_a_hook_that_was_cut_off_runs_when_the_job_is_resumed(tmp_path: Path) -> None:
    hook = """\
    def handle(self, payload): pass
    def on_job_complete(self):
        self.note("hook", [])
        self.gate("gate")
"""
    with terminal(tmp_path, BATCHFLOW_GRACE_S="1") as shell:
        job = Job(tmp_path, "hook", hook)
        job_id = shell.submit(job.file)
        job.wait_for("hook", [])
        assert shell.run("stop", job.api, job_id, "-o", "json").json() == {"message": f"stopped job {job_id}"}
        status = shell.ended(job.api, job_id)
        assert counts(status) == ("stopped", 3, 3, 0, 0)
        assert status["message"] == "every batch was handled, but on-job-complete has not answered"
        job.open("gate")
        resumed = shell.run("resume", job.api, job_id, "-o", "json").json()
        assert resumed == {"message": f"resumed job {job_id}", "workflow": f"hook-{job_id}-r2"}
        assert counts(shell.ended(job.api, job_id)) == ("succeeded", 3, 3, 0, 0)
        assert job.noted("began") == [[1], [2], [3]]
        assert job.noted("hook") == [[], []]


def test_stop_ends_a_job_that_is_still_enqueuing(shell: Terminal) -> None:
    lines = shell.folder / "lines.jsonl"
    lines.write_text("".join(f"{n}\n" for n in range(1_000_000)))
    job = Job(shell.folder, "enqueues", item_list=None, delimited_files={"s3_paths": [str(lines)], "batch_size": 1})
    job_id = shell.submit(job.file)
    until(lambda: shell.status(job.api, job_id)["total_batch_count"] > 0, "the first batches")
    assert shell.status(job.api, job_id)["status"] == "enqueuing"
    shell.run("stop", job.api, job_id)
    status = shell.ended(job.api, job_id)
    assert (status["status"], status["batches_without_outcome"]) == ("stopped", None)
    assert status["message"] == "enqueuing had not ended"
    shell.wait_until_alone()
    assert list((shell.store / "queues").glob("cx_*")) == []
    assert job.notes() == []


@pytest.fixture(scope="module")
def interrupted(shared_shell: Terminal) -> Iterator[tuple[Job, str, Result, Json]]:
    """A job whose watching `submit` got Ctrl-C with a batch in hand: job, id, how the command ended, the status afterwards."""
    shell = shared_shell
    job = Job(shell.folder, "interrupted", ONE_WAITS, items=ITEMS)
    watching = shell.start("submit", job.file, "--local", "--watch")
    job.wait_for("began", ["wait"])
    [job_id] = [status["job_id"] for status in shell.listed(job.api)]
    os.killpg(watching.pid, signal.SIGINT)  # as a terminal does, to the whole group
    until(lambda: is_leaving(shell, job, job_id), "the worker to see the stop")
    job.open("gate")
    result = shell.wait(watching, code=None)
    shell.wait_until_alone()
    yield job, job_id, result, shell.status(job.api, job_id)


def test_ctrl_c_stops_a_local_job_in_an_orderly_way(interrupted: tuple[Job, str, Result, Json]) -> None:
    job, _, result, status = interrupted
    assert result.code == 130
    assert "Traceback" not in result.out + result.err
    assert counts(status) == ("stopped", 4, 2, 0, 2)
    assert job.noted("ended") == [["first"], ["wait"]]


def test_submitting_a_stopped_job_again_under_its_id_resumes_it(shared_shell: Terminal, interrupted: tuple[Job, str, Result, Json]) -> None:
    job, job_id, _, _ = interrupted
    done = shared_shell.run("submit", job.file, "--job-id", job_id, "--watch", "-o", "json")
    assert done.json()["job_status"]["job_id"] == job_id
    assert counts(done.json()["job_status"]) == ("succeeded", 4, 4, 0, 0)
    assert job.noted("began") == [["first"], ["fourth"], ["third"], ["wait"]]


def test_a_job_outlives_a_watcher_that_is_killed(shell: Terminal) -> None:
    job = Job(shell.folder, "outlives", ONE_WAITS, items=ITEMS)
    watching = shell.start("submit", job.file, "--watch")
    job.wait_for("began", ["wait"])
    watching.kill()
    watching.communicate()
    job.open("gate")
    [job_id] = [status["job_id"] for status in shell.listed(job.api)]
    assert counts(shell.ended(job.api, job_id)) == ("succeeded", 4, 4, 0, 0)


def test_a_job_outlives_the_terminal_that_showed_its_progress(shell: Terminal) -> None:
    """The terminal is a real one: closing it sends SIGHUP to what runs in it."""
    job = Job(shell.folder, "closed", ONE_WAITS, items=ITEMS)
    screen, keyboard = pty.openpty()
    in_terminal = ["sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1', "sh", os.ttyname(keyboard)]
    command = [sys.executable, "-m", "batchflow", "submit", str(job.file), "--watch"]
    environ = {**shell.environ, "TERM": "xterm"}
    watching = subprocess.Popen([*in_terminal, *command], cwd=shell.folder, env=environ, start_new_session=True)
    os.set_blocking(screen, False)
    seen = bytearray()

    def shown() -> bytes:
        assert watching.poll() is None, seen.decode()
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(screen, 4096))
        return bytes(seen)

    until(lambda: b"running: 1/4 batches" in shown(), "the progress bar", shown)
    os.close(keyboard)
    os.close(screen)
    watching.wait(HANG_S)
    job.open("gate")
    [job_id] = [status["job_id"] for status in shell.listed(job.api)]
    assert counts(shell.ended(job.api, job_id)) == ("succeeded", 4, 4, 0, 0)


HOOK_NEEDS_A_FILE = """\
    def handle(self, payload): pass

    def on_job_complete(self):
        self.note("hook", None)
        (self.folder / "mended").read_text()
"""


def test_resume_asks_a_hook_again_that_failed_and_handles_nothing_twice(shell: Terminal) -> None:
    job = Job(shell.folder, "hook", HOOK_NEEDS_A_FILE)
    failed = shell.run("submit", job.file, "--watch", "-o", "json", code=1).json()["job_status"]
    assert counts(failed) == ("worker_error", 3, 3, 0, 0)
    assert "FileNotFoundError" in failed["message"]
    job.open("mended")
    shell.run("resume", job.api, failed["job_id"], "--watch")
    assert counts(shell.status(job.api, failed["job_id"])) == ("succeeded", 3, 3, 0, 0)
    assert job.noted("began") == [[1], [2], [3]]
    assert len(job.noted("hook")) == 2
