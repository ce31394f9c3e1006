"""An api's own containers together: what they share, and what they are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.command import Terminal

# Answers each batch with what the other container wrote, and notes what it got.
SERVER = """\
import http.server, json, os, sys, time

shared, notes, own = sys.argv[1:]

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        while not os.path.exists(shared):
            time.sleep(0.02)
        told = {name: os.environ.get(name) for name in ("GREETING", "BATCHFLOW_GATEWAY_URL", "BATCHFLOW_TOKEN")}
        client = os.path.join(os.environ["CORTEX_CLI_CONFIG_DIR"], "cli.yaml")
        config = open(client).read() if os.path.exists(client) else None
        with open(notes, "a") as file:
            json.dump([self.path, body, open(shared).read(), own, told, config], file)
            file.write("\\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_): pass

http.server.HTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Server).serve_forever()
"""
WRITER = """\
import os, sys, time

word, path = sys.argv[1:]
with open(path + ".new", "w") as file:
    file.write(word)
os.rename(path + ".new", path)
time.sleep(600)
"""


def write_job(folder: Path, **entry: Any) -> tuple[Path, Path]:
    """A job of an api with two containers; its file, and the notes that its server leaves."""
    notes = folder / "notes"
    (folder / "server.py").write_text(SERVER)
    (folder / "writer.py").write_text(WRITER)
    env = {"WORD": "shared", "OUT": "$(BATCHFLOW_MNT_DIR)/out", "GREETING": "$(LATER) $$(WORD) $(WORD)", "LATER": "late"}
    server = {
        "name": "server",
        "image": "any",
        "command": [sys.executable, "server.py"],
        "args": ["$(OUT)", str(notes), "$(MISSING)$$(OUT)"],
    }
    writer = {"name": "writer", "image": "any", "command": [sys.executable, "writer.py", "$(WORD)", "$(OUT)"]}
    containers = [{**container, "env": env} for container in (server, writer)]
    api = {"name": "pair", "kind": "BatchAPI", "pod": {"containers": containers}, **entry}
    (folder / "cortex.yaml").write_text(json.dumps([api]))
    body = {"api": {"file": "cortex.yaml"}, "workers": 1, "item_list": {"items": [1, 2], "batch_size": 2}}
    (folder / "job.yaml").write_text(json.dumps(body))
    return folder / "job.yaml", notes


def test_containers_share_mnt_and_references_are_expanded_in_order(shell: Terminal) -> None:
    job, notes = write_job(shell.folder)
    assert shell.ended("pair", shell.submit(job))["status"] == "succeeded"
    batch, hook = (json.loads(line) for line in notes.read_text().splitlines())
    told = {"GREETING": "$(LATER) $(WORD) shared", "BATCHFLOW_GATEWAY_URL": None, "BATCHFLOW_TOKEN": None}
    assert batch == ["/", [1, 2], "shared", "$(MISSING)$(OUT)", told, None]
    assert hook == ["/on-job-complete", {"message": "job_complete"}, "shared", "$(MISSING)$(OUT)", told, None]


GATEWAY = {"BATCHFLOW_GATEWAY_URL": "http://127.0.0.1:8888", "BATCHFLOW_TOKEN": "a-token"}


def test_an_api_that_asks_for_the_client_gets_address_token_and_configuration(shell: Terminal) -> None:
    job, notes = write_job(shell.folder, batchflow={"cortex_client": True, "on_job_complete": False})
    job_id = shell.run("submit", job, "-o", "json", **GATEWAY).json()["job_status"]["job_id"]
    assert shell.ended("pair", job_id)["status"] == "succeeded"
    *_, told, config = json.loads(notes.read_text())
    assert told == {"GREETING": "$(LATER) $(WORD) shared", **GATEWAY}
    assert yaml.safe_load(config)["environments"] == [{"name": "default", "operator_endpoint": "http://127.0.0.1:8888"}]


@pytest.mark.parametrize("missing", GATEWAY)
def test_without_a_gateway_the_client_is_refused_before_anything_is_stored(shell: Terminal, missing: str) -> None:
    job, _ = write_job(shell.folder, batchflow={"cortex_client": True})
    answer = shell.run("submit", job, code=2, **{name: value for name, value in GATEWAY.items() if name != missing})
    assert f"{missing}: is not set, and container server needs it" in answer.err
    assert not list(shell.store.rglob("submission.json"))
