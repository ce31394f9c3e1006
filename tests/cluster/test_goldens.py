"""A real Argo takes the golden manifests: its linter, and its controller, which is the only one to find a spec invalid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.command import Json, until
from tests.cluster.kit import WORKFLOW, Cluster, run

GOLDENS = sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))
ACCEPTED_S = 120


@pytest.fixture
def created(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A golden's workflow on the cluster; its image exists nowhere, so it gets no further than its first pod."""
    manifest: Json = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    manifest["metadata"]["namespace"] = cluster.namespace
    name = manifest["metadata"]["name"]
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    yield name
    cluster.kubectl("delete", "workflow", name, "--wait=false")


def test_argo_lints_them() -> None:
    assert GOLDENS
    run("argo", "lint", "--offline", *map(str, GOLDENS))


@pytest.mark.parametrize("created", GOLDENS, ids=lambda path: path.stem, indirect=True)
def test_the_controller_takes_them_and_starts_the_first_pod(cluster: Cluster, created: str) -> None:
    def started() -> bool:
        workflow = cluster.workflow(created)
        assert workflow is not None
        status = workflow.get("status", {})
        assert status.get("phase") not in ("Error", "Failed"), status.get("message")
        return bool(cluster.objects("pods", f"{WORKFLOW}={created}"))

    until(started, "the first pod", lambda: cluster.workflow(created), limit_s=ACCEPTED_S, pause_s=0.5)
