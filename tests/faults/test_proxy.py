"""The proxy does to real clients and servers what its rules say."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from tests.faults.proxy import FaultProxy, Rule

SEED = 1


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def client(service: str, url: str, read_timeout_s: float = 20) -> Any:
    """One that tries once."""
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=read_timeout_s)
    return boto3.session.Session().client(service, endpoint_url=url, config=config)


@contextmanager
def a_queue(server: str) -> Iterator[str]:
    sqs = client("sqs", server)
    attributes = {"FifoQueue": "true", "VisibilityTimeout": "30"}
    url = sqs.create_queue(QueueName=f"proxy_{uuid.uuid4().hex[:12]}.fifo", Attributes=attributes)["QueueUrl"]
    try:
        yield url
    finally:
        sqs.delete_queue(QueueUrl=url)
        sqs.close()


@pytest.fixture
def queue(elasticmq: str) -> Iterator[str]:
    with a_queue(elasticmq) as url:
        yield url


@pytest.fixture
def bucket(moto: str) -> str:
    name = f"proxy-{uuid.uuid4().hex[:12]}"
    client("s3", moto).create_bucket(Bucket=name)
    return name


def entries(count: int) -> list[dict[str, str]]:
    return [{"Id": str(n), "MessageBody": f"[{n}]", "MessageGroupId": str(n), "MessageDeduplicationId": str(n)} for n in range(count)]


def bodies(sqs: Any, queue: str) -> list[str]:
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    return sorted(message["Body"] for message in received.get("Messages", []))


def failing(call: Callable[[], Any]) -> Exception:
    with pytest.raises((BotoCoreError, ClientError)) as caught:
        call()
    return caught.value


def test_without_rules_sqs_is_as_ever_over_a_kept_connection(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        assert len(sqs.send_message_batch(QueueUrl=queue, Entries=entries(10))["Successful"]) == 10
        assert bodies(sqs, queue) == sorted(f"[{n}]" for n in range(10))
        assert bodies(sqs, queue) == []
        assert (proxy.calls, proxy.counts) == ({"SendMessageBatch": 1, "ReceiveMessage": 2}, {})


def test_without_rules_s3_is_as_ever(moto: str, bucket: str) -> None:
    large = bytes(range(256)) * 4096 * 11  # 11 MiB: three parts
    with FaultProxy(moto, [], SEED) as proxy:
        s3 = client("s3", proxy.url)
        s3.put_object(Bucket=bucket, Key="a/b", Body=b"content")
        s3.put_object(Bucket=bucket, Key="a/stream", Body=io.BytesIO(b"streamed"), ChecksumAlgorithm="SHA256")
        s3.upload_fileobj(io.BytesIO(large), bucket, "large", Config=TransferConfig(multipart_chunksize=5 << 20, use_threads=False))
        assert s3.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"content"
        assert s3.get_object(Bucket=bucket, Key="a/stream")["Body"].read() == b"streamed"
        assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == large
        assert s3.head_object(Bucket=bucket, Key="large")["ContentLength"] == len(large)
        assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b", "a/stream", "large"]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/b"}]})
        s3.delete_object(Bucket=bucket, Key="large")
        assert {**proxy.calls} == {
            "PutObject": 2,
            "CreateMultipartUpload": 1,
            "UploadPart": 3,
            "CompleteMultipartUpload": 1,
            "GetObject": 3,
            "HeadObject": 1,
            "ListObjectsV2": 1,
            "DeleteObjects": 1,
            "DeleteObject": 1,
        }


def test_throttled_calls_of_sqs_are_refused_in_both_of_its_words_and_not_done(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("throttle", ("SendMessageBatch",))], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        errors = [failing(lambda: sqs.send_message_batch(QueueUrl=queue, Entries=entries(1))) for _ in range(20)]
        assert {(e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"]) for e in errors} == {
            ("ThrottlingException", 400),
            ("RequestThrottled", 403),
        }
        assert bodies(sqs, queue) == []
        assert proxy.counts == {"throttle": 20}


@pytest.mark.parametrize(("kind", "status", "code"), [("throttle", 503, "SlowDown"), ("error", 500, "InternalError")])
def test_refused_calls_of_s3(moto: str, bucket: str, kind: Any, status: int, code: str) -> None:
    with FaultProxy(moto, [Rule(kind)], SEED) as proxy:
        s3 = client("s3", proxy.url)
        error = failing(lambda: s3.put_object(Bucket=bucket, Key="key", Body=b"x"))
        assert error.response["Error"]["Code"] == code
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert failing(lambda: s3.head_object(Bucket=bucket, Key="key")).response["Error"]["Code"] == str(status)
        proxy.replace([])
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_errors_of_sqs_are_the_services_own(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("error")], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        errors = [failing(lambda: bodies(sqs, queue)) for _ in range(20)]
        assert {e.response["ResponseMetadata"]["HTTPStatusCode"] for e in errors} == {500, 503}


def test_a_limit_passes_so_many_calls_a_second_of_each_operation(elasticmq: str, queue: str) -> None:
    refused = 0
    with FaultProxy(elasticmq, [Rule("limit", per_s=10)], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        started = time.monotonic()
        for _ in range(40):
            try:
                bodies(sqs, queue)
            except ClientError:
                refused += 1
        passed, seconds = 40 - refused, time.monotonic() - started
        assert sqs.get_queue_attributes(QueueUrl=queue)  # another operation has its own
        assert proxy.counts == {"limit": refused}
    assert 10 <= passed <= 11 + 10 * seconds


def test_a_refused_connection_is_reset_and_the_call_not_done(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("refuse", ("SendMessageBatch",))], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        error = failing(lambda: sqs.send_message_batch(QueueUrl=queue, Entries=entries(1)))
        assert "Connection reset" in repr(error.__context__), repr(error.__context__)
        assert bodies(sqs, queue) == []


def test_a_cut_answer_leaves_the_call_done(elasticmq: str, queue: str) -> None:
    cuts = set()
    with FaultProxy(elasticmq, [Rule("cut", ("SendMessageBatch",))], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        for entry in entries(10):
            try:
                # Cut off between two headers it is a whole answer for Python's http.client, an empty one.
                assert "Successful" not in sqs.send_message_batch(QueueUrl=queue, Entries=[entry])
                cuts.add("headers")
            except HTTPClientError:
                cuts.add("elsewhere")
        assert len(bodies(sqs, queue)) == 10
    assert cuts == {"headers", "elsewhere"}


@pytest.mark.parametrize("forwards", [False, True])
def test_a_call_that_hangs_is_done_only_if_it_is_forwarded(elasticmq: str, queue: str, forwards: bool) -> None:
    with FaultProxy(elasticmq, [Rule("hang", ("SendMessageBatch",), hang_s=60, forwards=forwards)], SEED) as proxy:
        sqs = client("sqs", proxy.url, read_timeout_s=0.5)
        assert isinstance(failing(lambda: sqs.send_message_batch(QueueUrl=queue, Entries=entries(1))), ReadTimeoutError)
        assert bodies(sqs, queue) == (["[0]"] if forwards else [])


def test_a_call_that_hangs_ends_without_an_answer(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("hang", hang_s=0.1)], SEED) as proxy:
        assert isinstance(failing(lambda: bodies(client("sqs", proxy.url), queue)), ConnectionClosedError)


def test_a_slow_call_is_late_and_done(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("slow", ("SendMessageBatch",), delay_s=1)], SEED) as proxy:
        hasty = client("sqs", proxy.url, read_timeout_s=0.2)
        assert isinstance(failing(lambda: hasty.send_message_batch(QueueUrl=queue, Entries=entries(1))), ReadTimeoutError)
        assert client("sqs", proxy.url).send_message_batch(QueueUrl=queue, Entries=entries(2))["Successful"]
        assert bodies(hasty, queue) == ["[0]", "[1]"]


@pytest.mark.parametrize("count", [1, 10])
def test_of_a_batch_call_some_entries_fail_and_only_the_others_are_done(elasticmq: str, queue: str, count: int) -> None:
    with FaultProxy(elasticmq, [Rule("partial")], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries(count))
        sent, failed = [entry["Id"] for entry in answer["Successful"]], [entry["Id"] for entry in answer["Failed"]]
        assert 1 <= len(failed) <= max(1, count // 2)
        assert sorted(sent + failed) == [str(n) for n in range(count)]
        assert bodies(sqs, queue) == [f"[{n}]" for n in sorted(sent)]
        assert proxy.counts == {"partial": len(failed)}


def test_every_message_is_received_twice(elasticmq: str, queue: str) -> None:
    client("sqs", elasticmq).send_message_batch(QueueUrl=queue, Entries=entries(10))
    with FaultProxy(elasticmq, [Rule("stale")], SEED) as proxy:
        sqs = client("sqs", proxy.url)
        received = [body for _ in range(5) for body in bodies(sqs, queue)]
        assert sorted(received) == sorted(2 * [f"[{n}]" for n in range(10)])
        assert proxy.counts == {"stale": 10}


def test_a_rule_holds_in_its_time_for_its_operations_and_as_often_as_it_says(elasticmq: str, queue: str) -> None:
    rules = [Rule("error", ("GetQueueAttributes",), end_s=1), Rule("throttle", ("ReceiveMessage",), probability=0.5)]
    with FaultProxy(elasticmq, rules, SEED) as proxy:
        sqs = client("sqs", proxy.url)
        failing(lambda: sqs.get_queue_attributes(QueueUrl=queue))
        for _ in range(60):
            try:
                bodies(sqs, queue)
            except ClientError:
                continue
        assert 10 < proxy.counts["throttle"] < 50
        time.sleep(1)
        assert sqs.get_queue_attributes(QueueUrl=queue)


def test_the_seed_decides(elasticmq: str, queue: str) -> None:
    def refused(seed: int) -> list[bool]:
        with FaultProxy(elasticmq, [Rule("throttle", probability=0.5)], seed) as proxy:
            sqs, found = client("sqs", proxy.url), []
            for _ in range(20):
                before = proxy.counts["throttle"]
                with suppress(ClientError):
                    sqs.get_queue_attributes(QueueUrl=queue)
                found.append(proxy.counts["throttle"] > before)
            return found

    assert refused(1) == refused(1) != refused(2)


def test_closing_ends_what_hangs(elasticmq: str, queue: str) -> None:
    with FaultProxy(elasticmq, [Rule("hang", hang_s=600)], SEED) as proxy, pytest.raises(ReadTimeoutError):
        bodies(client("sqs", proxy.url, read_timeout_s=0.2), queue)
    with pytest.raises((BotoCoreError, ClientError)):
        bodies(client("sqs", proxy.url), queue)
