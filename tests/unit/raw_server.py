"""A server made of sockets, for what an HTTP server would never do."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Connection = Callable[[socket.socket], object]


@contextmanager
def server(*connections: Connection) -> Iterator[int]:
    """Serve one connection after the other, each by its own function; then close. Gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for connection in connections:
            accepted, _ = listener.accept()
            with accepted:
                connection(accepted)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(20)
    listener.close()
    assert not thread.is_alive(), "not every connection was made"


def answers(*replies: bytes, got: list[bytes] | None = None) -> Connection:
    """Read a request for each reply, into `got`; then close the connection."""

    def connection(accepted: socket.socket) -> None:
        for reply in replies:
            data = request(accepted)
            if got is not None:
                got.append(data)
            accepted.sendall(reply)

    return connection


def request(accepted: socket.socket) -> bytes:
    """A whole one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(accepted)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\nContent-Length: (\d+)", head)
    while len(body) < int(length[1] if length else 0):
        body += _some(accepted)
    return head + b"\r\n\r\n" + body


def _some(accepted: socket.socket) -> bytes:
    data = accepted.recv(65_536)
    assert data, "the client closed in mid-request"
    return data
