"""The enqueuer's senders and a worker against an SQS and an S3 that throttle, fail, hang and cut: nothing lost, no crash, no busy loop."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from batchflow import contract
from batchflow.enqueuer.batching import Batch, Position
from batchflow.enqueuer.sending import SENDERS, Confirmed, Sender
from batchflow.queues.protocol import Depth, Queue
from batchflow.queues.sqs import SqsQueues
from batchflow.records import SUCCEEDED
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_store
from tests.contract.work_kit import ALL, JOB, Job, Request, handler, in_background, until
from tests.faults.proxy import FaultProxy, Rule

SEED = 6
BATCHES = 60
CALL_TIMEOUT_S = 2.0

# What a service does at its worst; a share of it also hits botocore's second and third try.
SERVICE = [
    pytest.param([Rule("throttle", probability=0.3)], id="throttles 30 %"),
    pytest.param([Rule("throttle", end_s=2)], id="throttles everything for 2 s"),
    pytest.param([Rule("error", probability=0.3)], id="errors"),
    pytest.param([Rule("refuse", probability=0.3)], id="resets"),
    pytest.param([Rule("cut", probability=0.3)], id="cuts answers"),
    pytest.param([Rule("hang", probability=0.1)], id="hangs"),
    pytest.param([Rule("hang", probability=0.1, forwards=True)], id="hangs when it is done"),
]
QUEUE = [*SERVICE, pytest.param([Rule("partial", probability=0.5)], id="fails entries"), pytest.param([Rule("stale")], id="delivers twice")]


@pytest.fixture
def proxy(elasticmq: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Before the queues; without rules at first."""
    with FaultProxy(elasticmq, [], SEED) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", proxy.url)
        yield proxy


@pytest.fixture
def queue(proxy: FaultProxy) -> Iterator[Queue]:
    queues = SqsQueues(CALL_TIMEOUT_S)
    queue = queues.create(f"pressure_{uuid.uuid4().hex[:12]}.fifo", visibility_s=3, tags={})
    yield queue
    proxy.replace([])
    queues.remove(queue.url)


@pytest.fixture
def job(tmp_path: Path, queue: Queue) -> Iterator[Job]:
    """In SQS behind the proxy, its records in a directory."""
    job = Job(tmp_path)
    job.queue.close()
    job.queue = queue
    job.settings = replace(job.settings, visibility_s=3, heartbeat_s=1, retry_s=60)
    yield job
    job.close()


@pytest.fixture
def store_proxy(moto: str, monkeypatch: pytest.MonkeyPatch, job: Job) -> Iterator[FaultProxy]:
    """Before the job's records, which are in S3 then."""
    bucket = f"pressure-{uuid.uuid4().hex[:12]}"
    boto3.session.Session().client("s3", region_name="us-east-1", endpoint_url=moto).create_bucket(Bucket=bucket)
    with FaultProxy(moto, [], SEED) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        job.records = JobRecords(open_store(f"s3://{bucket}", CALL_TIMEOUT_S), JOB)
        yield proxy
        proxy.replace([])


def send(queue: Queue, batches: int) -> None:
    with Sender(JOB, queue, Confirmed(0, Position()), retry_s=60, tick=lambda: None) as sender:
        for index in range(batches):
            sender.send(Batch(index, f"[{index}]", 1, Position()))
        sender.finish()
        assert sender.confirmed.next_index == batches


def indexes(queue: Queue) -> list[int]:
    """Of all that is in the queue."""
    found: list[int] = []
    while deliveries := queue.receive(ALL, 1, 60):
        found += [int(delivery.message.attributes["batch_index"]) for delivery in deliveries]
    return sorted(found)


@pytest.mark.parametrize("rules", QUEUE)
def test_every_batch_is_sent_once_whatever_sqs_does(proxy: FaultProxy, queue: Queue, rules: list[Rule]) -> None:
    proxy.replace([replace(rule, operations=("SendMessageBatch",)) for rule in rules if rule.kind != "stale"])
    send(queue, BATCHES)
    proxy.replace([])
    assert indexes(queue) == list(range(BATCHES))


def test_a_sender_that_is_throttled_makes_few_calls(proxy: FaultProxy, queue: Queue) -> None:
    proxy.replace([Rule("throttle", ("SendMessageBatch",), end_s=4)])
    send(queue, 300)
    assert SENDERS <= proxy.counts["throttle"] <= 15 * SENDERS  # of each of them, in 4 s


def test_a_limit_is_kept_to(proxy: FaultProxy, queue: Queue) -> None:
    proxy.replace([Rule("limit", ("SendMessageBatch",), per_s=50)])
    send(queue, 2000)
    refused, calls = proxy.counts["limit"], proxy.calls["SendMessageBatch"]
    assert calls - refused == 200
    assert 0 < refused <= calls / 3


@pytest.mark.parametrize("rules", QUEUE)
def test_every_batch_is_handled_and_deleted_whatever_sqs_does(proxy: FaultProxy, job: Job, rules: list[Rule]) -> None:
    job.enqueue(BATCHES)
    proxy.replace(rules)
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    proxy.replace([])
    assert sum(proxy.counts.values()) > 0
    assert {request.index for request in server.requests} == set(range(BATCHES))
    assert {o.outcome for outcomes in job.outcomes().values() for o in outcomes} == {SUCCEEDED}
    assert all(job.outcomes().values())
    assert job.queue.depth() == Depth(0, 0)


def test_a_worker_that_is_throttled_makes_few_calls(proxy: FaultProxy, job: Job) -> None:
    job.enqueue(BATCHES)
    before = sum(proxy.calls.values())
    proxy.replace([Rule("throttle", end_s=4)])
    calls: list[int] = []

    def counting(_: Request) -> int:
        calls.append(sum(proxy.calls.values()))
        return 200

    with handler(counting) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert len(job.only_outcomes()) == BATCHES
    assert 3 <= calls[0] - before <= 60  # the receiver's, and how much is left, until the first batch was handled


@pytest.mark.parametrize("rules", SERVICE)
def test_every_batch_is_handled_and_has_its_outcome_whatever_s3_does(store_proxy: FaultProxy, job: Job, rules: list[Rule]) -> None:
    job.enqueue(BATCHES)
    store_proxy.replace(rules)
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    store_proxy.replace([])
    assert sum(store_proxy.counts.values()) > 0
    assert all(job.outcomes().values())
    assert job.queue.depth() == Depth(0, 0)


def test_a_throttled_heartbeat_keeps_its_batch(proxy: FaultProxy, job: Job) -> None:
    job.settings = replace(job.settings, visibility_s=5, heartbeat_s=1)
    job.enqueue(1)
    over = threading.Event()

    def slow(_: Request) -> int:
        proxy.replace([Rule("throttle", ("ChangeMessageVisibilityBatch",), end_s=2)])
        over.wait(30)
        return 200

    with handler(slow) as server, in_background(lambda: job.work(server.port)) as worker:
        until(lambda: server.requests != [], "the batch is being handled")
        assert [job.queue.receive(ALL, 1, 1) for _ in range(7)] == [[]] * 7  # each waits for a second
        over.set()
    assert proxy.counts["throttle"] >= 1
    assert worker == [contract.EXIT_OK]
    assert len(job.only_outcomes()) == 1
