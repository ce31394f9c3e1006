"""What only SQS has: how its errors are told."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.open import open_queues
from batchflow.queues.sqs import SqsQueues
from batchflow.records import JobRef, batch_message
from batchflow.settings import Settings
from batchflow.store.open import open_store


def test_a_server_that_is_not_there_is_unreachable_and_the_error_names_queue_and_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"^jobs\.fifo: CreateQueue failed"):
            SqsQueues().create("jobs.fifo", visibility_s=60, tags={})


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(InvalidInput, match=r"^AWS_REGION: "):
        SqsQueues().find("jobs.fifo")


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


@pytest.mark.parametrize("service", ["sqs", "s3"])
def test_a_role_that_can_not_be_taken_on_is_no_missing_permission_of_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    (tmp_path / "token").write_text("token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/batchflow")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as sts:
        threading.Thread(target=sts.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{sts.server_address[1]}")
        with pytest.raises(Unreachable, match="AssumeRoleWithWebIdentity") as caught:
            SqsQueues().find("jobs.fifo") if service == "sqs" else open_store("s3://bucket/jobs").put("key", b"")
        sts.shutdown()
    assert "allow" not in caught.value.hint


def test_an_arn_of_a_queue_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    arn = "arn:aws:sqs:eu-west-1:123456789012:never.fifo"
    with pytest.raises(NotFound, match=arn):
        SqsQueues().open_arn(arn)


def test_a_queue_that_was_made_just_now_may_be_unknown_to_some_servers(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    """Stood in for by one that is gone: those that made it try again, all others have lost it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", moto)
    queues = SqsQueues()
    made = queues.create("just-now.fifo", visibility_s=60, tags={})
    queues.remove(made.url)
    message = batch_message(JobRef("words", "69a1b2c3d4e5f607"), 0, 1, "[1]")
    with pytest.raises(Unreachable, match="does not know the queue yet"):
        made.send([message])
    with pytest.raises(NotFound):
        queues.open(made.url).send([message])


@pytest.mark.parametrize("queues", ["", "redis", "sqlite:relative", "sqlite:"])
def test_an_unknown_queue_service_is_refused(queues: str) -> None:
    with pytest.raises(InvalidInput, match=r"^BATCHFLOW_QUEUES: "):
        open_queues(Settings(queues=queues))
