"""Hostile or unlucky circumstances: threads that never come back, damaged files, answers that tell too much."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput
from batchflow.gateway.credentials import Credentials
from batchflow.gateway.tenants import Tenants
from batchflow.records import new_job_id
from batchflow.settings import Settings
from tests.acceptance.command import HANG_S, Json, Terminal, until
from tests.acceptance.gateway.kit import Gateway, archive, handler, item_list, pod, serving
from tests.acceptance.gateway.s3 import s3_put

MORE_THAN_THREADS = 45  # that a server has for all requests
JOB_ID = new_job_id(1_800_000_000 * 10**9)
TOKENS = {"batchflow": "1-secret-of-batchflow", "other": "2-secret-of-the-other"}


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as opened:
        opened.deploy(pod("plain")).ok()
        yield opened


@pytest.fixture
def hung(shell: Terminal) -> Iterator[Gateway]:
    """Whoever asks for the status of `hung`'s only job waits for ever, as with a store that does not answer."""
    with serving(shell, BATCHFLOW_GRACE_S="1") as opened:
        opened.deploy(pod("plain"), pod("hung")).ok()
        for name in (f"running/hung/{JOB_ID}-1", f"jobs/hung/{JOB_ID}/submission.json"):
            path = Path(opened.store, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        os.mkfifo(Path(opened.store, f"jobs/hung/{JOB_ID}/status.json"))
        yield opened
        opened.kill()


def begin(gateway: Gateway, method: str, path: str) -> socket.socket:
    """Send a request and don't wait for its answer."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S)
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/delete/hung"), ("GET", "/metrics")])
def test_requests_that_wait_long_leave_threads_to_others(hung: Gateway, method: str, path: str) -> None:
    waiting = [begin(hung, method, path) for _ in range(MORE_THAN_THREADS)]
    try:
        for _ in range(2):  # the second is read after all that wait
            assert hung.get("/get/plain").status == 200
        job_id = hung.submit("plain", item_list())
        assert hung.ended("plain", job_id)["status"] == "succeeded"
    finally:
        for connection in waiting:
            connection.close()


def test_a_thread_that_does_not_come_back_does_not_keep_it_from_ending(hung: Gateway) -> None:
    with begin(hung, "GET", "/get/hung"):
        assert hung.get("/healthz").status == 200
        hung.terminate()
        assert hung.wait() == 0


def test_a_cluster_that_does_not_answer_for_one_namespace_keeps_no_other_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as cluster, ThreadPoolExecutor(2) as pool:
        address = f"http://127.0.0.1:{cluster.getsockname()[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": address}}],
            "users": [{"name": "a", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        tenants = Tenants(Settings(engine="argo", store=str(tmp_path / "store")), {}, url="http://127.0.0.1:1")
        known = tenants.tenant("batchflow", "token")
        waiting = pool.submit(tenants.tenant, "other", "token")
        connection, _ = cluster.accept()
        try:
            assert pool.submit(tenants.tenant, "batchflow", "token").result(timeout=HANG_S / 4) is known
            assert not waiting.done()
        finally:
            cluster.close()
            connection.close()
        assert waiting.exception(timeout=HANG_S) is not None


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_needs_no_token_needs_one_for_what_may_be_an_apis(shell: Terminal, method: str) -> None:
    with with_tokens(shell) as gateway:
        assert gateway.request(method, "/healthz", b"").status == 401
        assert gateway.request(method, "/healthz", b"", token=TOKENS["other"]).status == 404


def with_tokens(shell: Terminal, **environ: str) -> AbstractContextManager[Gateway]:
    file = shell.folder / "credentials.yaml"
    file.write_text(json.dumps({"tokens": [{"token": token, "namespace": namespace} for namespace, token in TOKENS.items()]}))
    return serving(shell, BATCHFLOW_CREDENTIALS=str(file), **environ)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "[", "null", "http://"])
def test_an_origin_that_is_none_is_refused(gateway: Gateway, origin: str) -> None:
    answer = gateway.get("/get", headers={"Origin": origin})
    assert answer.status == 403 and answer.json()["kind"] == "forbidden"


def test_a_file_of_apis_is_bounded(gateway: Gateway) -> None:
    config = b"- a\n" * 2**18 + b"\n"
    for answer in (
        gateway.request("POST", "/deploy", config, headers={"Content-Type": "application/yaml"}),
        gateway.send_form("/deploy", {"config": ("cortex.yaml", config)}),
    ):
        assert (answer.status, answer.json()["message"]) == (400, "cortex.yaml: is larger than 1 MiB")


SOURCE = archive({"handler.py": "class Handler:\n    pass\n" * 500})
DAMAGED = {
    "content": SOURCE[:45] + b"\xff" * 8 + SOURCE[53:],
    "a name that is not UTF-8": archive({"handlér.py": ""}).replace("é".encode(), b"\xff\xfe"),
    "a name that is too long": archive({"handler.py": "", "a" * 256: ""}),
    "a path that is too long": archive({"handler.py": "", "/".join(["a" * 200] * 30): ""}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_project_that_can_not_be_unpacked_is_refused(gateway: Gateway, name: str) -> None:
    config = json.dumps([handler("damaged")]).encode()
    answer = gateway.send_form("/deploy", {"config": ("cortex.yaml", config), "project.zip": ("project.zip", DAMAGED[name])})
    assert answer.status == 400 and answer.json()["message"].startswith("project.zip: can't be unpacked: ")
    assert gateway.store not in answer.text


WARNED = {"compute": {"cpu": 1, "inf": 1}, "networking": {"endpoint": "warned", "api_gateway": "public"}}


@pytest.mark.parametrize("entries", [["a", "b"], [handler("warned", **WARNED)]])
def test_answers_to_a_deployment_name_no_folder_of_the_gateways(gateway: Gateway, entries: list[Json | str]) -> None:
    answer = gateway.send_form("/deploy", {"config": ("cortex.yaml", json.dumps(entries).encode()), "project.zip": ("project.zip", SOURCE)})
    told = answer.json()["message"] if answer.status == 400 else answer.json()[0]["warnings"][0]
    assert "cortex.yaml:1" in told and "deployed/" not in answer.text and gateway.store not in answer.text


def test_what_is_out_of_reach_is_told_in_the_log_with_its_place(gateway: Gateway) -> None:
    record = Path(gateway.store, "apis/circle/current.json")
    record.parent.mkdir(parents=True)
    record.symlink_to(record)
    try:
        answer = gateway.get("/get/circle", headers={"X-Request-Id": "circle-1"})
    finally:
        record.unlink()
        record.parent.rmdir()
    assert answer.status == 503 and gateway.store not in answer.text
    line = until(lambda: next((line for line in gateway.log().splitlines() if str(record) in line), None), "a line", gateway.log)
    assert "circle-1" in line


SECRET = "an-unguessable-secret"


@pytest.mark.parametrize(
    "text",
    [
        f"tokens: [{SECRET}]",
        f"tokens: {SECRET}",
        SECRET,
        f"tokens: [{{{SECRET}: batchflow}}]",
        f"tokens: [{{token: {SECRET}, namespace: batchflow, {SECRET}: 1}}]",
        f"tokens: [{{token: {SECRET}, namespace: {SECRET.upper()}}}]",
        f"tokens: [{{token: !it {SECRET}, namespace: batchflow}}]",
        f"{{tokens: [], {SECRET}: 1, {SECRET}: 2}}",
        f"clients: [{{id: {SECRET.upper()}, secret: {SECRET}, namespace: {SECRET.upper()}}}]",
        f"clients: [{{id: a, secret: [{SECRET}], namespace: batchflow}}]",
        f"inference_keys: [{{key: {SECRET}, namespace: batchflow, {SECRET}: 1}}]",
        f"{{inference_keys: [{{key: {SECRET}, namespace: a}}], tokens: [{{token: {SECRET}, namespace: b}}]}}",
    ],
)
def test_what_is_wrong_with_the_tokens_shows_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"credentials\.yaml") as caught:
        Credentials(file)
    assert SECRET not in str(caught.value).lower()


def test_a_namespace_beside_the_own_works_with_a_store_elsewhere_and_queues_here(shell: Terminal, moto: str) -> None:
    s3_put(moto, "review")
    aws = {"AWS_ENDPOINT_URL_S3": moto, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    queues = f"sqlite:{shell.folder}/queues"
    shell.environ.update(BATCHFLOW_STORE="s3://review/store", BATCHFLOW_QUEUES=queues, BATCHFLOW_LOCAL_DIR=str(shell.folder / "local"))
    with with_tokens(shell, **aws) as gateway:
        gateway.token = TOKENS["other"]
        gateway.deploy(pod("plain")).ok()
        assert gateway.ended("plain", gateway.submit("plain"))["status"] == "succeeded"
