"""What only SQS has: how its errors are told."""

from __future__ import annotations

import socket

import pytest

from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.open import open_queues
from batchflow.queues.sqs import SqsQueues
from batchflow.settings import Settings


def test_a_server_that_is_not_there_is_unreachable_and_the_error_names_queue_and_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"^jobs\.fifo: CreateQueue failed"):
            SqsQueues().create("jobs.fifo", visibility_s=60, tags={})


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(InvalidInput, match=r"^AWS_REGION: "):
        SqsQueues()


def test_the_older_region_variable_will_do(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert SqsQueues().find("never.fifo") is None


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unreachable, match="AWS_ACCESS_KEY_ID"):
        SqsQueues().find("jobs.fifo")


def test_an_arn_of_a_queue_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    arn = "arn:aws:sqs:eu-west-1:123456789012:never.fifo"
    with pytest.raises(NotFound, match=arn):
        SqsQueues().open_arn(arn)


@pytest.mark.parametrize("queues", ["", "redis", "sqlite:relative", "sqlite:"])
def test_an_unknown_queue_service_is_refused(queues: str) -> None:
    with pytest.raises(InvalidInput, match=r"^BATCHFLOW_QUEUES: "):
        open_queues(Settings(queues=queues))
