"""An answer of SQS or S3 of which only a part arrived is none, wherever it was cut off."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from batchflow.errors import Unreachable
from batchflow.queues.protocol import Queue
from batchflow.queues.sqs import SqsQueues
from batchflow.records import Message
from batchflow.store.open import open_store
from batchflow.store.protocol import Store
from tests.unit.raw_server import request

MESSAGE = Message("[1]", "1", "1", {})
LISTED = b"""<?xml version="1.0"?><ListBucketResult><Name>jobs</Name><IsTruncated>false</IsTruncated>
<Contents><Key>a</Key><Size>1</Size><ETag>"e"</ETag></Contents></ListBucketResult>"""
SENT = {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "35dba5d75538a9bbe0b4da4422759a0e"}], "Failed": []}


class Answering:
    """Answers every request with `answer`, then closes the connection."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    request(connection)
                    connection.sendall(self.answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._listener.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    server = Answering()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield server
    server.close()


def http(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: {len(body)}\r\nDate: Mon, 23 Nov 2026 02:10:27 GMT\r\n\r\n"
    return head.encode() + body


def places(answer: bytes) -> list[int]:
    """Where to cut: at and about what the headers and the body are made of."""
    found = {0, 5, 12, 15, 16, 17, len(answer) - 1, len(answer) // 2}
    for mark in (b"ETag", b"Content-Length", b"Content-Length: ", b"Date", b"\r\n\r\n"):
        found |= {answer.index(mark) + offset for offset in (0, len(mark) - 1, len(mark))}
    return sorted(place for place in found if place < len(answer))


def check_that_no_part_is_taken_for_the_answer(server: Answering, answer: bytes, call: Callable[[], object]) -> None:
    for place in places(answer):
        server.answer = answer[:place]
        try:
            result = call()
        except Unreachable:
            continue
        pytest.fail(f"{answer[:place]!r} was taken for {result!r}")


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (SENT, lambda queue: queue.send([MESSAGE])),
        ({"Messages": []}, lambda queue: queue.receive(10, 0, 60)),
        ({"Attributes": {"ApproximateNumberOfMessages": "1", "ApproximateNumberOfMessagesNotVisible": "2"}}, lambda queue: queue.depth()),
    ],
    ids=["send", "receive", "depth"],
)
def test_of_sqs(server: Answering, body: object, call: Callable[[Queue], object]) -> None:
    queue = SqsQueues().open(f"{server.url}/1/jobs.fifo")
    server.answer = http(json.dumps(body).encode())
    call(queue)
    check_that_no_part_is_taken_for_the_answer(server, server.answer, lambda: call(queue))


def opened(store: Store, key: str) -> bytes:
    stream = store.open(key)
    assert stream is not None
    with stream:
        return b"".join(iter(lambda: stream.read(3), b""))


@pytest.mark.parametrize(
    ("body", "call", "result"),
    [
        (b"content", lambda store: store.get("a"), b"content"),
        (b"content", lambda store: opened(store, "a"), b"content"),
        (LISTED, lambda store: list(store.list("")), ["a"]),
    ],
    ids=["get", "open", "list"],
)
def test_of_s3(server: Answering, body: bytes, call: Callable[[Store], object], result: object) -> None:
    store = open_store("s3://jobs")
    server.answer = http(body)
    assert call(store) == result
    check_that_no_part_is_taken_for_the_answer(server, server.answer, lambda: call(store))


def test_what_an_answer_does_not_say_to_be_sent_is_to_be_sent_again(server: Answering) -> None:
    queue = SqsQueues().open(f"{server.url}/1/jobs.fifo")
    server.answer = http(b"{}")
    [refused] = queue.send([MESSAGE])
    assert (refused.message, refused.permanent) == (MESSAGE, False)


def test_an_answer_that_says_that_it_has_no_body_is_whole(server: Answering) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    open_store("s3://jobs").put("a", b"")
