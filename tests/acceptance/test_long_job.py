"""examples/long-job: the app by itself, its deployment behind a gateway, and the client with Verda's SDK."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import EXAMPLES, HANG_S, Json, Result, Terminal, until
from tests.acceptance.gateway.kit import Gateway, serving

EXAMPLE = EXAMPLES / "long-job"
LONG_S = 600  # a job that somebody ends


class App:
    """app.py as a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    def request(self, method: str, path: str) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def health(self) -> str:
        """Its status; empty while it does not listen."""
        try:
            return str(self.request("GET", "/health")[1]["status"])
        except ConnectionRefusedError:
            return ""


@contextmanager
def app(folder: Path) -> Iterator[App]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {"PATH": os.environ["PATH"], "PORT": str(port)}
    with (folder / "app.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(EXAMPLE / "app.py")], env=environ, cwd=folder, stdout=log, stderr=log)
    running = App(port, process)
    try:
        until(running.health, "the app to listen", (folder / "app.log").read_text)
        yield running
        process.wait(HANG_S)
    finally:
        process.kill()
        process.wait()


def run_client(gateway: Gateway, *arguments: str) -> Result:
    keys = {"VERDA_CLIENT_ID": "me", "VERDA_CLIENT_SECRET": "any", "VERDA_INFERENCE_KEY": "any"}
    environ = {**gateway.shell.environ, **keys, "VERDA_BASE_URL": f"http://127.0.0.1:{gateway.port}/v1"}
    command = [sys.executable, str(EXAMPLE / "client.py"), *arguments]
    done = subprocess.run(command, env=environ, cwd=gateway.shell.folder, capture_output=True, text=True, timeout=HANG_S, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as opened:
        shared_shell.run("deploy", EXAMPLE / "deployment.yaml")
        yield opened
        shared_shell.run("delete", "long-job")


def test_a_good_job_is_answered_and_ends_the_app_with_0(tmp_path: Path) -> None:
    with app(tmp_path) as running:
        status, body = running.request("POST", "/job?duration=0.1")
    assert (status, set(body), body["success"]) == (200, {"success", "message", "executionTime", "timestamp"}, True)
    assert body["executionTime"] >= 0.1
    assert running.process.returncode == 0


def test_a_failed_job_is_answered_and_ends_the_app_with_1(tmp_path: Path) -> None:
    with app(tmp_path) as running:
        assert running.request("POST", "/job?duration=0&failed=true") == (500, {"detail": "the job failed, as it was told to"})
    assert running.process.returncode == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/no-such-path", 404), ("POST", "/job?duration=long", 422), ("GET", "/job", 405), ("GET", "/openapi.json", 200)],
)
def test_every_answer_ends_the_app(tmp_path: Path, method: str, path: str, status: int) -> None:
    """Else the replica would hold its slot until the deadline."""
    with app(tmp_path) as running:
        assert running.request(method, path)[0] == status
    assert running.process.returncode == (0 if status < 400 else 1)


def test_an_answer_about_health_ends_nothing(tmp_path: Path) -> None:
    with app(tmp_path) as running:
        assert running.request("POST", "/health")[0] == 405
        assert running.request("POST", "/job?duration=0")[0] == 200
    assert running.process.returncode == 0


def test_the_app_takes_one_job_and_ends_at_sigterm(tmp_path: Path) -> None:
    with app(tmp_path) as running, ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.request, "POST", f"/job?duration={LONG_S}")
        until(lambda: running.health() == "busy", "the first job to begin")
        assert running.request("POST", "/job?duration=0")[0] == 503
        running.process.send_signal(signal.SIGTERM)
        assert first.exception(HANG_S) is not None  # nobody answers any more
    assert running.process.returncode == 143


def test_the_client_waits_for_a_good_job(gateway: Gateway) -> None:
    done = run_client(gateway, "--duration", "2")
    assert (done.code, done.err) == (0, "")
    sent, *lines = done.lines()
    assert sent.startswith("sent job ")
    assert "Completed" in lines
    assert json.loads(done.out.partition("Completed\n")[2])["success"] is True


def test_the_client_tells_of_a_failed_job(gateway: Gateway) -> None:
    done = run_client(gateway, "--duration", "0", "--failed")
    assert (done.code, done.err) == (1, "error: container replied with HTTP 500\n")
    assert json.loads(done.out.partition("Completed\n")[2]) == {"detail": "the job failed, as it was told to"}


def test_of_three_jobs_two_run_and_one_waits(gateway: Gateway) -> None:
    ids = ["first", "second", "third"]
    for id in ids:
        assert gateway.post(f"/long-job/job?duration={LONG_S}", {}, headers={"X-Inference-Id": id}).status == 202

    def statuses() -> list[str]:
        found: list[Json] = [gateway.get("/status/long-job", headers={"X-Inference-Id": id}).ok() for id in ids]
        return [status["Status"] for status in found]

    until(lambda: statuses() == ["Inference", "Inference", "Queue"], "two of three jobs to run", statuses)
    for id in reversed(ids):
        gateway.shell.run("stop", "long-job", id)
    until(lambda: statuses() == ["Completed"] * 3, "the end of all three", statuses)


def test_the_client_creates_the_deployment_where_there_is_none(shell: Terminal) -> None:
    """Then replicas start in the gateway's folder."""
    shutil.copy(EXAMPLE / "app.py", shell.folder)
    with serving(shell) as gateway:
        for _ in range(2):  # the second time it is there
            assert run_client(gateway, "--duration", "0").code == 0
        assert [view["name"] for view in shell.run("get", "-o", "json").json()] == ["long-job"]
        shell.run("delete", "long-job")
