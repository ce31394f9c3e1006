"""delete and prune: what they stop, what they remove, what they leave, and what they ask."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.acceptance.command import HANG_S, Job, Terminal, terminal, until
from tests.acceptance.test_deploy import handler, job_of, project

WAITS = """\
    def handle(self, payload):
        self.gate("gate")
"""


def of_job(shell: Terminal, job_id: str) -> list[Path]:
    """Every file and folder below this terminal that is named after the job."""
    return [path for path in shell.folder.rglob("*") if job_id in path.name]


def test_a_job_that_ended_is_deleted_with_all_there_is_of_it(shell: Terminal) -> None:
    job = Job(shell.folder, "done")
    first, second = (shell.run("submit", job.file, "--watch", "-o", "json").json()["job_status"]["job_id"] for _ in range(2))
    assert of_job(shell, first)
    assert shell.run("delete", "done", first).lines() == [f"deleted job {first}"]
    assert of_job(shell, first) == []
    refused = shell.run("get", "done", first, code=3)
    assert f"unable to find BatchAPI job {first} (done api)" in refused.err
    assert shell.run("delete", "done", first, code=3).err == refused.err
    assert [status["job_id"] for status in shell.listed("done")] == [second]
    assert shell.logs("done", second)
    assert shell.run("delete", "done", second, "-o", "json").json() == {"message": f"deleted job {second}"}


@pytest.fixture
def quick_to_kill(tmp_path: Path) -> Iterator[Terminal]:
    with terminal(tmp_path, BATCHFLOW_GRACE_S="1") as shell:
        yield shell


def test_a_job_that_runs_is_deleted_by_force_only(quick_to_kill: Terminal) -> None:
    shell = quick_to_kill
    job = Job(shell.folder, "runs", WAITS)
    job_id = shell.submit(job.file)
    job.wait_for("began", [1])
    refused = shell.run("delete", "runs", job_id, code=2)
    assert refused.err == f"batchflow: {job_id} (runs api): is running; stop it first, with batchflow stop runs {job_id}, or say --force\n"
    assert shell.status("runs", job_id)["status"] == "running"
    done = shell.run("delete", "runs", job_id, "--force")
    assert (done.lines(), done.err) == ([f"deleted job {job_id}"], f"stopping job {job_id}\n")
    assert of_job(shell, job_id) == []
    shell.wait_until_alone()
    assert job.notes() == [["began", [1]]]


def test_an_api_is_deleted_with_its_jobs_those_that_run_are_stopped(quick_to_kill: Terminal) -> None:
    shell = quick_to_kill
    kept = Job(shell.folder, "kept")
    shell.run("deploy", kept.file.parent / "cortex.yaml")
    kept_id = shell.run("submit", kept.file, "--watch", "-o", "json").json()["job_status"]["job_id"]
    job = Job(shell.folder, "gone", WAITS)
    shell.run("deploy", job.file.parent / "cortex.yaml")
    ended = shell.submit(job.file)
    job.wait_for("began", [1])
    shell.run("stop", "gone", ended)
    shell.ended("gone", ended)
    running = shell.submit(job.file)
    until(lambda: len(job.noted("began")) == 2, "the second job's first batch")
    done = shell.run("delete", "gone")
    assert (done.lines(), done.err) == (["deleting gone"], f"stopping job {running}\n")
    assert of_job(shell, ended) == of_job(shell, running) == []
    assert sorted(path.name for path in (shell.store / "apis").iterdir()) == ["kept"]
    assert list((shell.store / "queues").glob("cx_*")) == []
    assert "gone is not deployed" in shell.run("get", "gone", code=3).err
    assert "gone is not deployed" in shell.run("delete", "gone", code=3).err
    assert shell.status("kept", kept_id)["status"] == "succeeded"


def test_keep_cache_stops_jobs_and_keeps_what_they_left(quick_to_kill: Terminal) -> None:
    shell = quick_to_kill
    job = Job(shell.folder, "kept", WAITS)
    shell.run("deploy", job.file.parent / "cortex.yaml")
    by_name = job_of(shell.folder / "j", "kept")
    job_id = shell.submit(by_name, "--set", f"config.folder={job.notebook}")
    job.wait_for("began", [1])
    assert shell.run("delete", "kept", "--keep-cache", "-o", "json").json() == {"message": "deleting kept"}
    assert shell.status("kept", job_id)["status"] == "stopped"
    assert "kept is not deployed" in shell.run("submit", by_name, code=3).err
    assert [api["metadata"]["last_updated"] for api in shell.run("get", "-o", "json").json()] == [None]
    job.open("gate")
    shell.run("resume", "kept", job_id, "--watch")  # its version is still there
    assert shell.status("kept", job_id)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("delete", "api", "--force"), "--force: needs a job; the jobs of an api are stopped anyway"),
        (("delete", "api", "0" * 16, "--keep-cache"), "--keep-cache: is for a whole api; leave the flag out, or the job"),
        (("prune", "--older-than", "30"), '--older-than: "30" is not an age; say for example 30d, 12h, 90m or 45s'),
        (("prune", "--older-than", "999999999d"), '--older-than: "999999999d" is not an age; say for example 30d, 12h, 90m or 45s'),
        (("prune",), "Missing option '--older-than'; see python -m batchflow prune --help"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(shell: Terminal, arguments: tuple[str, ...], error: str) -> None:
    assert shell.run(*arguments, code=2).err == f"batchflow: {error}\n"


def test_who_misspells_an_api_is_told_so_whatever_the_id_is(shell: Terminal) -> None:
    """It may be that of a job deployment's job, which is the client's own."""
    assert "misspelt is not deployed; batchflow get lists what is" in shell.run("delete", "misspelt", "mine", "--yes", code=3).err


def in_terminal(shell: Terminal, *arguments: str, answer: str) -> tuple[int, str]:
    """The exit code and what a real terminal showed."""
    screen, keyboard = pty.openpty()
    os.write(screen, answer.encode())
    command = [sys.executable, "-m", "batchflow", *arguments]
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.environ, stdin=keyboard, stdout=keyboard, stderr=keyboard)
    os.close(keyboard)
    seen = b""
    with contextlib.suppress(OSError), os.fdopen(screen, "rb", buffering=0) as output:  # it closes when the command ends
        while data := output.read(4096):
            seen += data
    return process.wait(HANG_S), seen.decode()


def test_on_a_terminal_a_deletion_asks_first(shell: Terminal) -> None:
    shell.run("deploy", project(shell.folder / "p", handler("one"), handler("two")))
    code, seen = in_terminal(shell, "delete", "one", answer="n\n")
    assert code == 130
    assert "delete one with all its jobs and their records? [y/N]:" in seen
    assert [api["spec"]["name"] for api in shell.run("get", "-o", "json").json()] == ["one", "two"]
    code, seen = in_terminal(shell, "delete", "one", answer="y\n")
    assert (code, seen.split()[-2:]) == (0, ["deleting", "one"])
    code, seen = in_terminal(shell, "delete", "two", "--yes", answer="")
    assert (code, seen.split()) == (0, ["deleting", "two"])
    assert shell.run("get", "-o", "json").json() == []


@pytest.fixture(params=["directory", "s3-on-moto"])
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    settings = {}
    if request.param == "s3-on-moto":
        url, bucket = request.getfixturevalue("moto"), f"store-{uuid.uuid4().hex}"
        settings = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
        settings |= {"AWS_ENDPOINT_URL_S3": url, "BATCHFLOW_STORE": f"s3://{bucket}/p", "BATCHFLOW_QUEUES": f"sqlite:{tmp_path}/queues"}
        boto3.session.Session().client("s3", region_name="us-east-1", endpoint_url=url).create_bucket(Bucket=bucket)
    with terminal(tmp_path, **settings) as shell:
        yield shell


def test_from_deploy_to_prune(either_store: Terminal) -> None:
    """Every command on apis, once, in both stores; what is unused is pruned, and then the rest when it is not wanted any more."""
    shell = either_store
    file = project(shell.folder / "p", handler("one"))
    assert shell.run("deploy", file).lines() == ["created one (BatchAPI)"]
    by_name = job_of(shell.folder / "j", "one")
    done = shell.run("submit", by_name, "--watch", "-o", "json").json()["job_status"]
    assert done["status"] == "succeeded"
    (file.parent / "handler.py").write_text((file.parent / "handler.py").read_text() + "# changed\n")
    assert shell.run("deploy", file).lines() == ["updated one (BatchAPI)"]
    [listed] = shell.run("get", "-o", "json").json()
    assert listed["batch_job_statuses"] == [done]
    api_id = listed["metadata"]["id"]
    assert api_id != done["api_id"]
    assert {version["api_id"] for version in listed["api_versions"]} == {api_id, done["api_id"]}
    assert shell.run("prune", "--older-than", "1d").lines() == ["nothing to remove"]  # the job needs its version
    dry = shell.run("prune", "--older-than", "0s", "--dry-run").lines()
    assert dry[:2] == [f"would remove job one {done['job_id']} succeeded", f"would remove version one {done['api_id']}"]
    assert re.fullmatch("would remove project [0-9a-f]{64}", dry[2])
    assert len(dry) == 3
    assert shell.run("get", "one", done["job_id"], "-o", "json").json()["job_status"] == done
    pruned = shell.run("prune", "--older-than", "0s", "-o", "json").json()
    assert pruned == {
        "jobs": [{"api_name": "one", "job_id": done["job_id"], "status": "succeeded"}],
        "versions": [{"api_name": "one", "api_id": done["api_id"]}],
        "projects": [dry[2].split()[-1]],
        "uploads": [],
    }
    assert shell.run("get", "one").lines()[0] == "no submitted batch jobs"
    assert shell.run("submit", by_name, "--watch", "-o", "json").json()["job_status"]["api_id"] == api_id
    assert shell.run("delete", "one").lines() == ["deleting one"]
    assert [line.split()[:2] for line in shell.run("prune", "--older-than", "1d").lines()] == [["removed", "project"]]
    assert shell.run("prune", "--older-than", "0s").lines() == ["nothing to remove"]
    assert shell.run("get", "-o", "json").json() == []
