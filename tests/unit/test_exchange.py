"""Redirects, as Go's default client follows them (net/http Client.do, redirectBehavior, defaultCheckRedirect), over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchflow.exchange import Client, Origin, Reply, Request
from batchflow.exchange.messages import redirected
from tests.contract.work_kit import handler
from tests.unit.raw_server import OK, answers, request, server

HEADERS = {"Content-Type": "application/json", "X-Cortex-Job-ID": "6ffffffffffffff0"}
HANG_S = 20


def redirect(status: int, location: str, *more: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} Go there", f"Location: {location}", "Content-Length: 0", *more, "", "")).encode()


def ask(port: int, *, timeout_s: float = HANG_S) -> Reply:
    client = Client(port)
    with contextlib.closing(client):
        return client.ask("POST", "/", HEADERS, b"[1]", time.monotonic() + timeout_s)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_301_302_303_are_asked_with_get_and_without_the_body(status: int) -> None:
    got: list[bytes] = []
    with server(answers(redirect(status, "/there?x=1"), OK, got=got)) as port:
        assert ask(port) == Reply(200, "", b"", f"http://127.0.0.1:{port}/there")
    head = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nX-Cortex-Job-ID: 6ffffffffffffff0\r\n"
    assert [data.decode() for data in got] == [
        f"POST / HTTP/1.1\r\n{head}Content-Length: 3\r\n\r\n[1]",
        f"GET /there?x=1 HTTP/1.1\r\n{head}\r\n",
    ]


@pytest.mark.parametrize("status", [307, 308])
def test_307_308_send_the_same_again(status: int) -> None:
    got: list[bytes] = []
    with server(answers(redirect(status, "/there"), redirect(status, "again"), OK, got=got)) as port:
        assert ask(port).status == 200
    assert [data.partition(b"\r\n")[0] for data in got] == [f"POST {path} HTTP/1.1".encode() for path in ("/", "/there", "/again")]
    assert all(data.endswith(b"\r\nContent-Length: 3\r\n\r\n[1]") for data in got)


def test_once_a_get_always_a_get() -> None:
    got: list[bytes] = []
    with server(answers(redirect(303, "/a"), redirect(307, "/b"), OK, got=got)) as port:
        assert ask(port).status == 200
    assert [data.split(b" ")[0] for data in got] == [b"POST", b"GET", b"GET"]
    assert got[2].endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([redirect(302, "/x"), b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope"], "status 404 from http://{0}/x: nope"),
        ([redirect(307, "/x?key=secret"), b"HTTP/1.1 204 No\r\n\r\n"], "status 204 from http://{0}/x"),
        ([b"HTTP/1.1 302 Where\r\nContent-Length: 0\r\n\r\n"], "status 302"),
        ([b"HTTP/1.1 307 Where\r\nContent-Length: 0\r\n\r\n"], "status 307"),
        ([redirect(304, "/x")], "status 304"),
        ([redirect(300, "/x")], "status 300"),
        ([redirect(305, "/x")], "status 305"),
        ([redirect(201, "/x")], "status 201"),
        ([redirect(302, "file:///etc/passwd")], "status 302: can't be redirected to file:///etc/passwd: no http or https URL"),
        ([redirect(302, "http://a b/")], "status 302: can't be redirected to http://a b/: no http or https URL"),
        ([redirect(302, "http://a..b/")], "status 302: can't be redirected to http://a..b/: no http or https URL"),
        ([redirect(302, f"http://{'a' * 64}/")], f"status 302: can't be redirected to http://{'a' * 64}/: no http or https URL"),
        ([redirect(302, "//x:99999/")], "status 302: can't be redirected to //x:99999/: Port out of range 0-65535"),
        ([redirect(307, "/")] * 10, "status 307 from http://{0}/: stopped after 10 redirects"),
    ],
)
def test_only_the_final_status_counts(replies: list[bytes], reason: str) -> None:
    with server(answers(*replies)) as port:
        assert ask(port).reason == reason.format(f"127.0.0.1:{port}")


def test_ten_requests_are_made_and_no_more() -> None:
    with server(answers(*[redirect(307, f"/{n}") for n in range(9)], OK)) as port:
        assert ask(port).status == 200


@pytest.mark.parametrize(
    ("location", "origin", "target"),
    [
        ("", None, None),
        ("/a", ("http", "pod", 8080), "/a"),
        ("a?b=c#d", ("http", "pod", 8080), "/dir/a?b=c"),
        ("../a", ("http", "pod", 8080), "/a"),
        ("?b", ("http", "pod", 8080), "/dir/file?b"),
        ("//other", ("http", "other", 80), "/"),
        ("http://other:81?b", ("http", "other", 81), "/?b"),
        ("HTTPS://Other.Example/a%20b", ("https", "other.example", 443), "/a%20b"),
        ("https://user:word@other/", ("https", "other", 443), "/"),
        ("http://[::1]:81/", ("http", "::1", 81), "/"),
        ("/ü".encode().decode("latin-1"), ("http", "pod", 8080), "/%C3%BC"),
        ('/a b\x0b"<>', ("http", "pod", 8080), "/a%20b%0B%22%3C%3E"),
    ],
)
def test_where_a_location_leads(location: str, origin: tuple[str, str, int] | None, target: str | None) -> None:
    asked = Request("POST", Origin("http", "pod", 8080), "/dir/file", HEADERS, b"[1]")
    follows = redirected(asked, Reply(308, location, b""))
    assert (follows and (tuple(follows.origin), follows.target)) == (target and (origin, target))
    if follows:
        assert (follows.method, follows.headers, follows.body) == ("POST", HEADERS, b"[1]")


@pytest.mark.parametrize("origin", [Origin("http", "::1", 81), Origin("https", "x", 443), Origin("https", "x", 80)])
def test_a_url_says_the_port_unless_it_is_the_schemes(origin: Origin) -> None:
    url = Request("GET", origin, "/a", {}).url
    assert url == {"::1": "http://[::1]:81/a", "x": f"https://x{':80' if origin.port == 80 else ''}/a"}[origin.host]


def test_another_server_is_asked_and_the_first_ones_connection_kept() -> None:
    got: list[bytes] = []
    with handler(lambda _: 200) as other, server(answers(redirect(307, f"http://localhost:{other.port}/x"), OK, got=got)) as port:
        client = Client(port)
        with contextlib.closing(client):
            replies = [client.ask("POST", "/", HEADERS, body, time.monotonic() + HANG_S) for body in (b"[1]", b"[2]")]
    assert [reply.url for reply in replies] == [f"http://localhost:{other.port}/x", ""]
    [request] = other.requests
    assert (request.path, request.body, request.headers["Host"]) == ("/x", b"[1]", f"localhost:{other.port}")
    assert [data[-3:] for data in got] == [b"[1]", b"[2]"]  # the same connection


def test_https_is_asked_with_its_certificate_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def secure(serve: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
        def connection(accepted: socket.socket) -> None:
            with contextlib.suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True) as wrapped:
                serve(wrapped)

        return connection

    with server(secure(answers(OK)), secure(answers(OK))) as other:
        location = redirect(307, f"https://localhost:{other}/x")
        with server(answers(location)) as port, pytest.raises(ssl.SSLCertVerificationError):
            ask(port)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with server(answers(location)) as port:
            assert ask(port).status == 200


def test_nobody_where_a_redirect_leads_is_no_refusal_of_the_handlers() -> None:
    text = r"^nobody listens at http://127\.0\.0\.1:1/x, where it redirected to$"
    leads = answers(redirect(307, "http://127.0.0.1:1/x?key=secret"))
    with server(leads) as port, pytest.raises(OSError, match=text) as caught:
        ask(port)
    assert not isinstance(caught.value, ConnectionRefusedError)


@pytest.mark.parametrize("chain", ["itself", "another"])
def test_one_deadline_bounds_the_whole_chain(chain: str) -> None:
    def slow(accepted: socket.socket) -> None:
        with contextlib.suppress(OSError, AssertionError):
            while not over.wait(0.2):
                request(accepted)
                accepted.sendall(redirect(307, location))

    over = threading.Event()
    location = "/"
    with server(slow) as other:
        location = "/" if chain == "itself" else f"http://127.0.0.1:{other}/"
        if chain == "itself":
            with pytest.raises(TimeoutError):
                ask(other, timeout_s=0.5)
        else:
            with server(answers(redirect(307, location))) as port, pytest.raises(TimeoutError):
                ask(port, timeout_s=0.5)
        over.set()


def test_a_request_to_another_server_can_be_aborted() -> None:
    got = threading.Event()

    def hangs(accepted: socket.socket) -> None:
        request(accepted)
        got.set()
        assert accepted.recv(1) == b""

    with server(hangs) as other, server(answers(redirect(307, f"http://127.0.0.1:{other}/"))) as port:
        client = Client(port)
        aborting = threading.Thread(target=lambda: (got.wait(HANG_S), client.abort()))
        aborting.start()
        with contextlib.closing(client), pytest.raises((OSError, http.client.HTTPException)):
            client.ask("POST", "/", HEADERS, b"[1]", time.monotonic() + 60)
        aborting.join()


def test_an_aborted_request_is_not_sent_again_as_if_the_kept_connection_had_been_closed_before() -> None:
    got = threading.Event()

    def answers_the_first(accepted: socket.socket) -> None:
        request(accepted)
        accepted.sendall(OK)
        request(accepted)
        got.set()
        assert accepted.recv(1) == b""

    with server(answers_the_first) as port:
        client = Client(port)
        aborting = threading.Thread(target=lambda: (got.wait(HANG_S), client.abort()))
        aborting.start()
        with contextlib.closing(client):
            assert client.ask("POST", "/", HEADERS, b"[1]", time.monotonic() + HANG_S).status == 200
            with pytest.raises(ConnectionAbortedError):
                client.ask("POST", "/", HEADERS, b"[2]", time.monotonic() + HANG_S)
        aborting.join()


def test_after_an_abort_nothing_is_asked() -> None:
    client = Client(1)
    client.abort()
    with pytest.raises(ConnectionAbortedError):
        client.ask("POST", "/", HEADERS, b"[1]", time.monotonic() + HANG_S)
