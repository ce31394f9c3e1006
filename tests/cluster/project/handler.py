"""A Handler that does what its items say, and tells the test's recorder: pods die, what they told stays."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from typing import Any

VERSION = 1
TOKEN = "/var/run/secrets/kubernetes.io"  # of the pod's service account
TRIES = 20
BLOCK = 16 << 20


class Handler:
    def __init__(self, config: dict[str, Any], job_spec: dict[str, Any]) -> None:
        self.config = config
        self.job_id = job_spec["job_id"]
        self.note("started", VERSION)
        self.do(config.get("start"))

    def handle_batch(self, payload: list[Any], batch_id: str) -> None:
        self.note("began", payload)
        for item in payload:
            self.do(item)
        self.note("ended", payload)

    def on_job_complete(self) -> None:
        self.note("complete", None)
        self.do(self.config.get("hook"))

    def do(self, item: Any) -> None:
        """`{"n": 1}` is a plain item; `do` says what else is to happen."""
        action = item.get("do") if isinstance(item, dict) else None
        if action == "sleep":
            time.sleep(item["s"])
        elif action == "gate":
            # As long as a worker's batches take a second each, it does not receive all that there are, so that others leave.
            time.sleep(1)
            while not self.answers("GET", f"/gates/{item['gate']}"):
                time.sleep(0.2)
        elif action == "raise":
            raise ValueError(item["text"])
        elif action == "exit":
            os._exit(item["code"])
        elif action == "client":
            self.note("client", use_client(item["api"]))
        elif action == "eat":
            eaten = []
            while True:
                eaten.append(b"x" * BLOCK)

    def note(self, event: str, payload: Any) -> None:
        print(event, payload)
        words = {
            "job": self.job_id,
            "pod": socket.gethostname(),
            "event": event,
            "payload": payload,
            "env": sorted(os.environ),
            "token": os.path.exists(TOKEN),
        }
        for _ in range(TRIES):
            if self.answers("POST", "/notes", json.dumps(words).encode()):
                return
            time.sleep(0.5)
        raise RuntimeError("the recorder does not answer")

    def answers(self, method: str, path: str, data: Any = None) -> bool:
        request = urllib.request.Request(self.config["recorder"] + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10):
                return True
        except (urllib.error.URLError, OSError):
            return False


def use_client(api: str) -> dict[str, Any]:
    """What each method of Cortex's client gives, of an api and a job that it makes."""
    import cortex
    from cortex.exceptions import CortexException

    client = cortex.client()
    server = {"name": "server", "image": "python:3.11-slim", "command": ["python3", "-m", "http.server", "8080"]}
    deployed = client.deploy({"name": api, "kind": "BatchAPI", "pod": {"containers": [server]}})
    body = json.dumps({"workers": 1, "item_list": {"items": [1], "batch_size": 1}}).encode()
    headers = {"Authorization": f"Bearer {os.environ['BATCHFLOW_TOKEN']}"}
    with urllib.request.urlopen(urllib.request.Request(client.get_api(api)["endpoint"], data=body, headers=headers)) as answer:
        job_id = json.load(answer)["job_id"]
    client.stop_job(api, job_id)
    client.refresh(api)
    found = {"deployed": deployed["api"]["spec"]["name"], "job": client.get_job(api, job_id)["job_status"]["job_id"] == job_id}
    found["listed"] = api in [one["spec"]["name"] for one in client.list_apis()]
    client.delete(api)
    try:
        client.get_api(api)
    except CortexException as error:
        found["gone"] = error.kind
    return found
