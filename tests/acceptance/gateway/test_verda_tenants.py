"""Which of the gateway's sides a request gets to, and that nobody sees what is in another namespace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.gateway.tenants import Tenants
from batchflow.settings import Settings
from tests.acceptance.command import Json, Terminal
from tests.acceptance.gateway.kit import Answer, Gateway, item_list, pod, serving
from tests.acceptance.gateway.verda_kit import (
    DEPLOYMENTS,
    OUR_KEY,
    OUR_TOKEN,
    OURS,
    SECRETS,
    THEIR_KEY,
    THEIRS,
    access_token,
    deployment,
    is_problem,
    write,
)

ID = {"X-Inference-Id": "one"}


@pytest.fixture
def gateway(shell: Terminal) -> Iterator[Gateway]:
    file = write(shell.folder / "credentials.yaml")
    with serving(shell, token="", BATCHFLOW_CREDENTIALS=str(file)) as opened:
        yield opened
        told = opened.log() + opened.out.read_text()
        assert not [secret for secret in SECRETS if secret in told], "a secret is in the log"


def paused(gateway: Gateway, name: str, token: str) -> None:
    """A deployment that starts nothing."""
    assert gateway.post(DEPLOYMENTS, deployment(name), token=token).status == 201
    assert gateway.request("POST", f"{DEPLOYMENTS}/{name}/pause", token=token).status == 201


def as_seen(gateway: Gateway, token: str) -> list[tuple[str, Answer]]:
    """What the other namespace is answered about the deployment `hidden` and its call."""
    path = f"{DEPLOYMENTS}/hidden"
    change = b'{"scaling": {"max_replica_count": 9}}'
    managing: list[tuple[str, str, bytes | None]] = [
        ("GET", DEPLOYMENTS, None),
        ("GET", path, None),
        ("PATCH", path, change),
        ("DELETE", path, None),
        *(("GET", f"{path}/{what}", None) for what in ("status", "scaling", "logs")),
        *(("POST", f"{path}/{what}", None) for what in ("pause", "resume", "purge-queue")),
    ]
    calling: list[tuple[str, str, bytes | None]] = [
        ("POST", "/hidden/", b"{}"),
        ("GET", "/hidden/health", None),
        ("GET", "/status/hidden", None),
        ("GET", "/result/hidden", None),
    ]
    asked = [(f"{method} {path}", gateway.request(method, path, body, token=token)) for method, path, body in managing]
    return asked + [
        (f"{method} {path}", gateway.request(method, path, body, token=THEIR_KEY["key"], headers=ID)) for method, path, body in calling
    ]


def test_what_is_in_another_namespace_is_nowhere(gateway: Gateway) -> None:
    """Asked before and after it is there, each answer is the same to the byte."""
    ours, theirs = access_token(gateway, OURS), access_token(gateway, THEIRS)
    before = as_seen(gateway, theirs)
    paused(gateway, "hidden", ours)
    assert gateway.post("/hidden/", {}, token=OUR_KEY["key"], headers=ID).status == 202
    for (request, then), (_, now) in zip(before, as_seen(gateway, theirs), strict=True):
        assert now.same_as(then), f"{request}\n{then}\n{now}"
    # It is as it was, and the other may have the same names.
    assert gateway.get("/status/hidden", token=OUR_KEY["key"], headers=ID).ok()["Status"] == "Queue"
    assert gateway.get(f"{DEPLOYMENTS}/hidden/status", token=ours).ok() == {"status": "paused"}
    paused(gateway, "hidden", theirs)
    assert gateway.post("/hidden/", {}, token=THEIR_KEY["key"], headers=ID).status == 202
    assert gateway.request("POST", f"{DEPLOYMENTS}/hidden/purge-queue", token=theirs).status == 201
    ended = gateway.get("/status/hidden", token=THEIR_KEY["key"], headers=ID).ok()
    assert (ended["Status"], ended["Error"]) == ("Completed", "purged from queue")
    assert gateway.get("/status/hidden", token=OUR_KEY["key"], headers=ID).ok()["Status"] == "Queue"


def test_each_kind_of_bearer_opens_its_own_side_only(gateway: Gateway) -> None:
    access = access_token(gateway)
    paused(gateway, "job", access)
    gateway.deploy(pod("plain"), token=OUR_TOKEN["token"]).ok()
    for token in (OUR_TOKEN["token"], OUR_KEY["key"]):
        for method, path in (("GET", DEPLOYMENTS), ("POST", f"{DEPLOYMENTS}/job/pause"), ("GET", "/v1/nothing"), ("GET", "/v1")):
            is_problem(gateway.request(method, path, token=token), 403, both=True)
    for path in ("/job", "/status/job", "/result/job", "/get", "/batch/plain", "/metrics", "/openapi.json", "/"):
        is_problem(gateway.get(path, token=access, headers=ID), 403, both=True)
    # An inference key finds job deployments, and of Cortex's side nothing.
    assert gateway.post("/job/path", {}, token=OUR_KEY["key"]).status == 202
    for path in ("/plain", "/batch/plain", "/deploy", "/get", "/"):
        is_problem(gateway.post(path, item_list(), token=OUR_KEY["key"]), 404)
    # A token of Cortex's finds apis, and no job deployment.
    for path in ("/job", "/job/path", "/status/job"):
        answer = gateway.post(path, item_list(), token=OUR_TOKEN["token"], headers=ID)
        assert answer.status == 404 and {"kind", "message"} <= set(answer.json())
    assert gateway.get("/get", token=OUR_TOKEN["token"]).status == 200


@pytest.mark.parametrize("path", [DEPLOYMENTS, f"{DEPLOYMENTS}/job", "/v1/nothing", "/job", "/status/job", "/result/job"])
@pytest.mark.parametrize("token", ["", "nonsense", OURS["secret"], OURS["id"], OUR_KEY["key"][:-1], OUR_KEY["key"] + "x"])
def test_without_a_good_bearer_nothing_is_told(gateway_of_tables: Gateway, path: str, token: str) -> None:
    is_problem(gateway_of_tables.get(path, token=token, headers=ID), 401, both=True)


@pytest.fixture(scope="module")
def gateway_of_tables(shared_shell: Terminal) -> Iterator[Gateway]:
    file = write(shared_shell.folder / "credentials.yaml")
    with serving(shared_shell, token="", BATCHFLOW_CREDENTIALS=str(file)) as opened:
        yield opened


def mixed(shell: Terminal) -> Json:
    """Credentials of which one string is for both Cortex's side and the inference side of its namespace."""
    both = "for-both-0123456789"
    write(
        shell.folder / "credentials.yaml",
        tokens=[{"token": both, "namespace": "batchflow"}],
        inference_keys=[{"key": both, "namespace": "batchflow"}],
    )
    return {"BATCHFLOW_CREDENTIALS": str(shell.folder / "credentials.yaml"), "token": both}


@pytest.mark.parametrize("has_credentials", [False, True])
def test_a_bearer_for_several_things_gets_there_by_the_path(shell: Terminal, has_credentials: bool) -> None:
    settings = mixed(shell) if has_credentials else {}
    with serving(shell, **settings) as gateway:
        access = access_token(gateway)
        paused(gateway, "job", access)
        gateway.deploy(pod("plain"), pod("renamed", networking={"endpoint": "status/of/things"})).ok()
        assert gateway.post("/job/any/path?a=b", {}, headers=ID).status == 202
        assert gateway.get("/status/job", headers=ID).ok()["Status"] == "Queue"
        is_problem(gateway.get("/result/job", headers=ID), 404, "result not found")
        is_problem(gateway.get("/status/job"), 400)
        is_problem(gateway.get("/status/nobody", headers=ID), 404)
        job_id = gateway.submit("plain")
        assert gateway.get(f"/plain?jobID={job_id}").status == 200
        assert gateway.get(f"/status/of/things?jobID={job_id}").json()["message"].startswith("failed to get job state")
        assert gateway.ended("plain", job_id)["status"] == "succeeded"
        assert set(gateway.get("/nobody").json()) == {"kind", "message", "code"}
        assert gateway.get("/status").status == gateway.get("/status/nobody").status == 404


def test_a_namespace_without_tokens_of_cortexs_works(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml", {"clients": [THEIRS], "inference_keys": [THEIR_KEY]})
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        paused(gateway, "job", access_token(gateway, THEIRS))
        assert gateway.post("/job", {}, token=THEIR_KEY["key"], headers=ID).status == 202
        assert list((shell.store / "namespaces/theirs/deployments/job").glob("*/deployment.json"))
        assert not (shell.store / "deployments").exists()


def test_an_inference_key_that_is_removed_is_out_at_once(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml")
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        assert gateway.get("/status/job", token=OUR_KEY["key"], headers=ID).status == 404
        write(file, inference_keys=[THEIR_KEY])
        is_problem(gateway.get("/status/job", token=OUR_KEY["key"], headers=ID), 401, both=True)
        assert gateway.get("/status/job", token=THEIR_KEY["key"], headers=ID).status == 404


def test_a_namespace_that_gets_another_token_keeps_its_scheduler(tmp_path: Path) -> None:
    """Its tenant is made anew for that; what has a running scheduler is not, or nobody would wake that any more."""
    tenants = Tenants(Settings(engine="local", store=str(tmp_path)), {}, url="")
    first, second = (tenants.tenant("batchflow", token) for token in ("one", "two"))
    assert (first.token, second.token) == ("one", "two") and first.deployments is second.deployments


def test_metrics_count_verdas_requests_by_their_routes(gateway: Gateway) -> None:
    access = access_token(gateway)
    for name in ("one", "two"):
        paused(gateway, name, access)
        for number in range(3):
            gateway.get(f"{DEPLOYMENTS}/{name}-{number}", token=access)
            gateway.get(f"/v1/unknown-{name}-{number}", token=access)
            gateway.post(f"/{name}/path-{number}", {}, token=OUR_KEY["key"])
            gateway.request(f"METHOD{number}", f"/{name}", token=OUR_KEY["key"])
    text = gateway.get("/metrics", token=OUR_TOKEN["token"]).text
    routes = {line.partition('route="')[2].partition('"')[0] for line in text.splitlines() if 'route="' in line}
    assert {DEPLOYMENTS, f"{DEPLOYMENTS}/{{name}}", "/v1/oauth2/token"} <= routes
    assert not [route for route in routes if "one" in route.split("/") or "two" in route or "unknown" in route or "path-" in route], routes
    assert json.dumps(sorted(routes)).count("job-deployments") <= 3, routes
