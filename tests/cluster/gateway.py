"""The gateway in the cluster as a client outside sees it: through `kubectl port-forward`, as plain HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchflow import contract
from tests.acceptance.command import Json, until
from tests.cluster.kit import Cluster

READY_S = 180
ANSWER_S = 120


@dataclass(frozen=True)
class Answer:
    """One response; the names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Gateway:
    """At `url`; every call but those that say otherwise sends `token`. A broken connection raises OSError or HTTPException."""

    url: str
    token: str

    def call(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None, token: str | None = None
    ) -> Answer:
        """`body`: bytes as they are, anything else as JSON. `token` empty: none is sent."""
        token = self.token if token is None else token
        sent = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
                return _answer(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def submit(self, api: str, submission: Json, **headers: str) -> Json:
        """The job that it answers with."""
        answer = self.call("POST", f"/{api}", submission, headers=headers)
        assert answer.status == 200, answer
        job: Json = answer.json()
        return job

    def job_status(self, api: str, job_id: str) -> Json:
        answer = self.call("GET", f"/{api}?jobID={job_id}")
        assert answer.status == 200, answer
        status: Json = answer.json()["job_status"]
        return status


@contextmanager
def forwarded(cluster: Cluster) -> Iterator[Gateway]:
    """The gateway of that namespace, once a pod of it is ready. The connection leads to one pod, and ends with it."""
    ready(cluster)
    command = ["kubectl", "-n", cluster.namespace, "port-forward", f"deployment/{contract.GATEWAY}", f":{contract.GATEWAY_PORT}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ", line)
        assert found, f"kubectl port-forward: {line!r}"
        yield Gateway(f"http://127.0.0.1:{found[1]}", cluster.token)
    finally:
        process.kill()
        process.communicate()


def ready(cluster: Cluster) -> str:
    """Wait for a ready pod of the gateway and for the end of all others; its name."""

    def found() -> str:
        pods = cluster.objects("pods", f"app.kubernetes.io/name={contract.GATEWAY}")
        if len(pods) != 1 or "deletionTimestamp" in pods[0]["metadata"]:
            return ""
        conditions = pods[0]["status"].get("conditions", ())
        return pods[0]["metadata"]["name"] if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions) else ""

    def shown() -> str:
        return cluster.kubectl("describe", "pods", "-l", f"app.kubernetes.io/name={contract.GATEWAY}")[-2000:]

    name: str = until(found, "a ready gateway", shown, limit_s=READY_S, pause_s=0.5)
    return name


def _answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, body)
