"""The Kubernetes API's errors in our words. Its answers are what a real API server (1.34) gave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchflow.engines.argo.engine import ArgoEngine
from batchflow.engines.argo.kube import Kube
from batchflow.errors import BatchflowError, InvalidInput, NotFound, Unreachable
from batchflow.settings import Settings

MANIFEST: dict[str, Any] = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": {}}


def status(code: int, reason: str, message: str, **details: str) -> tuple[int, bytes]:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }
    return code, json.dumps(body).encode()


NO_WORKFLOW = status(404, "NotFound", 'workflows.argoproj.io "w" not found', name="w", group="argoproj.io", kind="workflows")
NO_NAMESPACE = status(404, "NotFound", 'namespaces "here" not found', name="here", kind="namespaces")
NO_CRD = (404, b"404 page not found\n")
TAKEN = status(409, "AlreadyExists", 'workflows.argoproj.io "w" already exists', name="w", group="argoproj.io", kind="workflows")
FORBIDDEN = status(
    403,
    "Forbidden",
    'workflows.argoproj.io is forbidden: User "ada" cannot create resource "workflows" in API group "argoproj.io" in the namespace "here"',
    group="argoproj.io",
    kind="workflows",
)
QUOTA = status(
    403,
    "Forbidden",
    'workflows.argoproj.io "w" is forbidden: exceeded quota: few, requested: count/workflows.argoproj.io=1, used: '
    "count/workflows.argoproj.io=2, limited: count/workflows.argoproj.io=2",
    name="w",
    kind="workflows",
)
LOGGED_OUT = status(401, "Unauthorized", "Unauthorized")
INVALID = status(422, "Invalid", 'Workflow.argoproj.io "w" is invalid: spec.entrypoint: Invalid value', name="w", kind="Workflow")
NOBODY = status(403, "Forbidden", 'workflows.argoproj.io is forbidden: User "system:anonymous" cannot create resource "workflows"')
PROXY = (502, "<html>Bad gateway – nobody answers</html>".encode())
BUSY = status(429, "TooManyRequests", "the server has received too many requests and has asked us to try again later")


asked: list[tuple[str, str]] = []  # path and Accept of every request


@pytest.fixture
def api_server(tmp_path: Path) -> Iterator[tuple[Kube, list[tuple[int, bytes]]]]:
    """A namespace on a server that gives the answers in the list, the last one again and again."""
    answers: list[tuple[int, bytes]] = []
    asked.clear()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.path, self.headers["Accept"]))
            code, body = answers[0] if len(answers) == 1 else answers.pop(0)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kube(tmp_path, f"http://127.0.0.1:{server.server_port}"), answers
    server.shutdown()
    server.server_close()
    thread.join()


def kube(folder: Path, url: str) -> Kube:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return Kube("here", environ={"KUBECONFIG": str(file)})


def test_what_is_not_there_is_no_error_where_that_is_an_answer(api_server: Any) -> None:
    found, answers = api_server
    answers.append(NO_WORKFLOW)
    assert found.workflow("w") is None
    assert found.stop_workflow("w") is False
    assert found.delete_workflow("w") is False
    assert found.config_map("batchflow") is None


POD = {"metadata": {"name": "w-replica", "creationTimestamp": "2026-11-22T19:50:00Z"}}
DELETED = (200, b'{"kind": "Status", "apiVersion": "v1", "status": "Success"}')


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_pod_whose_workflow_was_deleted_without_it_is_killed_all_the_same(api_server: Any, is_gone: bool) -> None:
    """kubectl delete --cascade=orphan; that a pod which is gone is no error."""
    found, answers = api_server
    gone = status(404, "NotFound", 'pods "w-replica" not found', name="w-replica", kind="pods")
    answers += [NO_WORKFLOW, (200, json.dumps({"items": [POD]}).encode()), gone if is_gone else DELETED]
    engine = ArgoEngine(Settings(namespace="here"))
    engine.__dict__["_kube"] = found
    engine.kill("w")
    assert [path.partition("?")[0] for path, _ in asked] == [
        "/apis/argoproj.io/v1alpha1/namespaces/here/workflows/w",
        "/api/v1/namespaces/here/pods",
        "/api/v1/namespaces/here/pods/w-replica",
    ]


def test_the_pods_of_a_workflow_that_is_deleted_are_left_to_kubernetes(api_server: Any) -> None:
    found, answers = api_server
    answers.append(DELETED)
    engine = ArgoEngine(Settings(namespace="here"))
    engine.__dict__["_kube"] = found
    engine.kill("w")
    assert len(asked) == 1


NO_SECRET = status(404, "NotFound", 'secrets "a" not found', name="a", kind="secrets")
NOT_ALLOWED = status(403, "Forbidden", 'secrets "a" is forbidden: User "ada" cannot get resource "secrets"', name="a", kind="secrets")
METADATA = (200, b'{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}')


@pytest.mark.parametrize(("kind", "plural"), [("Secret", "secrets"), ("PersistentVolumeClaim", "persistentvolumeclaims")])
@pytest.mark.parametrize(("answer", "lacks"), [(METADATA, False), (NO_SECRET, True), (NOT_ALLOWED, False)])
def test_whether_a_secret_is_there_is_found_out_without_its_content(
    api_server: Any, kind: str, plural: str, answer: tuple[int, bytes], lacks: bool
) -> None:
    """Where that may not be found out, nothing is said to be missing."""
    found, answers = api_server
    answers.append(answer)
    assert found.lacks(kind, "a") is lacks
    assert asked == [(f"/api/v1/namespaces/here/{plural}/a", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")]


def test_whether_a_secret_is_there_is_not_known_of_a_cluster_that_does_not_answer(api_server: Any) -> None:
    found, answers = api_server
    answers.append(PROXY)
    with pytest.raises(Unreachable):
        found.lacks("Secret", "a")


def test_a_taken_name_is_an_answer(api_server: Any) -> None:
    found, answers = api_server
    answers.append(TAKEN)
    assert found.create_workflow(MANIFEST) is False


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (NO_NAMESPACE, NotFound, ["there is no namespace here", "-n"]),
        (NO_CRD, NotFound, ["no Argo Workflows on this cluster", "install its controller"]),
        (FORBIDDEN, Unreachable, ["ada may not create workflows.argoproj.io", "namespace here", "batchflow doctor"]),
        (QUOTA, Unreachable, ["a quota is used up", "count/workflows.argoproj.io=2"]),
        (LOGGED_OUT, Unreachable, ["refuses your credentials", "log in again"]),
        (INVALID, InvalidInput, ["the cluster refuses it", "spec.entrypoint"]),
        (NOBODY, Unreachable, ["refuses your credentials", "log in again"]),
        (PROXY, Unreachable, ["the cluster answers 502: <html>Bad gateway – nobody answers"]),
        (BUSY, Unreachable, ["429", "too many requests"]),
    ],
    ids=lambda value: "",
)
def test_an_error_says_what_where_and_what_to_do(
    api_server: Any, answer: tuple[int, bytes], error: type[BatchflowError], words: list[str]
) -> None:
    found, answers = api_server
    answers.append(answer)
    with pytest.raises(error) as raised:
        found.create_workflow(MANIFEST)
    assert [word for word in words if word not in str(raised.value)] == []
    assert type(raised.value) is error


def test_no_resource_definitions_are_not_a_missing_workflow(api_server: Any) -> None:
    found, answers = api_server
    answers.append(NO_CRD)
    with pytest.raises(NotFound, match="no Argo Workflows"):
        found.workflow("w")


@pytest.mark.parametrize("follow", [False, True])
def test_only_of_a_followed_log_the_rest_may_come_later(tmp_path: Path, follow: bool) -> None:
    """A server that gives a line, and is gone before the end."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\na line\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        lines = kube(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}").log("p", "main", follow=follow)
        assert next(lines) == b"a line\n"
        with nullcontext() if follow else pytest.raises(Unreachable, match="main of pod p: the log broke off"):
            assert next(lines, None) is None


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"does not answer.*kubectl"):
        kube(tmp_path, "http://127.0.0.1:1").workflow("w")


@pytest.mark.parametrize("text", [None, "", "a: [", "kind: Config"], ids=["none", "empty", "broken", "no context"])
def test_no_kubeconfig_that_can_be_used(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Unreachable, match=r"^KUBECONFIG: .*--local"):
        Kube("here", environ={"KUBECONFIG": str(file)})


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    kube(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="nowhere"):
        Kube("here", context="nowhere", environ={"KUBECONFIG": str(tmp_path / "kubeconfig")})
