"""`import cortex` in a worker: its requests to the gateway, and what becomes of the answers, over a real HTTP server."""

from __future__ import annotations

import email.message
import email.policy
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batchflow.runtime.modules import cortex
from batchflow.runtime.modules.cortex.exceptions import CortexBinaryException, CortexException, NotFound

TOKEN = "a-token"
API = {"name": "digits", "kind": "BatchAPI", "handler": {"type": "python", "path": "handler.py"}}
DEPLOYMENT = {"api": {"spec": API, "endpoint": "http://gateway/digits"}, "message": "created digits (BatchAPI)", "error": ""}


@dataclass
class Gateway:
    """Answers everything with one status and body, and keeps what it was asked."""

    status: int = 200
    body: bytes = b"{}"
    asked: list[str] = field(default_factory=list)
    headers: list[email.message.Message] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    url: str = ""

    def answers(self, document: Any, status: int = 200) -> None:
        self.status, self.body = status, json.dumps(document).encode()

    def form(self) -> dict[str, tuple[str | None, bytes]]:
        """The files of the last request: name and content."""
        head = f"Content-Type: {self.headers[-1]['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.sent[-1], policy=email.policy.HTTP)
        parts = list(message.iter_parts())
        return {str(p.get_param("name", header="Content-Disposition")): (p.get_filename(), p.get_payload(decode=True)) for p in parts}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    found = Gateway()

    class One(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found.asked.append(f"{self.command} {self.path}")
            found.headers.append(self.headers)
            found.sent.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(found.status)
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), One) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("BATCHFLOW_GATEWAY_URL", found.url)
        monkeypatch.setenv("BATCHFLOW_TOKEN", TOKEN)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # of no concern
        yield found
        server.shutdown()


@pytest.mark.parametrize(
    ("call", "asked", "answer", "returned"),
    [
        (lambda client: client.get_api("digits"), "GET /get/digits", [{"spec": API}], {"spec": API}),
        (lambda client: client.list_apis(), "GET /get", [{"spec": API}], [{"spec": API}]),
        (lambda client: client.get_job("digits", "6f"), "GET /batch/digits?jobID=6f", {"job_status": {}}, {"job_status": {}}),
        (lambda client: client.refresh("digits"), "POST /refresh/digits?force=false", {"message": "m"}, None),
        (lambda client: client.refresh("digits", force=True), "POST /refresh/digits?force=true", {"message": "m"}, None),
        (lambda client: client.delete("digits"), "DELETE /delete/digits?keepCache=false", {"message": "m"}, None),
        (lambda client: client.delete("digits", True), "DELETE /delete/digits?keepCache=true", {"message": "m"}, None),
        (lambda client: client.stop_job("digits", "6f"), "DELETE /batch/digits?jobID=6f", {"message": "m"}, None),
        (lambda client: client.stop_job("digits", "6f", keep_cache=True), "DELETE /batch/digits?jobID=6f", {"message": "m"}, None),
        (lambda client: client.get_job("a/../b", "6&f"), "GET /batch/a%2F..%2Fb?jobID=6%26f", {}, {}),
    ],
)
def test_each_method_is_a_request(gateway: Gateway, call: Callable[[cortex.Client], Any], asked: str, answer: Any, returned: Any) -> None:
    gateway.answers(answer)
    assert call(cortex.client()) == returned
    assert gateway.asked == [asked]
    assert gateway.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_deploy_sends_the_api_and_its_projects_files(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("class Handler: ...")
    gateway.answers([DEPLOYMENT])
    assert cortex.client().deploy(API, str(tmp_path)) == DEPLOYMENT
    assert gateway.asked == ["POST /deploy?configFileName=api_spec.yaml&force=true"]
    form = gateway.form()
    assert json.loads(form["config"][1]) == [API]
    with zipfile.ZipFile(io.BytesIO(form["project.zip"][1])) as project:
        assert {name: project.read(name) for name in project.namelist()} == {"handler.py": b"class Handler: ..."}


def test_an_api_without_a_project_is_sent_alone(gateway: Gateway) -> None:
    gateway.answers([DEPLOYMENT])
    cortex.client().deploy({"name": "ü", "kind": "BatchAPI", "pod": {}}, force=False, wait=True)
    assert gateway.asked == ["POST /deploy?configFileName=api_spec.yaml&force=false"]
    assert list(gateway.form()) == ["config"]


@pytest.mark.parametrize(("key", "files"), [("handler", {"a.py", ".env"}), ("predictor", {"a.py", ".env"}), ("pod", None)])
def test_a_file_is_sent_as_it_is_with_its_folder_if_it_has_a_handler(
    gateway: Gateway, tmp_path: Path, key: str, files: set[str] | None
) -> None:
    for name in ("a.py", ".env", ".git"):
        (tmp_path / name).write_text("content")
    text = f"# mine\n- name: a\n  kind: BatchAPI\n  {key}:\n    path: a.py\n"
    (tmp_path / 'my "apis".yaml').write_text(text)
    gateway.answers([DEPLOYMENT, {**DEPLOYMENT, "message": "the second one's"}])
    assert cortex.client().deploy_from_file(str(tmp_path / 'my "apis".yaml'), force=True) == DEPLOYMENT
    assert gateway.asked == ["POST /deploy?configFileName=my+%22apis%22.yaml&force=true"]
    form = gateway.form()
    assert form["config"] == ('my "apis".yaml', text.encode())
    if files is None:
        assert "project.zip" not in form
    else:
        with zipfile.ZipFile(io.BytesIO(form["project.zip"][1])) as project:
            assert set(project.namelist()) == files


def test_a_file_that_is_not_there_is_named(gateway: Gateway) -> None:
    with pytest.raises(CortexException, match=r"no\.yaml: No such file or directory"):
        cortex.client().deploy_from_file("no.yaml")
    assert gateway.asked == []


def test_create_api_is_deploy(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answers([DEPLOYMENT])
    assert cortex.client().create_api(API, project_dir=str(tmp_path)) == DEPLOYMENT
    assert list(gateway.form()) == ["config", "project.zip"]


@pytest.mark.parametrize("given", ["predictor", "handler", "task", "requirements", "conda_packages"])
def test_create_api_refuses_what_is_no_file(gateway: Gateway, given: str) -> None:
    with pytest.raises(CortexException, match="give it as project_dir"):
        cortex.client().create_api(API, **{given: ["torch"]})
    assert gateway.asked == []


def test_a_spec_that_is_no_json_is_refused(gateway: Gateway) -> None:
    with pytest.raises(CortexException, match="api_spec can't be written as JSON"):
        cortex.client().deploy({"name": object()})
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"kind":"resources.api_not_deployed","message":"x is not deployed"}', "resources.api_not_deployed", "x is not deployed"),
        (401, b'{"kind":"unauthorized","message":"a valid token is needed","code":1}', "unauthorized", "a valid token is needed"),
        (502, b"<html>bad gateway", "error", "GET /get/x was answered with status 502: <html>bad gateway"),
        (200, b"", "error", "GET /get/x was answered with status 200: "),
        (500, b"[]", "error", "GET /get/x was answered with status 500"),
        (302, b"{}", "error", "GET /get/x was answered with status 302"),
    ],
)
def test_errors_carry_what_the_gateway_says(gateway: Gateway, status: int, body: bytes, kind: str, message: str) -> None:
    gateway.status, gateway.body = status, body
    with pytest.raises(CortexBinaryException) as caught:
        cortex.client().get_api("x")
    assert isinstance(caught.value, CortexException)
    assert (caught.value.kind, caught.value.message, str(caught.value)) == (kind, message, message)


def test_an_error_in_a_deployment_is_raised(gateway: Gateway) -> None:
    gateway.answers([DEPLOYMENT, {**DEPLOYMENT, "error": "no such image"}])
    with pytest.raises(CortexException, match=r"^no such image$"):
        cortex.client().deploy(API)


def test_a_gateway_that_is_away_is_said(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHFLOW_GATEWAY_URL", "http://127.0.0.1:1")
    with pytest.raises(CortexBinaryException, match=r"the gateway at 127\.0\.0\.1 can't be reached: .*refused") as caught:
        cortex.client().list_apis()
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize("missing", [["BATCHFLOW_GATEWAY_URL"], ["BATCHFLOW_TOKEN"], ["BATCHFLOW_GATEWAY_URL", "BATCHFLOW_TOKEN"]])
def test_an_api_that_did_not_ask_is_told_how_to(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> None:
    for name in missing:
        monkeypatch.delenv(name)
    with pytest.raises(CortexException) as caught:
        cortex.client()
    assert caught.value.message.startswith(f"{' and '.join(missing)} not set")
    assert "batchflow: {cortex_client: true}" in caught.value.message


def test_a_gateway_without_credentials_is_asked_without_a_token(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHFLOW_TOKEN", "")
    gateway.answers([])
    cortex.client("default").list_apis()
    assert "Authorization" not in gateway.headers[0]


def test_a_gateway_below_a_path_is_asked_there(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHFLOW_GATEWAY_URL", f"{gateway.url}/batch-jobs/")
    gateway.answers([])
    cortex.client().list_apis()
    assert gateway.asked == ["GET /batch-jobs/get"]


def test_other_environments_are_not_there(gateway: Gateway) -> None:
    with pytest.raises(NotFound, match="can't find environment aws"):
        cortex.client("aws")


@pytest.mark.parametrize("url", ["", "gateway:8888", "ftp://gateway", "http://", "http://gateway:99999"])
def test_an_address_that_is_none_is_named(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BATCHFLOW_GATEWAY_URL", url)
    with pytest.raises(CortexException, match=f"BATCHFLOW_GATEWAY_URL is {url}, which is no http or https URL"):
        cortex.client()


def test_its_version_is_a_release_of_cortexs() -> None:
    assert cortex.__version__ == "0.35.0"
