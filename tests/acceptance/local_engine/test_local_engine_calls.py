"""Calls of a job deployment on this machine: the compiled workflow with a real replica, courier and store."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from batchflow.callrecords import CallRef, CallRequest
from batchflow.compiler import compile_call
from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.protocol import Observation
from batchflow.spec.computeresource import ComputeResource, Rules
from batchflow.spec.jobdeployment import parse_job_deployment
from batchflow.spec.reader import document_of
from batchflow.store.deployments import CallRecords
from batchflow.store.open import open_store

Json = dict[str, Any]

# Answers one request with what it was asked, and exits as the query says: `exit`, `linger` (seconds until then), `status`.
APP = """
import json, os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"fine", "text/plain")

    def do_POST(self):
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "crash" in asked:
            os._exit(int(asked["crash"]))
        seen = {"path": self.path, "body": body, "id": self.headers["X-Inference-Id"], "port": sys.argv[1]}
        seen["token"] = os.environ.get("TOKEN")
        self.answer(int(asked.get("status", "200")), json.dumps(seen).encode(), "application/json")
        threading.Timer(float(asked.get("linger", "0.2")), os._exit, [int(asked.get("exit", "0"))]).start()

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

SECRET = {"name": "TOKEN", "value_or_reference_to_secret": "hf-token", "type": "secret"}


class Calls:
    """Starts calls of one deployment, as a scheduler does."""

    def __init__(self, runs: Any) -> None:
        self.runs = runs
        (runs.directory / "app.py").write_text(APP)
        runs.engine = LocalEngine(runs.settings, {**os.environ, "TOKEN": "from the shell"})

    def start(self, target: str, *, number: int = 1, body: bytes = b"the body", **container: Any) -> CallRecords:
        ref = CallRef("renderer", "0a1b2c3d4e5f", f"{number:019d}-89abcdef")
        records = CallRecords(open_store(self.runs.settings.store), ref)
        records.save_body(io.BytesIO(body), len(body))
        records.save_request(CallRequest("mine", "POST", target, [("Content-Type", "text/plain")], len(body), 600, 60))
        document = {
            "name": "renderer",
            "containers": [
                {
                    "image": "renderer:1",
                    "exposed_port": 8000,
                    "entrypoint_overrides": {"enabled": True, "entrypoint": ["python", "app.py"], "cmd": ["$(PORT)"]},
                    **container,
                }
            ],
            "compute": {"name": "General Compute", "size": 1},
            "scaling": {"max_replica_count": 2, "queue_message_ttl_seconds": 60, "deadline_seconds": 600},
        }
        workflow = compile_call(
            parse_job_deployment(document_of(document), Rules.none()),
            ref,
            ComputeResource("General Compute"),
            replace(self.runs.settings, max_call_bytes=10_000),
            deadline_s=600,
        )
        self.runs.engine.submit(workflow.to_dict(), directory=str(self.runs.directory))
        return records

    def seen(self, records: CallRecords) -> Json:
        """What the replica answered."""
        body = records.reply_body()
        assert body is not None, self.log(records)
        with body:
            found: Json = json.loads(body.read())
        return found

    def log(self, records: CallRecords) -> list[str]:
        return [f"{line.container}: {line.text}" for line in self.runs.engine.logs(records.ref.workflow)]

    def until(self, records: CallRecords, name: str) -> None:
        """There is a record of that name."""
        self.runs.until(records.ref.workflow, lambda _: name in records.names())

    def wait(self, records: CallRecords) -> Observation:
        seen: Observation = self.runs.wait(records.ref.workflow)
        assert seen.workflow is not None, seen.message
        return seen

    def processes(self, records: CallRecords) -> list[int]:
        """Of main and courier, guards included."""
        [pod] = self.runs.engine.observe(records.ref.workflow).pods
        statuses = pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"]
        return [int(pid) for status in statuses for pid in status["containerID"].removeprefix("process://").split("/")]


@pytest.fixture
def calls(runs: Any) -> Calls:
    return Calls(runs)


def exit_codes(seen: Observation) -> tuple[str, int]:
    """Main's, as the workflow and as the pod has it."""
    assert seen.workflow is not None
    [node] = [node for node in seen.workflow["status"]["nodes"].values() if node["type"] == "Pod"]
    [main] = seen.pods[0]["status"]["containerStatuses"]
    return node["outputs"]["exitCode"], main["state"]["terminated"]["exitCode"]


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_a_replica_gets_its_request_and_its_reply_and_exit_code_are_kept(calls: Calls, code: int, phase: str) -> None:
    records = calls.start(f"/job?exit={code}&status=201", env=[SECRET])
    seen = calls.wait(records)
    assert seen.workflow is not None
    assert (seen.workflow["status"]["phase"], exit_codes(seen)) == (phase, (str(code), code))
    reply = records.reply()
    assert reply is not None
    assert (reply.status, reply.content_type) == (201, "application/json")
    answered = calls.seen(records)
    assert answered.pop("port") != "8000"
    assert answered == {"path": f"/job?exit={code}&status=201", "body": "the body", "id": "mine", "token": "from the shell"}
    assert "main: listening" in calls.log(records)


def test_a_replica_that_stays_after_its_reply_does_not_hold_its_call_up(calls: Calls) -> None:
    records = calls.start("/job?status=500&linger=600")
    calls.until(records, "ended.json")
    ending = records.ending()
    assert ending is not None
    assert (ending.error, ending.exit_code) == ("container replied with HTTP 500", None)
    calls.runs.engine.stop(records.ref.workflow)
    seen = calls.wait(records)
    assert exit_codes(seen) == ("143", 143)


def test_a_replica_that_crashes_is_not_asked_again(calls: Calls) -> None:
    records = calls.start("/job?crash=7")
    assert exit_codes(calls.wait(records)) == ("7", 7)
    assert records.reply() is None
    assert "delivered.json" in records.names()
    assert calls.log(records).count("main: listening") == 1


def test_replicas_at_once_have_ports_of_their_own(calls: Calls) -> None:
    both = [calls.start("/job?linger=600", number=number) for number in (1, 2)]
    for records in both:
        calls.until(records, "reply.json")
    assert len({calls.seen(records)["port"] for records in both}) == 2
    for records in both:
        calls.runs.engine.stop(records.ref.workflow)
        calls.wait(records)


def stop(calls: Calls, records: CallRecords) -> None:
    calls.runs.engine.stop(records.ref.workflow)
    calls.wait(records)


def kill_the_engine(calls: Calls, records: CallRecords) -> None:
    os.kill(calls.runs.engine_pid(records.ref.workflow), signal.SIGKILL)


@pytest.mark.parametrize("end", [stop, kill_the_engine])
def test_no_process_of_a_call_outlives_its_engine(calls: Calls, end: Callable[[Calls, CallRecords], None]) -> None:
    records = calls.start("/job?linger=600")
    calls.until(records, "reply.json")
    pids = calls.processes(records)
    assert len(pids) == 4
    end(calls, records)
    calls.runs.wait_until_gone(pids)
