"""What handlers in pods tell the test, over HTTP: a note once taken stays, whatever becomes of the pod. And gates that the test opens."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Note:
    """What a Handler did, such as `began`, and with what. `env` names its variables; `token`: it sees Kubernetes'."""

    job: str
    pod: str
    event: str
    payload: Any
    env: list[str] = field(default_factory=list)
    token: bool = False


class Recorder:
    """The notes of all jobs in the order in which they came; `url` is its address for pods."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._notes: list[Note] = []
        self._passes: dict[str, float] = {}  # by gate
        self._lock = threading.Lock()

    def take(self, note: Note) -> None:
        with self._lock:
            self._notes.append(note)

    def notes(self, job_id: str) -> list[Note]:
        with self._lock:
            return [note for note in self._notes if note.job == job_id]

    def open(self, gate: str, passes: float = math.inf) -> None:
        """Let so many pass of those who wait, or will wait, at the gate of that name."""
        with self._lock:
            self._passes[gate] = passes

    def lets_pass(self, gate: str) -> bool:
        with self._lock:
            left = self._passes.get(gate, 0)
            self._passes[gate] = max(0, left - 1)
            return left > 0


@contextmanager
def recorder(host: str) -> Iterator[Recorder]:
    """A recorder that listens on `host`, an address of this machine that pods can reach."""
    server = ThreadingHTTPServer((host, 0), _Request)
    server.daemon_threads = True
    opened = _Request.recorder = Recorder(f"http://{host}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, name="recorder", daemon=True)
    thread.start()
    try:
        yield opened
    finally:
        server.shutdown()
        server.server_close()


class _Request(BaseHTTPRequestHandler):
    recorder: Recorder

    def do_POST(self) -> None:
        self.recorder.take(Note(**json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self._answer(200)

    def do_GET(self) -> None:
        """`/gates/<name>`: 200 if it lets pass; `/notes/<job>`: the job's notes."""
        _, kind, name = self.path.split("/")
        if kind == "notes":
            self._answer(200, json.dumps([asdict(note) for note in self.recorder.notes(name)]).encode())
        else:
            self._answer(200 if self.recorder.lets_pass(name) else 404)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""
