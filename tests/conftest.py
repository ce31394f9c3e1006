"""What every test gets: an environment without the machine's settings, and real servers for those that ask for one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SQS_UP = REPOSITORY.parent / "shared" / "sqs" / "up"
SERVER_START_S = 120
SQS_UP_S = 600  # its first start on a machine fetches it


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AWS_* or BATCHFLOW_* of the machine reaches a test; credentials are fake."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BATCHFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, a process of its own: S3, and an SQS that is good for correctness only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + SERVER_START_S
        while not _answers(f"{url}/moto-api/"):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"moto's server did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def elasticmq() -> str:
    """The URL of a real SQS server: BATCHFLOW_TEST_SQS, else ElasticMQ, which this starts at need and leaves running."""
    given = os.environ.get("BATCHFLOW_TEST_SQS")
    if given:
        return given
    if SQS_UP.exists() and shutil.which("java"):
        output = subprocess.run([SQS_UP], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=SQS_UP_S, check=True).stdout
        name, _, url = output.split()[1].partition("=")
        assert name == "AWS_ENDPOINT_URL_SQS"
        return url
    reason = f"no SQS server: set BATCHFLOW_TEST_SQS, or have java and {SQS_UP.relative_to(REPOSITORY.parent)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
