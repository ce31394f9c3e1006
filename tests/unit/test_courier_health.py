"""When a replica is given its job: spec/verda.md section 5."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from batchflow.courier import health
from batchflow.courier.health import Replica, connected_when_ready, is_ready
from tests.contract.work_kit import handler
from tests.unit.raw_server import Connection, request, server


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        *((200, f'{{"status": "{word}"}}'.encode(), True) for word in ("ok", "ready", "healthy", "running", "up", "OK", "Healthy")),
        *((200, f'{{"status": "{word}"}}'.encode(), False) for word in ("busy", "unhealthy", "Busy", "UNHEALTHY")),
        *((status, b'{"status": "ok"}', False) for status in (201, 204, 301, 302, 404, 429, 500, 503)),
        (200, b"", True),
        (200, b"OK", True),
        (200, b"unhealthy", True),  # no JSON
        (200, b"<html>", True),
        (200, b"\xff\xfe", True),
        (200, b'"busy"', True),
        (200, b'["busy"]', True),
        (200, b"{}", True),
        (200, b'{"status": null}', True),
        (200, b'{"status": 503}', True),
        (200, b'{"status": "loading"}', True),
        (200, b'{"state": "busy"}', True),
        (200, b'{"status": "ok", "checks": {"status": "unhealthy"}}', True),
        (200, b' \n{"load": [1, 2.5], "status": "busy"}\n', False),
    ],
)
def test_what_a_health_check_answers(status: int, body: bytes, ready: bool) -> None:
    assert is_ready(status, body) is ready


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "POLL_S", 0.01)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def check(replica: Replica, stop: threading.Event) -> None:
    """Returns when it is ready, and there is a connection to its own port."""
    connection = connected_when_ready(replica, stop)
    assert connection is not None
    with connection:
        assert connection.getpeername()[1] == replica.port
        assert connection.gettimeout() is None


def test_it_is_asked_until_it_is_ready(stop: threading.Event) -> None:
    answers: list[int | tuple[int, bytes]] = [503, 404, (200, b'{"status": "busy"}'), (200, b'{"status": "unhealthy"}'), 302, 200]
    left = iter(answers)
    with handler(lambda _: next(left)) as app, server(lambda accepted: None) as port:
        check(Replica(port, app.port, "/health?deep=1"), stop)
    assert [asked.path for asked in app.requests] == ["/health?deep=1"] * len(answers)
    assert app.requests[0].headers["Host"] == f"127.0.0.1:{app.port}"


def test_a_port_on_which_nobody_listens_yet_is_asked_again(stop: threading.Event) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made: list[bool] = []

    def wait() -> None:
        check(Replica(port, port, "/health"), stop)
        made.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    stop.wait(0.1)
    assert not made
    with handler(lambda _: 200, port) as app:
        waiting.join(20)
        assert made and len(app.requests) == 1


def test_without_a_health_check_an_open_port_will_do(stop: threading.Event) -> None:
    got: list[bytes] = []
    with server(lambda accepted: got.append(accepted.recv(1))) as port:
        check(Replica(port, 1, ""), stop)
    assert got == [b""]


def test_who_is_healthy_and_does_not_listen_is_not_ready(stop: threading.Event) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = threading.Event()

    def healthy(_: object) -> int:
        asked.set()
        return 200

    with handler(healthy) as app:
        ended = threading.Thread(target=lambda: connected_when_ready(Replica(port, app.port, "/"), stop))
        ended.start()
        assert asked.wait(20)
        ended.join(0.1)
        assert ended.is_alive()
        stop.set()
        ended.join(20)
        assert not ended.is_alive()


def broken(*pieces: bytes) -> Connection:
    def connection(accepted: socket.socket) -> None:
        request(accepted)
        for piece in pieces:
            accepted.sendall(piece)

    return connection


def test_what_breaks_or_is_no_http_is_asked_again(stop: threading.Event) -> None:
    good = broken(b"HTTP/1.0 200 OK\r\n\r\nfine")
    bad = [
        broken(),
        broken(b"HTTP/1.1 200 OK\r\nContent-"),
        broken(b"hello\r\n"),
        broken(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
    ]
    with server(*bad, good) as health_port, server(lambda accepted: None) as port:
        check(Replica(port, health_port, "/health"), stop)


def test_a_health_check_that_trickles_is_given_up(stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_TIMEOUT_S", 0.3)

    def trickle(accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            accepted.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not stop.wait(0.01):
                accepted.sendall(b"x")

    with server(trickle, broken(b"HTTP/1.0 200 OK\r\n\r\n")) as health_port, server(lambda accepted: None) as port:
        check(Replica(port, health_port, "/health"), stop)


def test_of_an_endless_body_only_the_beginning_is_read(stop: threading.Event) -> None:
    def endless(accepted: socket.socket) -> None:
        request(accepted)
        with contextlib.suppress(OSError):
            accepted.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"status": "busy", "more": "')
            while True:
                accepted.sendall(b"x" * 65_536)

    with server(endless) as health_port, server(lambda accepted: None) as port:
        check(Replica(port, health_port, "/health"), stop)


def test_who_is_asked_to_stop_waits_no_longer(stop: threading.Event) -> None:
    asked = threading.Event()

    def silent(accepted: socket.socket) -> None:
        asked.set()
        stop.wait(20)

    with server(silent) as port:
        threading.Thread(target=lambda: asked.wait(20) and stop.set()).start()
        assert connected_when_ready(Replica(port, port, "/health"), stop) is None


def test_a_port_without_a_server_never_answers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_the_same_port(address: tuple[str, int], timeout_s: float) -> socket.socket:
        """As the system may choose, once in some ten thousand times."""
        connection = socket.socket()
        connection.bind(address)
        connection.connect(address)
        return connection

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "create_connection", from_the_same_port)
    with pytest.raises(ConnectionRefusedError):
        health._connected(port)
