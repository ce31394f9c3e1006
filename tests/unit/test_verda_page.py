"""docs/verda-api.md names every route, every code and every key of the credentials file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.routing import Route

from batchflow.gateway.credentials import Credentials
from batchflow.gateway.tenants import Tenants
from batchflow.gateway.verda.answers import problem
from batchflow.gateway.verda.management import management_app
from batchflow.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/verda-api.md").read_text(encoding="utf-8")
ROUTES = [route for route in management_app(Tenants(Settings(), {}, url=""), None).routes if isinstance(route, Route)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_is_in_its_table(route: Route) -> None:
    """A sub-route, such as `/pause`, by its last part, one of what is not here by the collection that it is of."""
    collection, _, last = route.path.partition("/{name}")
    assert f"`{last}`" in PAGE or f"{last}`" in PAGE if last else f"{collection}`" in PAGE or f" {collection}`" in PAGE
    if last or "job-deployments" in route.path:
        assert all(method in PAGE for method in route.methods or ())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 500, 501, 503])
def test_every_code_is_in_its_table(status: int) -> None:
    found = re.search(r'"code":"(\w+)"', bytes(problem(status, "").body).decode())
    assert found and f"| {status} | `{found[1]}` |" in PAGE


def test_what_the_page_says_of_the_credentials_file_is_all_that_it_may_hold(tmp_path: Path) -> None:
    [table] = re.findall(r"\| key \| what \|\n.*?\n\n", PAGE, re.S)
    keys = re.findall(r"^\| `(\w+)` \|", table, re.M)
    file = tmp_path / "credentials.yaml"
    good = {
        "clients": "[{id: a, secret: a-secret-0123456789, namespace: a}]",
        "inference_keys": "[{key: a-key-0123456789abc, namespace: a}]",
        "deadline_minimum_s": "1",
        "allow_latest_tag": "true",
        "compute_resources": "[{name: a}]",
    }
    file.write_text("".join(f"{key}: {good[key]}\n" for key in keys))
    assert set(keys) == set(good)
    assert Credentials(file).rules.deadline_minimum_s == 1 and Credentials(file).rules.allow_latest_tag
