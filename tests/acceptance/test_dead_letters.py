"""Dead-letter queues on a real SQS server: what lies in the user's queue, and what the job's status says (spec/cortex.md section 7)."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchflow.queues.protocol import Queue
from batchflow.queues.sqs import SqsQueues
from batchflow.records import batch_id
from tests.acceptance.command import Job, Json, Terminal, terminal
from tests.acceptance.gateway.kit import item_list, pod, serving

ARN = "arn:aws:sqs:us-east-1:000000000000:{}"
FAR_TOO_LONG = "é" * 3000
FAILS = f'raise ValueError("{FAR_TOO_LONG}")'
ITEMS = [{"n": 0}, "é\u2028", 2.0, None, [4]]  # two a batch
ONE_FAILS = f"    def handle(self, payload):\n        if payload == [2.0, None]:\n            {FAILS}\n"
FAILS_AT_FIRST = f"    def handle(self, payload):\n        if self.times_begun(payload) == 1:\n            {FAILS}\n"

# Of the container generation: it refuses one batch.
SERVER = """\
import http.server, os, signal
class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        bad = body == b"[2.0,null]"
        text = b"no such colour\\nmore" if bad else b""
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.HTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Server).serve_forever()
"""


@pytest.fixture
def shell(tmp_path: Path, elasticmq: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Its jobs' queues are on the server, as are those of this process."""
    aws = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}
    aws |= {"AWS_ENDPOINT_URL_SQS": elasticmq, "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", elasticmq)
    with terminal(tmp_path, BATCHFLOW_QUEUES="sqs", **aws) as opened:
        yield opened


@pytest.fixture
def dlq(shell: Terminal) -> Iterator[Queue]:
    """The user's, with settings of its own."""
    queues = SqsQueues()
    queue = queues.create(f"failed_{uuid.uuid4().hex[:12]}.fifo", visibility_s=30, tags={})
    yield queue
    queues.remove(queue.url)


def arn_of(queue: Queue) -> str:
    return ARN.format(queue.url.rpartition("/")[2])


def counts(status: Json) -> tuple[str, int, int, int]:
    """Status; batches that succeeded and that failed; failed attempts."""
    return status["status"], status["batch_metrics"]["succeeded"], status["batches_failed"], status["batch_metrics"]["failed"]


def ran(shell: Terminal, job: Job) -> Json:
    return shell.ended(job.api, shell.submit(job.file))


def job_of(shell: Terminal, methods: str, arn: str | None, most: int = 3, **more: Any) -> Job:
    queue = {"arn": arn, "max_receive_count": most} if arn else None
    return Job(shell.folder, "letters", methods, items=ITEMS, batch_size=2, sqs_dead_letter_queue=queue, **more)


@pytest.mark.parametrize("most", [1, 3])
def test_a_failing_batch_is_handled_max_receive_count_times_and_then_lies_in_the_users_queue(
    shell: Terminal, dlq: Queue, most: int
) -> None:
    job = job_of(shell, ONE_FAILS, arn_of(dlq), most, workers=2)
    status = ran(shell, job)
    assert counts(status) == ("completed_with_failures", 2, 1, most)
    assert job.noted("began").count([2.0, None]) == most
    assert len(job.noted("ended")) == 2
    [delivery] = dlq.receive(10, wait_s=1, visibility_s=30)
    assert delivery.message.body == "[2.0,null]"
    attributes = dict(delivery.message.attributes)
    reason = attributes.pop("reason")
    assert attributes == {
        "api_name": "letters",
        "job_id": status["job_id"],
        "batch_index": "1",
        "batch_id": batch_id(status["job_id"], 1),
        "attempt": str(most),
    }
    assert reason.startswith("status 500: ValueError: éé")
    assert 1000 < len(reason.encode()) <= 1024
    [shown] = [line for line in shell.run("get", job.api, status["job_id"], "--failed").lines() if line.startswith("batch 1: ")]
    assert shown == f"batch 1: {reason} ({most} attempts)"


def test_batches_that_succeed_on_their_second_try_make_a_success(shell: Terminal, dlq: Queue) -> None:
    job = job_of(shell, FAILS_AT_FIRST, arn_of(dlq), 2)
    assert counts(ran(shell, job)) == ("succeeded", 3, 0, 3)
    assert len(job.noted("began")) == 6
    assert dlq.receive(10, wait_s=1, visibility_s=30) == []


def test_without_a_dead_letter_queue_one_attempt_is_final(shell: Terminal) -> None:
    job = job_of(shell, FAILS_AT_FIRST, None)
    assert counts(ran(shell, job)) == ("completed_with_failures", 0, 3, 3)
    assert len(job.noted("began")) == 3


def test_a_container_that_answers_badly_is_tried_again_too(shell: Terminal, dlq: Queue) -> None:
    """Cortex's containers lost such a batch: spec/cortex.md section 9, 1."""
    container = {"name": "server", "image": "any", "command": [sys.executable, "-c", SERVER]}
    job = job_of(shell, "", arn_of(dlq), 2, entry={"pod": {"port": 8080, "containers": [container]}})
    assert counts(ran(shell, job)) == ("completed_with_failures", 2, 1, 2)
    [delivery] = dlq.receive(10, wait_s=1, visibility_s=30)
    assert (delivery.message.body, delivery.message.attributes["attempt"]) == ("[2.0,null]", "2")
    assert delivery.message.attributes["reason"] == "status 500: no such colour"


def test_a_queue_that_is_not_there_is_refused_at_submission(shell: Terminal) -> None:
    job = job_of(shell, ONE_FAILS, ARN.format("never.fifo"))
    result = shell.run("submit", job.file, code=2)
    assert "failed to create sqs queue: never.fifo: the queue does not exist; " in result.err
    assert not (shell.store / "jobs").exists()


def test_the_gateway_refuses_it_as_cortex_did(shell: Terminal, dlq: Queue) -> None:
    with serving(shell) as gateway:
        gateway.deploy(pod("letters")).ok()
        answers = [
            gateway.post("/letters", item_list(sqs_dead_letter_queue={"arn": arn, "max_receive_count": 2}))
            for arn in (ARN.format("never.fifo"), arn_of(dlq))
        ]
        assert [answer.status for answer in answers] == [400, 200]
        assert answers[0].json() == {"kind": "error", "message": "failed to create sqs queue: never.fifo: the queue does not exist"}
        assert gateway.ended("letters", answers[1].json()["job_id"])["status"] == "succeeded"


def test_a_queue_that_is_removed_meanwhile_makes_an_outcome_that_says_so(shell: Terminal, dlq: Queue) -> None:
    """Nothing waits for it longer than BATCHFLOW_RETRY_S."""
    methods = "    def handle(self, payload):\n        self.gate('open')\n        raise OSError('disk full')\n"
    job = Job(shell.folder, "letters", methods, items=[1], sqs_dead_letter_queue={"arn": arn_of(dlq), "max_receive_count": 1})
    job_id = str(shell.run("submit", job.file, "-o", "json", BATCHFLOW_RETRY_S="1").json()["job_status"]["job_id"])
    job.wait_for("began", [1])
    SqsQueues().remove(dlq.url)
    job.open("open")
    assert counts(shell.ended(job.api, job_id)) == ("completed_with_failures", 0, 1, 1)
    [shown] = [line for line in shell.run("get", job.api, job_id, "--failed").lines() if line.startswith("batch 0: ")]
    assert "OSError: disk full" in shown and "; the dead-letter queue refuses: " in shown and "does not exist" in shown
