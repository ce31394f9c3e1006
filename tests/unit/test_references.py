"""A job deployment that names what is not in its namespace is refused by the field, as far as the cluster tells."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batchflow.deployments.references import check_references
from batchflow.engines.argo.engine import ArgoEngine
from batchflow.engines.local.engine import LocalEngine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import JobDeployment, parse_job_deployment
from batchflow.spec.reader import document_of

SECRET_ENV = {"name": "TOKEN", "value_or_reference_to_secret": "hf-token", "type": "secret"}
PLAIN_ENV = {"name": "A", "value_or_reference_to_secret": "nothing", "type": "plain"}
MOUNTS = [
    {"type": "scratch", "mount_path": "/data"},
    {"type": "secret", "mount_path": "/files", "secret_name": "files"},
    {"type": "shared", "mount_path": "/shared", "volume_id": "claim"},
]
ALL = frozenset(("secrets/hf-token", "secrets/files", "persistentvolumeclaims/claim", "secrets/pull"))


def deployment() -> JobDeployment:
    container = {"image": "a:1", "exposed_port": 80, "env": [PLAIN_ENV, SECRET_ENV], "volume_mounts": MOUNTS}
    document: dict[str, Any] = {
        "name": "job",
        "containers": [container],
        "compute": {"name": "General Compute", "size": 1},
        "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 1, "deadline_seconds": 600},
        "container_registry_settings": {"is_private": True, "credentials": {"name": "pull"}},
    }
    return parse_job_deployment(document_of(document), Rules())


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """What a cluster's namespace `here` has: plural and name."""
    found: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path.removeprefix("/api/v1/namespaces/here/") in found
            body = b'{"kind": "PartialObjectMetadata"}' if is_there else b'{"kind": "Status"}'
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_all_there_is_taken(there: set[str]) -> None:
    there.update(ALL)
    check_references(deployment(), ArgoEngine(Settings(namespace="here")))


@pytest.mark.parametrize(
    ("missing", "where", "what"),
    [
        ("secrets/hf-token", "containers: index 0: env: index 1: value_or_reference_to_secret", 'there is no Secret "hf-token"'),
        ("secrets/files", "containers: index 0: volume_mounts: index 1: secret_name", 'there is no Secret "files"'),
        (
            "persistentvolumeclaims/claim",
            "containers: index 0: volume_mounts: index 2: volume_id",
            'there is no PersistentVolumeClaim "claim"',
        ),
        ("secrets/pull", "container_registry_settings: credentials: name", 'there is no Secret "pull"'),
    ],
)
def test_what_is_missing_is_told_by_its_field(there: set[str], missing: str, where: str, what: str) -> None:
    there.update(ALL - {missing})
    with pytest.raises(InvalidInput) as refused:
        check_references(deployment(), ArgoEngine(Settings(namespace="here")))
    assert (refused.value.where, refused.value.what) == (where, what)


def test_on_this_machine_nobody_knows_of_them(tmp_path: Path) -> None:
    check_references(deployment(), LocalEngine(Settings(engine="local", local_dir=str(tmp_path)), {}))
