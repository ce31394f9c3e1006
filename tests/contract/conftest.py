"""A queue of every kind, for the suites that hold for each: SQLite, SQS on ElasticMQ (a real SQS server), SQS on moto's server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Queue, Queues
from batchflow.settings import Settings


@pytest.fixture(params=["sqlite", "elasticmq", "moto"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def queues(backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Queues:
    if backend == "sqlite":
        return open_queues(Settings(queues=f"sqlite:{tmp_path}/queues"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", request.getfixturevalue(backend))
    return open_queues(Settings(queues="sqs"))


@pytest.fixture
def name() -> str:
    return f"contract_{uuid.uuid4().hex[:12]}.fifo"


@pytest.fixture
def queue(queues: Queues, name: str) -> Iterator[Queue]:
    queue = queues.create(name, visibility_s=60, tags={"batchflow": "test"})
    yield queue
    queue.close()
    queues.remove(queue.url)
