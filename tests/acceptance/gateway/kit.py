"""`batchflow serve` as a real process on the local engine, and requests to it as any client sends them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.acceptance.command import HANG_S, Json, Terminal, until

LISTENS = re.compile(r"batchflow serves http://127\.0\.0\.1:(\d+) \(engine local, store (.+)\)\n")
START_S = 60
ENDED = ("succeeded", "completed_with_failures", "enqueue_failed", "stopped", "timed_out", "worker_error", "worker_oom", "unexpected_error")

EMPTY_HANDLER = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): pass\n"

# Answers every POST with 200; with NOTES, a file, it notes the job's id and the body's digest there, a line each.
SERVER = """\
import hashlib, http.server, os, signal
class Yes(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "NOTES" in os.environ:
            with open(os.environ["NOTES"], "ab", buffering=0) as notes:
                notes.write(f"{self.headers['X-Cortex-Job-ID']} {hashlib.sha256(body).hexdigest()}\\n".encode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Yes).serve_forever()
"""


@dataclass(frozen=True)
class Answer:
    """A response, whole."""

    status: int
    headers: Message
    body: bytes

    @property
    def type(self) -> str:
        """The media type with its parameters, as sent."""
        return self.headers.get("Content-Type", "")

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        """The body, which must be said to be JSON."""
        assert self.type == "application/json", f"{self.status} {self.type}: {self.body[:500]!r}"
        return json.loads(self.body)

    def ok(self) -> Any:
        """The JSON of a 200."""
        assert self.status == 200, f"{self.status}: {self.body[:2000]!r}"
        return self.json()

    def same_as(self, other: Answer) -> bool:
        """Whether a client can't tell the two apart; each has its own date and request id."""
        return self._seen() == other._seen()

    def _seen(self) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = [(name.lower(), value) for name, value in self.headers.items() if name.lower() not in ("date", "x-request-id")]
        return self.status, sorted(headers), self.body


class Gateway:
    """A gateway of a terminal's folder and store. It may end and be started again, then on another port."""

    def __init__(self, shell: Terminal, *arguments: str, token: str | None = None, **environ: str) -> None:
        self.shell = shell
        self.token = token  # sent with each request that says nothing else
        self._arguments = arguments
        self._environ = environ
        self._starts = 0
        self.start()

    def start(self) -> None:
        self._starts += 1
        self.out, self.err = (self.shell.folder / f"serve-{id(self)}-{self._starts}.{name}" for name in ("out", "err"))
        command = [sys.executable, "-m", "batchflow", "serve", "--engine", "local", "--port", "0", *self._arguments]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=self.shell.folder,
                env={**self.shell.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        try:
            first = until(self._first_line, "the gateway to listen", self.log, limit_s=START_S)
            match = LISTENS.fullmatch(first)
            assert match, f"{first!r}\n{self.log()}"
        except BaseException:
            self.kill()
            raise
        self.port, self.store = int(match[1]), match[2]

    def _first_line(self) -> str:
        assert self.runs, f"exit {self.process.returncode}\n{self.log()}"
        line, end, _ = self.out.read_text().partition("\n")
        return line + end if end else ""

    def log(self) -> str:
        return self.err.read_text(errors="replace")

    def wait(self) -> int:
        """The exit code."""
        try:
            return self.process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway hangs\n{self.log()}") from None

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """In the orderly way, which must be exit 0 and no other word on stdout than the first."""
        self.terminate()
        code = self.wait()
        assert code == 0, f"exit {code}\n{self.log()}"
        assert LISTENS.fullmatch(self.out.read_text()), self.out.read_text()
        assert "Traceback" not in self.log(), self.log()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def memory_peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found, status
        return int(found[1]) * 1024

    def connect(self, *, limit_s: float = HANG_S) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=limit_s)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """Send the path as it is; an iterator is sent in chunks, without a length. `token` "" sends none."""
        token = self.token if token is None else token
        own = {"Authorization": f"Bearer {token}"} if token else {}
        connection = self.connect()
        try:
            connection.request(method, path, body, {**own, **(headers or {})}, encode_chunked=True)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.request("DELETE", path, **options)

    def post(self, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """`document` is sent as JSON; bytes are sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.request("POST", path, body, headers={"Content-Type": "application/json", **(headers or {})}, **options)

    def deploy(self, *entries: Json, files: Mapping[str, str | bytes] | None = None, query: str = "", **options: Any) -> Answer:
        """A cortex.yaml of these apis; `files` are their project."""
        parts = {"config": ("cortex.yaml", json.dumps(entries).encode())}
        if files is not None:
            parts["project.zip"] = ("project.zip", archive(files))
        return self.send_form("/deploy" + query, parts, **options)

    def send_form(self, path: str, parts: Mapping[str, tuple[str, bytes]], **options: Any) -> Answer:
        body, content_type = form(parts)
        return self.request("POST", path, body, headers={"Content-Type": content_type}, **options)

    def submit(self, api: str, document: Json | None = None, *, headers: Mapping[str, str] | None = None, **options: Any) -> str:
        """Returns the job's id."""
        answer = self.post(f"/batch/{api}", document or item_list(), headers=headers, **options)
        return str(answer.ok()["job_id"])

    def status(self, api: str, job_id: str, **options: Any) -> Json:
        return dict(self.get(f"/batch/{api}?jobID={job_id}", **options).ok()["job_status"])

    def ended(self, api: str, job_id: str, *, limit_s: float = HANG_S, **options: Any) -> Json:
        """Wait for the job's end; returns its status."""

        def final() -> Json | None:
            status = self.status(api, job_id, **options)
            return status if status["status"] in ENDED else None

        found: Json = until(final, f"the end of {job_id}", lambda: self.status(api, job_id, **options), limit_s=limit_s, pause_s=0.3)
        return found

    def job_ids(self, api: str) -> list[str]:
        """Of every job that the store holds of an api."""
        folder = Path(self.store) / "jobs" / api
        return sorted(os.listdir(folder)) if folder.is_dir() else []


@contextmanager
def serving(shell: Terminal, *arguments: str, token: str | None = None, **environ: str) -> Iterator[Gateway]:
    """A gateway; it is stopped in the end, which it must do well, unless it was ended already."""
    gateway = Gateway(shell, *arguments, token=token, **environ)
    try:
        yield gateway
        if gateway.runs:
            gateway.stop()
    finally:
        if gateway.runs:
            gateway.kill()


def item_list(items: Sequence[Any] = (1, 2, 3), *, batch_size: int = 1, workers: int = 1, **settings: Any) -> Json:
    """A submission's body."""
    return {"workers": workers, "item_list": {"items": list(items), "batch_size": batch_size}, **settings}


def pod(name: str, *, notes: Path | None = None, **fields: Any) -> Json:
    """An api whose container answers 200 to everything."""
    container: Json = {"name": "server", "image": "registry.example/server:1", "command": [sys.executable, "-c", SERVER]}
    if notes:
        container["env"] = {"NOTES": str(notes)}
    return {"name": name, "kind": "BatchAPI", "pod": {"containers": [container]}, **fields}


def handler(name: str, **fields: Any) -> Json:
    """An api of a Handler class in handler.py."""
    return {"name": name, "kind": "BatchAPI", "handler": {"type": "python", "path": "handler.py"}, **fields}


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def form(parts: Mapping[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """multipart/form-data of files, (name of the file, content) by the name of the field; and its content type."""
    boundary = uuid.uuid4().hex
    lines = b""
    for field, (name, content) in parts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        lines += head.encode() + content + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def is_error(answer: Answer, kind: str, message: str, *, schema_of: Gateway | None = None) -> None:
    """The whole answer, to the byte. `schema_of`: the message ends by saying where that gateway has the submission's schema."""
    assert (answer.status, answer.type) == (400, "application/json"), answer
    if schema_of:
        message += f"\n\njob submission schema can be found at http://127.0.0.1:{schema_of.port}/openapi.json"
    assert answer.text == json.dumps({"kind": kind, "message": message}, separators=(",", ":"), ensure_ascii=False)
