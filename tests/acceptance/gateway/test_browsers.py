"""A page that a browser on this machine shows can't use the gateway, with credentials or without."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.acceptance.command import HANG_S, Terminal
from tests.acceptance.gateway.kit import Gateway, pod, serving

TOKEN = "ours-0123456789abcdef"


@pytest.fixture(scope="module")
def open_gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as gateway:
        gateway.deploy(pod("plain")).ok()
        yield gateway


@pytest.fixture(scope="module")
def guarded(shared_shell: Terminal) -> Iterator[Gateway]:
    file = shared_shell.folder / "credentials.yaml"
    file.write_text(f"tokens: [{{token: {TOKEN}, namespace: guarded}}]")
    with serving(shared_shell, token=TOKEN, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        yield gateway


REQUESTS = [
    ("GET", "/get"),
    ("GET", "/get/plain"),
    ("POST", "/batch/plain"),
    ("DELETE", "/delete/plain"),
    ("GET", "/metrics"),
    ("GET", "/x"),
]


def is_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    for method, path in REQUESTS:
        answer = gateway.request(method, path, b"{}" if method == "POST" else None, headers=headers)
        assert answer.status == 403, (method, path, headers, answer)
        assert {"kind", "message"} <= set(answer.json())
        assert "Access-Control-Allow-Origin" not in answer.headers


HOSTS = [
    "localhost",
    "LocalHost",
    "127.0.0.1",
    "127.8.8.8:1234",
    "[::1]",
    "[::1]:8888",
]
FOREIGN_HOSTS = [
    *("rebound.example", "127.0.0.1.rebound.example", "localhost.rebound.example", "rebound.example:8888", "0.0.0.0", "[::]"),
    *(
        "192.0.2.1",
        "10.0.0.1:8888",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0177.0.0.1",
        "localhost@rebound.example",
        "rebound.example#localhost",
    ),
    *(
        "localhost/rebound.example",
        "localhost,rebound.example",
        "[::1",
        "::1",
        "",
        "\xff",
        "user@localhost",
        "[::ffff:8.8.8.8]",
    ),
]


@pytest.mark.parametrize("host", HOSTS)
def test_without_credentials_a_loopback_host_is_served(open_gateway: Gateway, host: str) -> None:
    assert open_gateway.get("/get/plain", headers={"Host": host}).status == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_without_credentials_any_other_host_is_refused(open_gateway: Gateway, host: str) -> None:
    """A name that an attacker lets point to 127.0.0.1 (DNS rebinding), or what a lax reader takes for it."""
    for method, path in REQUESTS:
        answer = open_gateway.request(method, path, b"{}" if method == "POST" else None, headers={"Host": host})
        assert answer.status in (400, 403), (method, path, answer)


def test_a_request_without_a_host_or_with_two_is_not_served(open_gateway: Gateway) -> None:
    for lines in (
        b"GET /get HTTP/1.0\r\n\r\n",
        b"GET /get HTTP/1.1\r\n\r\n",
        b"GET /get HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", open_gateway.port), timeout=HANG_S) as connection:
            connection.sendall(lines)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.split(b" ")[1] in (b"400", b"403"), (lines, answer)


@pytest.mark.parametrize("target", ["http://rebound.example/get", "http://rebound.example@localhost/get"])
def test_a_target_with_another_host_is_not_served(open_gateway: Gateway, target: str) -> None:
    """The target's host counts for more than the header's (RFC 9112 section 3.2.2)."""
    assert open_gateway.get(target, headers={"Host": "localhost"}).status in (400, 403, 404)


ORIGINS = [
    "https://attacker.example",
    "null",
    "",
    "http://localhost",
    "http://127.0.0.1:1",
    "file://",
    "http://attacker.example@127.0.0.1",
    "x",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_without_credentials_no_page_is_served(open_gateway: Gateway, origin: str) -> None:
    is_refused(open_gateway, {"Origin": origin})


def test_without_credentials_not_even_its_own_origin_is_served(open_gateway: Gateway) -> None:
    is_refused(open_gateway, {"Origin": f"http://127.0.0.1:{open_gateway.port}"})


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_to_be_of_another_site_is_refused(open_gateway: Gateway, guarded: Gateway, site: str) -> None:
    is_refused(open_gateway, {"Sec-Fetch-Site": site})
    is_refused(guarded, {"Sec-Fetch-Site": site})


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_token_does_not_open_for_another_sites_page(guarded: Gateway, origin: str) -> None:
    is_refused(guarded, {"Origin": origin})


def test_with_a_token_the_gateways_own_pages_are_served(guarded: Gateway) -> None:
    own = f"127.0.0.1:{guarded.port}"
    for origin in (f"http://{own}", f"https://{own}"):
        assert guarded.get("/get", headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"}).status == 200
    assert guarded.get("/get", headers={"Host": "batchflow.example", "Origin": "https://batchflow.example"}).status == 200


@pytest.mark.parametrize("path", ["/batch/plain", "/get"])
def test_a_browsers_question_beforehand_is_answered_with_no(open_gateway: Gateway, guarded: Gateway, path: str) -> None:
    headers = {"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"}
    for gateway in (open_gateway, guarded):
        answer = gateway.request("OPTIONS", path, headers=headers)
        assert answer.status in (401, 403) and "Access-Control-Allow-Origin" not in answer.headers
