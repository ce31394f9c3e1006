"""The one exchange with a replica: what goes over the wire, and what counts as a whole answer."""

from __future__ import annotations

import http.client
import io
import socket
import tempfile
import threading
from contextlib import suppress
from typing import Any

import pytest

from batchflow.callrecords import Reply
from batchflow.courier.delivery import encoded_head, exchange, is_closed
from batchflow.errors import Unreachable
from tests.acceptance.command import until
from tests.unit.raw_server import OK, Connection, answers, request, server
from tests.unit.stored_calls import a_request

LARGE = 24 << 20
LIMIT = 1 << 20


def ask(port: int, sent: bytes = b"", *, limit_bytes: int = LIMIT, given_up: Any = lambda: False, **fields: Any) -> tuple[Reply, bytes]:
    """The reply and its body."""
    with (
        tempfile.TemporaryFile() as body,
        tempfile.TemporaryFile() as reply_body,
        socket.create_connection(("127.0.0.1", port), 20) as connection,
    ):
        body.write(sent)
        body.flush()
        reply = exchange(
            connection,
            a_request(**fields),
            f"127.0.0.1:{port}",
            body=body,
            reply_body=reply_body,
            limit_bytes=limit_bytes,
            given_up=given_up,
        )
        reply_body.seek(0)
        return reply, reply_body.read()


def lines(**fields: Any) -> list[str]:
    """The head of a request without a body."""
    return encoded_head(a_request(**{"headers": [], **fields}), "127.0.0.1:8000", 0).decode("latin-1").split("\r\n")[:-2]


OURS = ["X-Inference-Id: my-id", "Accept-Encoding: identity", "Connection: close"]


def test_the_request_arrives_as_it_was_sent() -> None:
    got: list[bytes] = []
    headers = [("Content-Type", "image/png"), ("X-Twice", "1"), ("x-twice", "2"), ("Cookie", "a=b"), ("X-Text", "gr\xfc\xdfe")]
    with server(answers(OK, got=got)) as port:
        ask(port, b"\0\xff body", method="PUT", target="/a%20b;c?d=e&f=%ff", headers=headers)
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert body == b"\0\xff body"
    assert head.decode("latin-1").split("\r\n") == [
        "PUT /a%20b;c?d=e&f=%ff HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: image/png",
        "X-Twice: 1",
        "x-twice: 2",
        "Cookie: a=b",
        "X-Text: gr\xfc\xdfe",
        *OURS,
        "Content-Length: 7",
    ]


@pytest.mark.parametrize(("method", "length"), [("GET", []), ("HEAD", []), ("DELETE", []), ("OPTIONS", []), ("BREW", []), ("POST", ["0"])])
def test_an_empty_body_is_announced_where_one_is_usual(method: str, length: list[str]) -> None:
    assert [line.partition(": ")[2] for line in lines(method=method) if line.startswith("Content-Length")] == length


@pytest.mark.parametrize(("target", "sent"), [("", "/"), ("?a=1", "/?a=1"), ("/", "/"), ("/a//b", "/a//b"), ("*", "/*")])
def test_a_target_is_a_path(target: str, sent: str) -> None:
    assert lines(target=target)[0] == f"POST {sent} HTTP/1.1"


def after(*pieces: bytes) -> Connection:
    """Read the request; then send the pieces, one by one, and close."""

    def connection(accepted: socket.socket) -> None:
        request(accepted)
        for piece in pieces:
            accepted.sendall(piece)

    return connection


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n02\r\ndy\r\n0\r\nX-Sum: 1\r\n\r\n"
)
UNTIL_END = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nbody"


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, UNTIL_END], ids=["length", "chunked", "until-the-end"])
@pytest.mark.parametrize("size", [1000, 1], ids=["at-once", "byte-by-byte"])
def test_an_answer_may_say_how_long_it_is_in_each_way(answer: bytes, size: int) -> None:
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    with server(after(*pieces)) as port:
        assert ask(port) == (Reply(200, "text/plain", 4), b"body")


@pytest.mark.parametrize(
    "answer",
    [
        *(LENGTH[:size] for size in range(len(LENGTH))),
        *(CHUNKED[:size] for size in range(len(CHUNKED))),
        *(UNTIL_END[:size] for size in range(UNTIL_END.index(b"body"))),
        LENGTH.replace(b"Content-Length: 4", b"Content-Length: 5"),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00\x01\x02",
    ],
    ids=lambda answer: repr(answer[-12:]),
)
def test_a_part_of_an_answer_is_none(answer: bytes) -> None:
    with server(after(answer)) as port, pytest.raises((OSError, http.client.HTTPException)):
        ask(port)


@pytest.mark.parametrize(
    ("method", "answer", "reply", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", Reply(200, "", 0), b""),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", Reply(204, "", 0), b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", Reply(304, "", 0), b""),
        ("POST", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reply(200, "", 0), b""),
        ("POST", b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 2\r\n\r\nno", Reply(302, "", 2), b"no"),
        ("POST", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", Reply(500, "", 2), b"no"),
        ("POST", b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, Reply(200, "text/plain", 4), b"body"),
        (
            "POST",
            b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"
            + CHUNKED,
            Reply(200, "text/plain", 4),
            b"body",
        ),
    ],
)
def test_every_status_is_a_reply_but_1xx(method: str, answer: bytes, reply: Reply, body: bytes) -> None:
    with server(after(answer)) as port:
        assert ask(port, method=method) == (reply, body)


@pytest.mark.parametrize(
    ("line", "content_type"),
    [
        (b"Content-Type: application/json", "application/json"),
        (b"content-type:  text/html; charset=utf-8 ", "text/html; charset=utf-8"),
        (b"Content-Type: multipart/x;\r\n boundary=b", "multipart/x; boundary=b"),
        (b"Content-Type:", ""),
        (b"Content-Type: a/b\x07c", ""),
        (b"Content-Type: a/b\r\nContent-Type: c/d", "a/b"),
        (b"X: 1", ""),
    ],
)
def test_a_reply_has_the_content_type_that_it_says(line: bytes, content_type: str) -> None:
    with server(after(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n")) as port:
        assert ask(port)[0].content_type == content_type


def test_who_answers_while_it_reads_and_who_sends_while_it_is_answered_do_not_wait_for_each_other() -> None:
    def echo(accepted: socket.socket) -> None:
        accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        left = LARGE
        while left > 0:  # to the end: closing with something unread would break the connection
            data = accepted.recv(65_536)
            accepted.sendall(data)
            left -= len(data.rpartition(b"\r\n\r\n")[2]) if left == LARGE else len(data)

    with server(echo) as port:
        reply, body = ask(port, bytes(range(256)) * (LARGE // 256), limit_bytes=2 * LARGE)
    assert reply.status == 200 and body.startswith(b"POST /job") and len(body) >= LARGE


def test_an_answer_that_comes_before_the_request_was_read_counts() -> None:
    taken = threading.Event()

    def refuse(accepted: socket.socket) -> None:
        accepted.recv(10)
        accepted.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        taken.wait(20)

    with server(refuse) as port:
        assert ask(port, bytes(LARGE)) == (Reply(413, "", 2), b"no")
        taken.set()


@pytest.mark.parametrize(
    ("answer", "limit_bytes", "kept"),
    [
        (LENGTH, 4, True),
        (LENGTH, 3, False),
        (CHUNKED, 4, True),
        (CHUNKED, 3, False),
        (UNTIL_END, 4, True),
        (UNTIL_END, 3, False),
        (OK, 0, True),
    ],
)
def test_a_reply_that_is_too_large_says_so_by_its_size(answer: bytes, limit_bytes: int, kept: bool) -> None:
    with server(after(answer)) as port:
        assert (ask(port, limit_bytes=limit_bytes)[0].body_bytes <= limit_bytes) is kept


def test_a_reply_without_end_is_not_read_to_its_end() -> None:
    def endless(accepted: socket.socket) -> None:
        request(accepted)
        with suppress(OSError):
            accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                accepted.sendall(bytes(65_536))

    with server(endless) as port:
        reply, body = ask(port, limit_bytes=LIMIT)
    assert LIMIT < reply.body_bytes == len(body) < 2 * LIMIT


def test_an_answer_that_does_not_come_can_be_given_up() -> None:
    asked, over = threading.Event(), threading.Event()

    def silent(accepted: socket.socket) -> None:
        request(accepted)
        asked.set()
        over.wait(20)

    def given_up() -> bool:
        return asked.is_set()

    with server(silent) as port:
        with pytest.raises(TimeoutError, match="given up"):
            ask(port, given_up=given_up)
        over.set()


@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_disk_that_takes_no_more_is_not_taken_for_a_broken_connection(is_buffered: bool) -> None:
    with (
        server(after(LENGTH)) as port,
        socket.create_connection(("127.0.0.1", port), 20) as connection,
        tempfile.TemporaryFile() as body,
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(Unreachable, match="can't be kept on the courier's disk: No space left"),
    ):
        into: Any = io.BufferedWriter(full) if is_buffered else full
        exchange(connection, a_request(), "x", body=body, reply_body=into, limit_bytes=9, given_up=lambda: False)


def test_a_connection_is_looked_at_before_it_is_used() -> None:
    looked = threading.Event()
    with server(lambda accepted: looked.wait(20), lambda accepted: None) as port:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            assert not is_closed(connection)
            looked.set()
            until(lambda: is_closed(connection), "the server to close")
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            until(lambda: is_closed(connection), "the server to close")
