"""A namespace with real replicas: a store and an engine on this machine, and a small app that does as its request says."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchflow.callrecords import CallRequest, Ending, JobDeploymentRecord
from batchflow.deployments.calls import Arrivals, Calls
from batchflow.deployments.scheduler import IDLE_PAUSE_S, Scheduler
from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.local.folder import RunFolder
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import parse_job_deployment, to_document
from batchflow.spec.reader import document_of
from batchflow.store.deployments import CallRecords, DeploymentRecords, JobDeployments
from batchflow.store.open import open_store
from batchflow.store.protocol import Store

REPOSITORY = Path(__file__).parents[3]
HANG_S = 60  # bounds a test that hangs; nothing is measured
RULES = Rules(deadline_minimum_s=1)

# Notes when it comes up, when its job begins, and when it goes down of itself. The job says: `work_s`, `status`, `exit`; `stays` after its
# reply; `gate`, a file that is waited for; `crash` without a reply. `AT_START` is the exit code with which it ends at once.
APP = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def note(*words):
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (json.dumps([os.getpid(), time.monotonic(), *words]) + "\\n").encode())
    os.close(file)

def go_down(code):
    note("down")
    os._exit(code)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(503 if "UNHEALTHY" in os.environ else 200, "health")

    def do_POST(self):
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note("began", self.headers["X-Inference-Id"])
        print("at work", flush=True)
        while "gate" in job and not os.path.exists(job["gate"]):
            time.sleep(0.02)
        time.sleep(job.get("work_s", 0))
        if "crash" in job:
            go_down(job["crash"])
        self.answer(job.get("status", 200), "done")
        if not job.get("stays"):
            threading.Timer(0.1, go_down, [job.get("exit", 0)]).start()

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

signal.signal(signal.SIGTERM, lambda *_: go_down(143))
note("up")
if "AT_START" in os.environ:
    go_down(int(os.environ["AT_START"]))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

Json = dict[str, Any]


class Driven(Scheduler):
    """One that works when a test says so, and whether it leads or not."""

    def tick(self) -> bool:
        """Visit every deployment; whether there is something to be seen to soon."""
        return any([self.visit(name) < IDLE_PAUSE_S for name in self._all.names()])

    def clean(self) -> None:
        """All that it does beside."""
        self.drop_expired()
        self.remove(old=True)


class Namespace:
    """In `folder`; several objects may be of the same one, in any processes. Its store is there, too, or at `url`; `store`: a way to it."""

    def __init__(self, folder: Path, *, url: str = "", store: Store | None = None) -> None:
        self.folder = folder
        url = url or str(folder / "store")
        self.settings = Settings(engine="local", store=url, local_dir=str(folder / "local"), cache_dir=str(folder / "cache"), grace_s=5)
        self.store = store or open_store(url)
        self.deployments = JobDeployments(self.store)
        self.engine = LocalEngine(self.settings, os.environ)
        self.rules = RULES
        self._arrivals = Arrivals()

    def scheduler(self, **given: Any) -> Driven:
        return Driven(self.store, self.engine, self.settings, lambda: self.rules, **given)

    def deploy(self, name: str = "app", *, replicas: int = 2, compute: str = "CPUNode", **env: str) -> DeploymentRecords:
        (self.folder / "app.py").write_text(APP)
        variables = {"NOTES": str(self.folder / "notes"), **env}
        document = {
            "name": name,
            "containers": [
                {
                    "image": "app:1",
                    "exposed_port": 8000,
                    "entrypoint_overrides": {"enabled": True, "entrypoint": ["python", "app.py"]},
                    "env": [{"name": key, "value_or_reference_to_secret": text, "type": "plain"} for key, text in variables.items()],
                }
            ],
            "compute": {"name": compute, "size": 1},
            "scaling": {"max_replica_count": replicas, "queue_message_ttl_seconds": 600, "deadline_seconds": 600},
        }
        spec = to_document(parse_job_deployment(document_of(document), self.rules))
        records = self.deployments.create(name, JobDeploymentRecord(spec, "2026-01-01T00:00:00.000Z", str(self.folder)))
        assert records is not None
        return records

    def enter(self, records: DeploymentRecords, id: str, *, deadline_s: int = 600, ttl_s: int = 600, **job: Any) -> CallRecords:
        """A call as the gateway takes it in; `job` is what it asks of the app."""
        body = json.dumps(job).encode()
        call = self._arrivals.next()
        request = CallRequest(id, "POST", "/", [("Content-Type", "application/json")], len(body), deadline_s, ttl_s)
        Calls(records).enter(call, request, io.BytesIO(body))
        return records.call(call)

    def gate(self, name: str) -> str:
        """For a call's `gate`."""
        return str(self.folder / f"gate-{name}")

    def open(self, name: str) -> None:
        Path(self.gate(name)).touch()

    def notes(self, word: str) -> list[list[Any]]:
        """What the apps noted, in order: process id, time, word, and the call's id of `began`."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [note for note in map(json.loads, lines) if note[2] == word]

    def began(self) -> list[str]:
        """The ids of the calls that replicas were given, in order."""
        return [note[3] for note in self.notes("began")]

    def most_at_once(self) -> int:
        """How many replicas were alive at once, at most."""
        moments = [(note[1], change) for word, change in (("up", 1), ("down", -1)) for note in self.notes(word)]
        alive, most = 0, 0
        for _, change in sorted(moments):
            alive += change
            most = max(most, alive)
        return most

    def runs(self) -> list[str]:
        """The workflows that the engine knows."""
        folder = self.folder / "local"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def engine_pid(self, call: CallRecords) -> int:
        return int((self.folder / "local" / call.ref.workflow / "engine.lock").read_text())

    def kill_engines(self) -> None:
        """End the engines that still run, and with them all that they started."""
        for lock in self.folder.glob("local/*/engine.lock"):
            pid = int(lock.read_text() or 0)
            if pid and RunFolder(lock.parent.parent, lock.parent.name).locked:
                os.kill(pid, signal.SIGKILL)


def scheduler_process(space: Namespace, lease_s: float, name: str = "scheduler") -> subprocess.Popen[bytes]:
    """A scheduler of that namespace, which logs to its folder. With a lease of 0 it never asks whether it leads."""
    command = [sys.executable, "-m", "tests.contract.scheduling.process", str(space.folder), str(lease_s)]
    with (space.folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, stderr=log)


def until(scheduler: Driven, holds: Callable[[], Any], what: str = "") -> Any:
    """Have the scheduler work until it is so; returns the first true value."""
    deadline = time.monotonic() + HANG_S
    while not (value := holds()):
        assert time.monotonic() < deadline, f"still not so after {HANG_S} s: {what}"
        scheduler.tick()
        time.sleep(0.05)
    return value


def ended(scheduler: Driven, call: CallRecords) -> Ending:
    """How the call ended, once its slot is free."""
    name = call.ref.call
    records = DeploymentRecords(call.store, call.ref.deployment, call.ref.deployment_id)
    until(scheduler, lambda: call.ending() and name not in records.running(), "the call has ended")
    ending = call.ending()
    assert ending is not None
    return ending


def waiting(records: DeploymentRecords) -> list[str]:
    return [waiting.call for waiting in records.waiting()]
