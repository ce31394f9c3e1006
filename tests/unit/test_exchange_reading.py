"""Answers in every form and in any pieces: which is read, what it says, and whether the connection may be used again."""

from __future__ import annotations

import http.client
import socket
import time

import pytest

from batchflow.exchange.messages import Reply
from batchflow.exchange.reading import Reading

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HANG_S = 20


def read(answer: bytes, piece_bytes: int, *, ends: bool = False) -> tuple[Reply, bool]:
    """The reply, and whether the server keeps the connection; `ends`: it closes after the answer."""
    ours, servers = socket.socketpair()
    with ours, servers:
        reading = Reading(_InPieces(ours, piece_bytes), time.monotonic() + HANG_S)  # type: ignore[arg-type]
        servers.sendall(answer)
        if ends:
            servers.shutdown(socket.SHUT_WR)
        return reading.reply("POST"), reading.keeps


class _InPieces:
    """A socket that gives at most so many bytes at a time."""

    def __init__(self, inner: socket.socket, piece_bytes: int) -> None:
        self._inner = inner
        self._piece_bytes = piece_bytes

    def recv(self, limit: int) -> bytes:
        return self._inner.recv(min(limit, self._piece_bytes))

    def settimeout(self, timeout_s: float) -> None:
        self._inner.settimeout(timeout_s)


@pytest.mark.parametrize("piece_bytes", [3, 7, 30, 65_536])
@pytest.mark.parametrize(
    ("answer", "status", "head", "keeps"),
    [
        (PLAIN, 200, b"hello", True),
        (CONTINUE + PLAIN, 200, b"hello", True),
        (CONTINUE + CONTINUE + PLAIN, 200, b"hello", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5 \r\nServer: x\r\nconnection: Keep-Alive\r\n\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 200, b"x" * 1024, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 200, b"hello", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, b"hello", True),
        (b"HTTP/1.1 200 OK\r\nX-Note: a\r\n Connection: none\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + PLAIN, 200, b"hello", True),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello", 500, b"hello", True),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200, b"hello", True),
    ],
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer: bytes, piece_bytes: int, status: int, head: bytes, keeps: bool) -> None:
    assert read(answer, piece_bytes) == (Reply(status, "", head), keeps)


@pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_an_answer_that_ends_with_the_connection_does_not_keep_it(answer: bytes) -> None:
    assert read(answer, 65_536, ends=True) == (Reply(200, "", b"hello"), False)


@pytest.mark.parametrize(
    "answer", [b"", CONTINUE, PLAIN[:10], PLAIN[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"]
)
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        read(answer, 65_536, ends=True)


def test_what_follows_a_whole_answer_is_not_waited_for() -> None:
    assert read(PLAIN + b"more", 65_536)[0] == Reply(200, "", b"hello")


@pytest.mark.parametrize("answer", [b"nonsense\r\n", b"SSH-2.0-x\n", b"HTTP/1.1 2x0 OK\r\n"])
def test_what_is_no_answer_is_known_by_its_first_line(answer: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        read(answer, 65_536)
