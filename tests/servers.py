"""Real servers for tests: moto's, a process of its own, and ElasticMQ."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SQS_UP = Path(__file__).parents[2] / "shared" / "sqs" / "up"
LOOPBACK = "127.0.0.1"
START_S = 120
SQS_UP_S = 600  # its first start on a machine fetches it


@contextmanager
def moto_server(log: Path, host: str = LOOPBACK) -> Iterator[str]:
    """The URL of moto's server at `host`: S3, and an SQS that is good for correctness only. Its output goes to `log`."""
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    url = f"http://{host}:{port}"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"{url}/moto-api/"):
            assert server.poll() is None and time.monotonic() < deadline, f"moto's server did not come up: {log.read_text()[-2000:]}"
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


def sqs_server(host: str = LOOPBACK) -> str | None:
    """The URL of a real SQS server: BATCHFLOW_TEST_SQS, else ElasticMQ at `host`, started at need and left running; None without one."""
    given = os.environ.get("BATCHFLOW_TEST_SQS")
    if given:
        return given
    if not (SQS_UP.exists() and shutil.which("java")):
        return None
    # one at a time: each of pytest's workers asks for it, and two would start two at one port
    with (Path(tempfile.gettempdir()) / "batchflow-tests-sqs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output = subprocess.run(
            [SQS_UP, host], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=SQS_UP_S, check=True
        ).stdout
    name, _, url = output.split()[1].partition("=")
    assert name == "AWS_ENDPOINT_URL_SQS"
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
