"""Trying store and queues: what works leaves nothing behind; all that a policy denies is named at once, and a failure ends the trial."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from batchflow.cluster.check import HERE, JOB_NAME, PODS, trial_job
from batchflow.cluster.trials import remove_trials, try_queues, try_store
from batchflow.enqueuer import queue_name
from batchflow.errors import InvalidInput
from batchflow.queues.open import open_queues
from batchflow.queues.protocol import Queues
from batchflow.records import JobRef, new_job_id
from batchflow.settings import Settings
from batchflow.store.directory import DirectoryStore
from batchflow.store.open import open_store

BUCKET = "trials"
URL = f"s3://{BUCKET}/jobs"
S3_ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject")
# What each call of SQS is denied as: the operations of a batch ask for the permission of a single one.
SQS_ACTIONS = {
    "CreateQueue": "sqs:CreateQueue and sqs:TagQueue",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "SendMessageBatch": "sqs:SendMessage",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "DeleteQueue": "sqs:DeleteQueue",
}
SERVER_START_S = 120


@pytest.fixture(scope="module")
def strict_s3() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """A moto server that enforces policies, and the credentials of a user for each set of actions left out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SERVER_START_S
        while not _answers(f"{url}/moto-api/"):
            assert server.poll() is None and time.monotonic() < deadline, "moto's server did not come up"
            time.sleep(0.1)
        root = {"endpoint_url": url, "region_name": "us-east-1", "aws_access_key_id": "root", "aws_secret_access_key": "root"}
        boto3.client("s3", **root).create_bucket(Bucket=BUCKET)
        users = {action: _user_without({action}, root) for action in (*S3_ACTIONS, "")}
        users["all"] = _user_without(set(S3_ACTIONS), root)
        enforce = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(enforce, timeout=30).close()
        yield url, users
    finally:
        server.kill()
        server.wait()


def _user_without(actions: set[str], root: dict[str, str]) -> dict[str, str]:
    iam = boto3.client("iam", **root)
    name = f"without-{'-'.join(sorted(actions)).replace(':', '.')}-"
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": [*set(S3_ACTIONS) - actions, "s3:ListAllMyBuckets"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@pytest.fixture
def denying_sqs(moto: str) -> Iterator[tuple[str, set[str]]]:
    """An SQS that answers the operations in the set as AWS does without the permission; the others go to moto."""
    denied: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if operation in denied:
                text = {
                    "__type": "com.amazon.coral.service#AccessDeniedException",
                    "Message": f"not authorized to perform: sqs:{operation}",
                }
                self._answer(400, json.dumps(text).encode(), {"x-amzn-query-error": "AccessDenied;Sender"})
                return
            request = urllib.request.Request(moto, body, dict(self.headers), method="POST")
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self._answer(answer.status, answer.read(), {})
            except urllib.error.HTTPError as error:
                self._answer(error.code, error.read(), dict(error.headers))

        def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name in headers.keys() & {"x-amzn-query-error"}:
                self.send_header(name, headers[name])
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", denied
        server.shutdown()


@pytest.fixture
def job() -> JobRef:
    return JobRef(JOB_NAME, new_job_id(time.time_ns()))


def test_a_store_that_works_is_left_as_it_was(job: JobRef, tmp_path: Path) -> None:
    assert try_store(lambda: DirectoryStore(tmp_path), job, deletes=True) == []
    assert list(DirectoryStore(tmp_path).list("")) == []


def test_a_pod_needs_no_permission_to_delete_and_leaves_what_it_wrote(
    strict_s3: tuple[str, dict[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch, job: JobRef, tmp_path: Path
) -> None:
    _become(strict_s3, "s3:DeleteObject", monkeypatch)
    assert try_store(lambda: open_store(URL), job, deletes=False) == []
    assert len(list(open_store(URL).list(f"doctor/{job.job_id}"))) == 2
    _become(strict_s3, "", monkeypatch)
    remove_trials(open_store(URL), open_queues(Settings(queues=f"sqlite:{tmp_path}")), job)
    assert list(open_store(URL).list(f"doctor/{job.job_id}")) == []


def test_a_queue_service_that_works_is_left_as_it_was(queues: Queues, name: str) -> None:
    assert try_queues(lambda: queues, name) == []
    assert queues.find(name) is None


@pytest.mark.parametrize("action", S3_ACTIONS)
def test_a_missing_permission_of_s3_is_named(
    strict_s3: tuple[str, dict[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    errors = _try_s3(strict_s3, action, monkeypatch)
    assert errors
    assert all(action in error.hint for error in errors), errors


def test_all_missing_permissions_of_s3_are_named_at_once(
    strict_s3: tuple[str, dict[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = " ".join(error.hint for error in _try_s3(strict_s3, "all", monkeypatch))
    assert all(action in hints for action in S3_ACTIONS), hints
    assert _try_s3(strict_s3, "", monkeypatch) == []


@pytest.mark.parametrize("operation", SQS_ACTIONS)
def test_a_missing_permission_of_sqs_is_named(
    denying_sqs: tuple[str, set[str]], monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    url, denied = denying_sqs
    denied.add(operation)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
    errors = try_queues(lambda: open_queues(Settings(queues="sqs")), name)
    assert len(errors) == 1 and SQS_ACTIONS[operation] in errors[0].hint, errors


def test_all_missing_permissions_for_a_queues_use_are_named_at_once(
    denying_sqs: tuple[str, set[str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    url, denied = denying_sqs
    use = list(SQS_ACTIONS)[2:]
    denied.update(use)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
    errors = try_queues(lambda: open_queues(Settings(queues="sqs")), name)
    assert len(errors) == len(use)
    assert all(SQS_ACTIONS[operation] in error.hint for operation, error in zip(use, errors, strict=True))


def test_a_server_that_is_not_there_is_told_once(monkeypatch: pytest.MonkeyPatch, job: JobRef, name: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        [of_store] = try_store(lambda: open_store(URL), job, deletes=True)
        [of_queues] = try_queues(lambda: open_queues(Settings(queues="sqs")), name)
    assert "PutObject" in of_store.what and "CreateQueue" in of_queues.what


def test_a_service_that_can_not_be_opened_is_an_error_as_any_other(monkeypatch: pytest.MonkeyPatch, job: JobRef, name: str) -> None:
    monkeypatch.delenv("AWS_REGION")
    [error] = try_queues(lambda: open_queues(Settings(queues="sqs")), name)
    assert isinstance(error, InvalidInput) and error.where == "AWS_REGION"
    [error] = try_store(lambda: open_store(""), job, deletes=True)
    assert error.where == "BATCHFLOW_STORE"


def test_what_a_trial_that_was_cut_off_left_behind_can_be_removed(queues: Queues, job: JobRef, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    trials = [trial_job(job.job_id, place) for place in (*PODS, HERE)]
    names = [queue_name(trial, store.url) for trial in trials]
    assert len(set(names)) == len(trials)
    for name in names:
        queues.create(name, visibility_s=60, tags={}).close()
    for trial in trials:
        store.put(f"doctor/{trial.job_id}-{trial.run}/object", b"1")
    store.put("jobs/other", b"1")
    for trial in trials:
        remove_trials(store, queues, trial)
        remove_trials(store, queues, trial)
    assert [queues.find(name) for name in names] == [None] * len(names)
    assert list(store.list("")) == ["jobs/other"]


def _try_s3(strict_s3: tuple[str, dict[str, dict[str, str]]], user: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    _become(strict_s3, user, monkeypatch)
    return try_store(lambda: open_store(URL), JobRef(JOB_NAME, new_job_id(time.time_ns())), deletes=True)


def _become(strict_s3: tuple[str, dict[str, dict[str, str]]], user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, users = strict_s3
    for variable, value in {**users[user], "AWS_ENDPOINT_URL_S3": url}.items():
        monkeypatch.setenv(variable, value)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
