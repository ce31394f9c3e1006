"""What does not answer behind the gateway is told with 503, and the gateway stays."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import Answer, item_list, pod, serving

FILES = {"workers": 1, "file_path_lister": {"s3_paths": ["s3://bucket/a"], "batch_size": 1}}
AWS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_MAX_ATTEMPTS": "1"}
QUESTIONS = [
    ("GET", "/get"),
    ("GET", "/get/plain"),
    ("GET", "/batch/plain?jobID=7fffffffffffffff"),
    ("POST", "/batch/plain"),
    ("DELETE", "/batch/plain?jobID=7fffffffffffffff"),
    ("GET", "/plain"),
    ("DELETE", "/delete/plain"),
]


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """An address where nobody listens: the port is bound, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def is_outage(answer: Answer) -> None:
    assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0, answer
    assert list(answer.json())[:2] == ["kind", "message"] and "\n" not in answer.json()["message"]


def test_users_files_that_can_not_be_reached(shell: Terminal, nobody: str) -> None:
    with serving(shell, AWS_ENDPOINT_URL_S3=nobody, **AWS) as gateway:
        gateway.deploy(pod("plain")).ok()
        is_outage(gateway.post("/batch/plain", FILES))
        dry = gateway.post("/batch/plain?dryRun=true", FILES)
        assert dry.status == 503 and dry.type.startswith("text/plain") and dry.text.startswith("\n")
        assert gateway.job_ids("plain") == []
        job_id = gateway.submit("plain", item_list())
        assert gateway.ended("plain", job_id)["status"] == "succeeded"


def test_a_store_that_can_not_be_reached(shell: Terminal, nobody: str) -> None:
    with serving(shell, BATCHFLOW_STORE="s3://bucket/store", AWS_ENDPOINT_URL_S3=nobody, **AWS) as gateway:
        assert gateway.get("/healthz").status == 200
        for method, path in QUESTIONS:
            is_outage(gateway.request(method, path, b"{}" if method == "POST" else None))
        is_outage(gateway.deploy(pod("plain")))
        assert gateway.get("/metrics").status in (200, 503)
        assert gateway.get("/healthz").status == 200
