"""`import cortex` in a worker on the local engine: a job that deploys an api, submits a job to it, and looks after both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import Gateway, handler, item_list, serving

TOKEN = "a-token-of-this-test"

HANDLER = """\
import json, os, pathlib, urllib.request
import cortex
from cortex.exceptions import CortexException

CHILD = {"name": "child", "kind": "BatchAPI", "handler": {"type": "python", "path": "child.py"}}


class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        pass

    def on_job_complete(self):
        try:
            found = self.look_after_a_child()
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}", "kind": getattr(error, "kind", None)}
        (self.folder / "new").write_text(json.dumps(found))
        (self.folder / "new").rename(self.folder / "found")

    def look_after_a_child(self):
        client = cortex.client()
        found = {"deployed": client.deploy(CHILD, os.path.dirname(__file__))}
        found["api"] = client.get_api("child")
        endpoint = found["api"]["endpoint"]
        found["job_id"] = self.submit(endpoint, [1, 2, 3])["job_id"]
        found["job"] = client.get_job("child", found["job_id"])
        found["stopped_id"] = self.submit(endpoint, ["hang"])["job_id"]
        client.stop_job("child", found["stopped_id"])
        client.refresh("child")
        found["apis"] = [api["metadata"]["name"] for api in client.list_apis()]
        client.deploy({**CHILD, "name": "short-lived"}, os.path.dirname(__file__))
        client.delete("short-lived")
        try:
            client.get_api("short-lived")
        except CortexException as error:
            found["deleted"] = [error.kind, str(error)]
        return found

    def submit(self, endpoint, items):
        job = {"workers": 1, "config": {"folder": str(self.folder)}, "item_list": {"items": items, "batch_size": 1}}
        headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["BATCHFLOW_TOKEN"]}
        request = urllib.request.Request(endpoint, json.dumps(job).encode(), headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)
"""
CHILD = """\
import pathlib, time

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        while payload == ["hang"]:
            time.sleep(0.05)
        (self.folder / f"child-{payload[0]}").touch()
"""
FILES = {"handler.py": HANDLER, "child.py": CHILD, "ignored.py": "", ".cortexignore": "ignored.py\n"}


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    credentials = shared_shell.folder / "credentials.yaml"
    credentials.write_text(json.dumps({"tokens": [{"token": TOKEN, "namespace": "batchflow"}]}))
    with serving(shared_shell, token=TOKEN, BATCHFLOW_CREDENTIALS=str(credentials)) as opened:
        yield opened


def ran(gateway: Gateway, folder: Path, name: str, **entry: Any) -> dict[str, Any]:
    """What the hook of a job of a new api found."""
    folder.mkdir(exist_ok=True)
    gateway.deploy(handler(name, **entry), files=FILES).ok()
    job_id = gateway.submit(name, item_list([1], config={"folder": str(folder)}))
    assert gateway.ended(name, job_id)["status"] == "succeeded"
    return dict(json.loads((folder / "found").read_text()))


def test_a_job_deploys_an_api_submits_a_job_to_it_and_reads_it(gateway: Gateway, tmp_path: Path) -> None:
    found = ran(gateway, tmp_path, "parent", batchflow={"cortex_client": True})
    assert "error" not in found, found
    assert (found["deployed"]["message"], found["deployed"]["error"]) == ("created child (BatchAPI)", "")
    url = f"http://127.0.0.1:{gateway.port}/child"
    assert (found["api"]["endpoint"], found["deployed"]["api"]["endpoint"]) == (url, url)
    assert found["job"]["job_status"]["job_id"] == found["job_id"]
    assert found["job"]["endpoint"] == f"{url}?jobID={found['job_id']}"
    assert found["apis"] == ["child", "parent"]
    assert found["deleted"] == ["resources.api_not_deployed", "short-lived is not deployed"]
    assert gateway.ended("child", found["job_id"])["status"] == "succeeded"
    assert sorted(path.name for path in tmp_path.glob("child-*")) == ["child-1", "child-2", "child-3"]
    assert gateway.ended("child", found["stopped_id"])["status"] == "stopped"


def test_an_api_that_does_not_ask_gets_no_token(gateway: Gateway, tmp_path: Path) -> None:
    found = ran(gateway, tmp_path, "modest")
    assert found["error"].startswith("CortexException: BATCHFLOW_GATEWAY_URL and BATCHFLOW_TOKEN not set: ")
    assert "batchflow: {cortex_client: true}" in found["error"]
