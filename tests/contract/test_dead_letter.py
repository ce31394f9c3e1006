"""A submission's dead-letter queue is refused only where the answer is sure."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput
from batchflow.queues.dead_letter import check_dead_letter_queue
from batchflow.queues.protocol import Queue, Queues
from batchflow.queues.sqlite import SqliteQueues
from batchflow.queues.sqs import SqsQueues
from tests.contract.work_kit import handler

ACCOUNTS = {"moto": "123456789012", "elasticmq": "000000000000", "sqlite": "123456789012"}
BAD = [
    ("failed.fifo", '"failed.fifo" is not the ARN of a queue'),
    ("arn:aws:sqs:us-east-1:123456789012:failed", '"failed" is not the name of a FIFO queue'),
    ("arn:aws:sqs:us-east-1:123456789012:../../x.fifo", ""),
]
BAD_ON_SQS = [
    ("arn:aws:s3:us-east-1:123456789012:failed.fifo", ""),
    ("arn:aws:sqs:us-west-2:123456789:failed.fifo", ""),  # accounts have 12 digits
    ("arn:aws:sqs::123456789012:failed.fifo", ""),
]


@pytest.fixture(params=["moto", "elasticmq"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> str:
    """An SQS server; nobody says which account we are of."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", request.getfixturevalue(request.param))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{closed_port}")
    return str(request.param)


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        yield bound.getsockname()[1]


@pytest.fixture
def moto_at_work(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    for name in ("SQS", "STS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", moto)


def test_a_queue_that_is_there_passes(queues: Queues, queue: Queue, name: str, backend: str) -> None:
    check_dead_letter_queue(queues, f"arn:aws:sqs:us-east-1:{ACCOUNTS[backend]}:{name}")


def test_a_queue_that_is_not_there_is_refused_with_cortexs_words(service: str) -> None:
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNTS[service]}:never_{uuid.uuid4().hex}.fifo"
    with pytest.raises(InvalidInput) as caught:
        check_dead_letter_queue(SqsQueues(), arn)
    assert caught.value.what == f"failed to create sqs queue: {arn.rpartition(':')[2]}: the queue does not exist"
    assert caught.value.kind == "error"


@pytest.mark.parametrize(("arn", "reason"), BAD + BAD_ON_SQS)
def test_no_arn_of_a_fifo_queue_is_refused_unasked(arn: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_dead_letter_queue(SqsQueues(), arn)
    name = arn.rpartition(":")[2]
    assert caught.value.what.startswith(f"failed to create sqs queue: {name}: {reason or chr(34)}")


@pytest.mark.parametrize("arn", [arn for arn, _ in BAD])
def test_a_file_of_sqlites_needs_a_name_too(tmp_path: Path, arn: str) -> None:
    with pytest.raises(InvalidInput, match="failed to create sqs queue"):
        check_dead_letter_queue(SqliteQueues(tmp_path), arn)


def test_the_check_makes_no_file(tmp_path: Path) -> None:
    check_dead_letter_queue(SqliteQueues(tmp_path / "queues"), "arn:aws:sqs:us-west-2:123456789:failed.fifo")
    assert not (tmp_path / "queues").exists()


@pytest.mark.usefixtures("moto_at_work")
def test_another_accounts_queue_may_be_there_although_we_do_not_see_it() -> None:
    queues = SqsQueues()
    check_dead_letter_queue(queues, "arn:aws:sqs:us-east-1:999999999999:never.fifo")
    with pytest.raises(InvalidInput, match="does not exist"):
        check_dead_letter_queue(queues, "arn:aws:sqs:us-east-1:123456789012:never.fifo")


ANYBODYS = "arn:aws:sqs:us-east-1:123456789012:failed.fifo"


def test_a_service_that_is_out_of_reach_says_nothing(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{closed_port}")
    check_dead_letter_queue(SqsQueues(), ANYBODYS)


@pytest.mark.usefixtures("moto_at_work")
def test_without_credentials_or_a_region_of_ones_own_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    check_dead_letter_queue(SqsQueues(), ANYBODYS)


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidClientTokenId", "ExpiredToken", "ThrottlingException"])
def test_who_may_not_look_is_not_refused(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    answer = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}).encode()
    with handler(lambda _: (403, answer)) as sqs:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{sqs.port}")
        check_dead_letter_queue(SqsQueues(), ANYBODYS)
    assert sqs.requests
