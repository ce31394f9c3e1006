"""What Verda's management API does not have: deployments that are not there, routes, methods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import Gateway, serving
from tests.acceptance.gateway.verda_kit import DEPLOYMENTS, access_token, is_problem, write


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    """Its token is one for the management API."""
    file = write(shared_shell.folder / "credentials.yaml")
    with serving(shared_shell, BATCHFLOW_CREDENTIALS=str(file)) as opened:
        opened.token = access_token(opened)
        yield opened


ROUTES = [
    *(("GET", path) for path in ("", "/status", "/scaling")),
    *(("POST", path) for path in ("/pause", "/resume", "/purge-queue")),
    ("PATCH", ""),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("name", ["nobody", "a" * 64, "Upper", "..", "%2e%2e", "%00", "%ff", "a%2Fb", "current.json"])
def test_what_is_not_there_is_not_found(gateway: Gateway, method: str, path: str, name: str) -> None:
    is_problem(gateway.request(method, f"{DEPLOYMENTS}/{name}{path}", b"{}" if method == "PATCH" else None), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"/v1/{path}") for path in ("secrets", "file-secrets", "container-registry-credentials", "container-types?currency=usd")),
        *(("POST", f"/v1/{path}") for path in ("secrets", "file-secrets", "container-registry-credentials")),
        *(("DELETE", f"/v1/{path}") for path in ("secrets/a?force=true", "file-secrets/a", "container-registry-credentials/a")),
        *(("GET", f"{DEPLOYMENTS}/a/{path}") for path in ("logs?limit=50", "system-logs?since=1d")),
    ],
)
def test_what_is_not_implemented_says_so(gateway: Gateway, method: str, path: str) -> None:
    is_problem(gateway.request(method, path, b'{"name": "a", "value": "b"}' if method == "POST" else None), 501)


def test_prices_are_asked_for_without_a_token(gateway: Gateway) -> None:
    is_problem(gateway.get("/v1/container-types", token=""), 501)
    is_problem(gateway.get("/v1/secrets", token=""), 401, both=True)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1", "/v1/", "/v1/nothing", "/v1/container-deployments", "/v1/oauth2/token/"),
        *(f"{DEPLOYMENTS}/", *(f"{DEPLOYMENTS}/a/{what}" for what in ("replicas", "restart", "environment-variables"))),
    ],
)
def test_an_unknown_route_is_not_found(gateway: Gateway, path: str) -> None:
    is_problem(gateway.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", DEPLOYMENTS, {"GET", "HEAD", "POST"}),
        ("DELETE", DEPLOYMENTS, {"GET", "HEAD", "POST"}),
        ("POST", f"{DEPLOYMENTS}/a", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("PATCH", f"{DEPLOYMENTS}/a/scaling", {"GET", "HEAD"}),
        ("GET", f"{DEPLOYMENTS}/a/pause", {"POST"}),
        ("GET", "/v1/oauth2/token", {"POST"}),
        ("BREW", DEPLOYMENTS, {"GET", "HEAD", "POST"}),
    ],
)
def test_a_method_that_a_route_does_not_have_is_refused(gateway: Gateway, method: str, path: str, allowed: set[str]) -> None:
    answer = gateway.request(method, path)
    is_problem(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed
