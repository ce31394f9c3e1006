"""One namespace's store that does not answer, and requests of odd forms: neither is another's concern."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.acceptance.command import HANG_S, Json, Terminal, until
from tests.acceptance.gateway.kit import Gateway, pod, serving
from tests.acceptance.gateway.test_verda_hostile import leading
from tests.acceptance.gateway.verda_kit import (
    ALL,
    DEPLOYMENTS,
    OUR_KEY,
    OUR_TOKEN,
    THEIR_KEY,
    THEIRS,
    access_token,
    container,
    deployment,
    is_problem,
    write,
)

THEIR_TOKEN = {"token": "token-theirs-0123456789", "namespace": "theirs"}
REQUESTS = 60  # more than a server has threads


ONE = {"X-Inference-Id": "one"}


def paused(gateway: Gateway, token: str, document: Json) -> None:
    """A deployment that starts nothing."""
    assert gateway.post(DEPLOYMENTS, document, token=token).status == 201
    assert gateway.request("POST", f"{DEPLOYMENTS}/{document['name']}/pause", token=token).status == 201


def hang(folder: Path) -> None:
    """Whoever reads a record in it waits for ever."""
    files = list(folder.rglob("*.json"))
    assert files
    for file in files:
        pipe = file.with_suffix(".pipe")
        os.mkfifo(pipe)
        pipe.replace(file)


@pytest.mark.parametrize(
    ("method", "path", "side"),
    [
        ("GET", f"{DEPLOYMENTS}/hangs", "management"),
        ("GET", DEPLOYMENTS, "management"),
        ("POST", "/hangs", "inference"),
        ("GET", "/status/hangs", "inference"),
        ("POST", "/batch/hangs-too", "cortex"),
        ("GET", "/get", "cortex"),
        ("GET", "/hangs-too", "cortex"),
    ],
)
def test_a_store_that_hangs_stops_its_own_namespace_only(shell: Terminal, method: str, path: str, side: str) -> None:
    file = write(shell.folder / "credentials.yaml", tokens=[OUR_TOKEN, THEIR_TOKEN])
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway, ExitStack() as waiting:
        ours, theirs = access_token(gateway), access_token(gateway, THEIRS)
        for token in (ours, theirs):
            paused(gateway, token, deployment("hangs"))
        for key in (OUR_KEY["key"], THEIR_KEY["key"]):
            assert gateway.post("/hangs", {}, token=key, headers=ONE).status == 202
        for entry in (OUR_TOKEN, THEIR_TOKEN):
            gateway.deploy(pod("hangs-too"), token=entry["token"]).ok()
        for folder in ("deployments", "apis"):
            hang(shell.store / "namespaces/theirs" / folder)
        bearer = {"management": theirs, "inference": THEIR_KEY["key"], "cortex": THEIR_TOKEN["token"]}[side]
        for _ in range(REQUESTS):
            connection = waiting.enter_context(closing(gateway.connect()))
            connection.request(method, path, headers={"Authorization": f"Bearer {bearer}", **ONE})
        assert [found["name"] for found in gateway.get(DEPLOYMENTS, token=ours).ok()] == ["hangs"]
        assert gateway.post("/hangs", {}, token=OUR_KEY["key"]).status == 202
        assert gateway.get("/status/hangs", token=OUR_KEY["key"], headers=ONE).status == 200
        assert gateway.get("/get/hangs-too", token=OUR_TOKEN["token"]).status == 200
        assert gateway.get("/v1/serverless-compute-resources", token=theirs).status == 200
        gateway.kill()  # its threads wait for ever


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    """With deployments `there`, and `asked` whose health path has a query."""
    file = write(shared_shell.folder / "credentials.yaml", ALL)
    with serving(shared_shell, BATCHFLOW_CREDENTIALS=str(file), token=OUR_KEY["key"]) as opened:
        token = access_token(opened)
        health = {"enabled": True, "port": 8000, "path": "/health?deep=true"}
        for document in (deployment("there"), deployment("asked", containers=[container(healthcheck=health)])):
            paused(opened, token, document)
        yield opened


@pytest.mark.parametrize("path", ["/there/a%0Ab", "/there/%0A", "/there/a%0A", "/there%0D/%0A"])
def test_a_path_may_have_line_ends(gateway: Gateway, path: str) -> None:
    answer = gateway.post(path, {})
    if path.startswith("/there/"):
        assert answer.status == 202
    else:
        is_problem(answer, 404)


@pytest.mark.parametrize("path", ["/asked/health", "/asked/health?deep=true", "/asked/health?deep=false"])
def test_a_health_path_with_a_query_starts_nothing(gateway: Gateway, path: str) -> None:
    assert gateway.get(path).ok() == {"status": "ok"}


@pytest.mark.parametrize("target", ["/there", "/healthz", "example.org:443"])
@pytest.mark.parametrize("key", [OUR_KEY["key"], "nonsense"])
def test_nobody_connects_and_nothing_is_read_of_it(gateway: Gateway, target: str, key: str) -> None:
    head = f"CONNECT {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S) as connection:
        connection.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 405 ") and b'"code":"invalid_request"' in answer


def test_a_store_that_is_out_of_reach_during_a_deletion_does_not_end_the_wait(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml")
    with leading(shell.store), serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway, ThreadPoolExecutor(1) as pool:
        gateway.token = access_token(gateway)
        assert gateway.post(DEPLOYMENTS, deployment("circle")).status == 201
        names = shell.store / "names"
        deletion = pool.submit(gateway.delete, f"{DEPLOYMENTS}/circle?timeout=3000")
        until(lambda: gateway.get(f"{DEPLOYMENTS}/circle/status").ok() == {"status": "terminating"}, "the deletion to begin")
        names.rename(names.with_suffix(".moved"))
        names.symlink_to(names)
        answer = deletion.result()
        assert (answer.status, answer.body) == (200, b"")


def test_without_credentials_a_method_that_no_path_has_is_refused_for_both_sides_clients(shell: Terminal) -> None:
    with serving(shell) as gateway:
        answer = gateway.request("PATCH", "/nobody")
        is_problem(answer, 405, both=True)
        assert answer.json()["kind"] == "method_not_allowed" and answer.headers["Allow"]


@pytest.mark.parametrize("module", ["httptools", "websockets", "wsproto"])
def test_other_servers_of_http_are_not_used_where_they_are_installed(shell: Terminal, module: str) -> None:
    """Theirs have other limits; this one breaks whoever uses it."""
    package = shell.folder / "installed" / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    search: Json = {"PYTHONPATH": str(package.parent)}
    with serving(shell, **search) as gateway:
        assert gateway.get("/healthz", headers={"Connection": "Upgrade", "Upgrade": "websocket"}).status == 200
