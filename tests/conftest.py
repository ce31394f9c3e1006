"""What every test gets: an environment without the machine's settings, and real servers for those that ask for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import SQS_UP, moto_server, sqs_server

REPOSITORY = Path(__file__).parents[1]


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
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def elasticmq() -> str:
    """The URL of a real SQS server: BATCHFLOW_TEST_SQS, else ElasticMQ, which this starts at need and leaves running."""
    url = sqs_server()
    if url:
        return url
    reason = f"no SQS server: set BATCHFLOW_TEST_SQS, or have java and {SQS_UP.relative_to(REPOSITORY.parent)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
