"""A real Argo takes the golden manifests: its linter, and its controller, which is the only one to find a spec invalid.

Needs `kubectl` and `argo` in PATH, and a KUBECONFIG whose cluster runs Argo's controller; without them these tests fail, they don't skip.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GOLDENS = sorted((ROOT / "workflows").glob("*.yaml"))
NAMESPACE = "batchflow"
ACCEPTED_S = 120

ACCOUNTS = [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}
    for name in ("batchflow-step", "batchflow-cleanup", "batchflow-executor")
]
TOKEN = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/service-account-token",
    "metadata": {
        "name": "batchflow-executor.service-account-token",
        "namespace": NAMESPACE,
        "annotations": {"kubernetes.io/service-account.name": "batchflow-executor"},
    },
}


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=ACCEPTED_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def accounts() -> None:
    """The service accounts that the manifests name."""
    run("kubectl", "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*ACCOUNTS, TOKEN]}))


@pytest.fixture
def created(accounts: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A golden's workflow on the cluster; its image exists nowhere, so it gets no further than its first pod."""
    manifest: dict[str, Any] = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    name = manifest["metadata"]["name"]
    run("kubectl", "create", "-f", "-", stdin=json.dumps(manifest))
    yield name
    run("kubectl", "-n", NAMESPACE, "delete", "workflow", name, "--wait=false")


def test_argo_lints_them() -> None:
    assert GOLDENS
    run("argo", "lint", "--offline", *map(str, GOLDENS))


@pytest.mark.parametrize("created", GOLDENS, ids=lambda path: path.stem, indirect=True)
def test_the_controller_takes_them_and_starts_the_first_pod(created: str) -> None:
    deadline = time.monotonic() + ACCEPTED_S
    while time.monotonic() < deadline:
        workflow = json.loads(run("kubectl", "-n", NAMESPACE, "get", "workflow", created, "-o", "json"))
        status = workflow.get("status", {})
        assert status.get("phase") not in ("Error", "Failed"), status.get("message")
        pods = json.loads(run("kubectl", "-n", NAMESPACE, "get", "pods", "-l", f"workflows.argoproj.io/workflow={created}", "-o", "json"))
        if pods["items"]:
            return
        time.sleep(0.5)
    pytest.fail(f"no pod after {ACCEPTED_S} s: {status}")
