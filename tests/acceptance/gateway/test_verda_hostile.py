"""Verda's side and hostile or unlucky requests: every one gets an answer in Verda's form, and none harms the gateway."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from batchflow.deployments.lease import Lease
from batchflow.store.open import open_store
from tests.acceptance.command import HANG_S, Json, Terminal, until
from tests.acceptance.gateway.kit import Gateway, serving
from tests.acceptance.gateway.verda_kit import (
    DEPLOYMENTS,
    OUR_KEY,
    SECRETS,
    TOKEN_PATH,
    access_token,
    container,
    deployment,
    is_problem,
    write,
)

MIB = 2**20


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    """Its token is one for the management API; the deployment `there` is in it."""
    file = write(shared_shell.folder / "credentials.yaml")
    with serving(shared_shell, BATCHFLOW_CREDENTIALS=str(file)) as opened:
        opened.token = access_token(opened)
        assert opened.post(DEPLOYMENTS, deployment("there")).status == 201
        yield opened
        assert [found["name"] for found in opened.get(DEPLOYMENTS).ok()] == ["there"]
        assert not [secret for secret in SECRETS if secret in opened.log()]
        assert "Traceback" not in opened.log(), opened.log()


BODIES = {
    "nothing": b"",
    "a word": b"deployment",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"a"',
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "NUL": b'{"name": "a\x00"}',
    "NUL, escaped": json.dumps({**deployment("a"), "containers": [container(image="a\0:1")]}).encode(),
    "NUL in a variable": json.dumps(
        deployment("a", containers=[container(env=[{"name": "A", "value_or_reference_to_secret": "\0", "type": "plain"}])])
    ).encode(),
    "half of a surrogate pair": json.dumps({**deployment("a"), "containers": [container(image="a\ud800:1")]}).encode(),
    "a key that is half of a pair": b'{"\\ud800": 1}',
    "NaN": b'{"scaling": NaN}',
    "a number of many digits": b'{"scaling": ' + b"9" * 5000 + b"}",
    "nested deeply": b'{"containers": ' + b"[" * 100_000,
    "nested deeply, and closed": b'{"containers": ' + b"[" * 900 + b"]" * 900 + b"}",
    "1 MiB and a byte": json.dumps({**deployment("a"), "more": "a" * MIB}).encode(),
    "many MiB": b'{"a": "' + b"b" * 12 * MIB + b'"}',
    "half": json.dumps(deployment("a")).encode()[:-1],
    "two documents": json.dumps(deployment("a")).encode() * 2,
    "YAML": b"name: a",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(("method", "path"), [("POST", DEPLOYMENTS), ("PATCH", f"{DEPLOYMENTS}/there")])
def test_a_body_that_is_no_deployment_is_refused(gateway: Gateway, method: str, path: str, name: str) -> None:
    before = gateway.get(f"{DEPLOYMENTS}/there").ok()
    is_problem(gateway.request(method, path, BODIES[name], headers={"Content-Type": "application/json"}), 400)
    assert gateway.get(f"{DEPLOYMENTS}/there").ok() == before


@pytest.mark.parametrize("name", ["not UTF-8", "nested deeply", "many MiB"])
def test_a_body_in_chunks_is_refused_as_well(gateway: Gateway, name: str) -> None:
    body = BODIES[name]
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    is_problem(gateway.request("POST", DEPLOYMENTS, chunks), 400)


def test_large_bodies_of_strangers_leave_nothing_on_disk_and_little_in_memory(gateway: Gateway) -> None:
    for _ in range(5):
        is_problem(gateway.request("POST", TOKEN_PATH, b"a" * 15 * MIB, token=""), 400)
    assert gateway.memory_peak_bytes() < 300 * MIB


def test_what_can_not_be_told_from_nothing_is_ignored(gateway: Gateway) -> None:
    """Every request of the SDK says that it has JSON, and most have nothing."""
    for content_type in ("application/json", "text/plain", "multipart/form-data", "\x80", ""):
        assert gateway.request("GET", f"{DEPLOYMENTS}/there", b"", headers={"Content-Type": content_type}).status == 200
        assert gateway.request("POST", f"{DEPLOYMENTS}/there/resume", b"{]", headers={"Content-Type": content_type}).status == 201


HEADERS: list[dict[str, str]] = [
    {"Host": "["},
    {"Host": "]:-1"},
    {"Host": "a b"},
    {"Host": '"><script>'},
    {"Host": "a" * 5000},
    {"Host": ""},
    {"Host": "\xff"},
    {"X-Forwarded-Proto": "javascript"},
    {"X-Forwarded-For": "\x80, ::1, " + "1" * 5000},
    {"Content-Type": "\xff" * 1000},
    {"Accept": "text/html", "Accept-Encoding": "gzip, br"},
    {"Cookie": "a=" + "b" * 5000},
    {"X-Request-Id": "\x80"},
    {"X-HTTP-Method-Override": "DELETE"},
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: next(iter(headers.items()))[0])
def test_odd_headers_do_no_harm(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = gateway.get(f"{DEPLOYMENTS}/there", headers=headers)
    assert answer.json()["name"] == "there" and answer.headers["Content-Type"] == "application/json"
    for path in ("/v1/nothing", f"{DEPLOYMENTS}/nobody"):
        is_problem(gateway.get(path, headers=headers), 404)
    is_problem(gateway.request("BREW", DEPLOYMENTS, headers=headers), 405)
    is_problem(gateway.get("/status/nobody", headers={**headers, "X-Inference-Id": "a"}, token=OUR_KEY["key"]), 404)


AUTHORIZATIONS = [
    *("Bearer", "Bearer ", "Basic a", "a", "Bearer a b", ","),
    *("Bearer " + "a." * 5000, "Bearer \xff.\xff", "Bearer .", "Bearer =.="),
]


@pytest.mark.parametrize("authorization", AUTHORIZATIONS, ids=lambda text: text[:12])
def test_a_bearer_that_is_none_is_refused(gateway: Gateway, authorization: str) -> None:
    is_problem(gateway.get(DEPLOYMENTS, token="", headers={"Authorization": authorization}), 401, both=True)


ODD_PATHS = ["/v1//job-deployments", "//v1/job-deployments", "/v1/../v1/job-deployments", "/%76%31/nothing", "/v1/%0d%0aa"]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_paths_are_not_found(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status in (403, 404) and {"code", "message"} <= set(answer.json())


def test_a_body_is_not_read_for_somebody_without_a_token(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S) as connection:
        connection.sendall(f"POST {DEPLOYMENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


@contextmanager
def leading(store: Path) -> Iterator[None]:
    """Another scheduler leads all the while, and does nothing."""
    lease, over = Lease(open_store(str(store))), Event()

    def lead() -> None:
        while not over.wait(0.1):
            lease.held()

    with ThreadPoolExecutor(1) as pool:
        led = pool.submit(lead)
        try:
            until(lambda: any(store.glob("scheduler/*")), "the lease")
            yield
        finally:
            over.set()
        led.result()


def test_deletions_that_wait_leave_threads_to_others(shell: Terminal) -> None:
    """There are more of them than a server has threads."""
    file = write(shell.folder / "credentials.yaml")
    with leading(shell.store), serving(shell, BATCHFLOW_CREDENTIALS=str(file), BATCHFLOW_GRACE_S="1") as gateway, ExitStack() as waiting:
        gateway.token = access_token(gateway)
        for number in range(45):
            name = f"job-{number}"
            assert gateway.post(DEPLOYMENTS, deployment(name)).status == 201
            connection = waiting.enter_context(closing(gateway.connect()))
            headers = {"Authorization": f"Bearer {gateway.token}"}
            connection.request("DELETE", f"{DEPLOYMENTS}/{name}?timeout=300000", headers=headers)
            until(partial(is_terminating, gateway, name), "the deletion to begin")
        assert len(gateway.get(DEPLOYMENTS).ok()) == 45
        gateway.terminate()
        assert gateway.wait() == 0


def is_terminating(gateway: Gateway, name: str) -> bool:
    return bool(gateway.get(f"{DEPLOYMENTS}/{name}/status").ok() == {"status": "terminating"})


def gateway_store(gateway: Gateway) -> Path:
    return Path(gateway.store)


def test_a_store_that_can_not_be_read_is_503_without_its_place(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml")
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        gateway.token = access_token(gateway)
        assert gateway.post(DEPLOYMENTS, deployment("circle")).status == 201
        folder = gateway_store(gateway) / "names"
        elsewhere = folder.rename(shell.folder / "elsewhere")
        folder.symlink_to(folder)
        try:
            for path, token in ((f"{DEPLOYMENTS}/circle", gateway.token), ("/circle", OUR_KEY["key"]), ("/status/circle", OUR_KEY["key"])):
                answer = gateway.get(path, token=token, headers={"X-Inference-Id": "a", "X-Request-Id": "asked-of-circle"})
                is_problem(answer, 503)
                assert int(answer.headers["Retry-After"]) > 0 and gateway.store not in answer.text
        finally:
            folder.unlink()
            elsewhere.rename(folder)
        until(lambda: "asked-of-circle" in gateway.log() and gateway.store in gateway.log(), "the place in the log", gateway.log)
        assert gateway.get(f"{DEPLOYMENTS}/circle").status == 200


@pytest.mark.parametrize("damaged", ["deployments/*/*/deployment.json", "names/**/*.json"])
@pytest.mark.parametrize("has_credentials", [True, False])
def test_a_record_that_is_damaged_is_an_error_of_our_own(shell: Terminal, damaged: str, has_credentials: bool) -> None:
    settings = {"BATCHFLOW_CREDENTIALS": str(write(shell.folder / "credentials.yaml"))} if has_credentials else {}
    with serving(shell, **settings) as gateway:
        gateway.token = access_token(gateway)
        assert gateway.post(DEPLOYMENTS, deployment("whole")).status == 201
        assert gateway.request("POST", f"{DEPLOYMENTS}/whole/pause").status == 201
        [*files] = gateway_store(gateway).glob(damaged)
        assert files
        for file in files:
            file.write_bytes(b"{")
        for path, token in ((f"{DEPLOYMENTS}/whole", gateway.token), ("/whole/job", OUR_KEY["key"])):
            answer = gateway.get(path, token=token)
            is_problem(answer, 500, both="kind" in answer.json())
            assert gateway.store not in answer.text
        gateway.kill()  # its log tells where the code broke, which is no good end else


EXAMPLES = int(os.environ.get("GATEWAY_FUZZ_EXAMPLES", "25"))
SEED = int(os.environ.get("GATEWAY_FUZZ_SEED", "1"))
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "name": ANY,
        "containers": ANY
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    **dict.fromkeys(("image", "exposed_port", "healthcheck", "entrypoint_overrides", "env", "volume_mounts", "name"), ANY),
                    "env": ANY | st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "type"), ANY)), max_size=2),
                },
            ),
            max_size=2,
        ),
        "compute": ANY | st.fixed_dictionaries({}, optional={"name": ANY, "size": ANY}),
        "scaling": ANY | st.fixed_dictionaries({}, optional={"max_replica_count": ANY, "deadline_seconds": ANY}),
        "container_registry_settings": ANY | st.fixed_dictionaries({}, optional={"is_private": ANY, "credentials": ANY}),
    },
)


@seed(SEED)
@settings(max_examples=EXAMPLES * 4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(parts=PARTS, method=st.sampled_from(["POST", "PATCH"]))
def test_no_document_breaks_it(gateway: Gateway, parts: Json, method: str) -> None:
    """Each is refused, or is a change of nothing."""
    good = {**deployment("there"), **parts} if method == "POST" else parts
    answer = gateway.request(method, DEPLOYMENTS if method == "POST" else f"{DEPLOYMENTS}/there", json.dumps(good).encode())
    if answer.status == 200:
        assert method == "PATCH" and answer.json()["name"] == "there"
    elif answer.status == 409:
        is_problem(answer, 409)
    else:
        is_problem(answer, 400)
