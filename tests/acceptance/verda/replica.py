"""A replica's server for tests: it takes one request and does what its path says. Run as `python replica.py`; PORT is where it listens.

It notes what it does in the file NOTES, a JSON list a line: `["up", pid]`, `["began", pid, id, method, target, headers, body's SHA-256]`,
`["down", pid]`. A second request to the same process gets 503, as with Verda's example.

    /job?duration=N&failed=true     Verda's example: 200 or 500 with JSON, then exit 0 or 1
    /echo                           200 with the request's own body and type, then exit 0
    /typeless?bytes=N               200 with N bytes and no Content-Type
    /reply?status=N&type=T          that status and type
    /gate?name=F                    as /echo, once the file F is there beside the notes
    /linger                         as /echo, but the process goes on
    /bad-exit?code=N&after=S        as /echo, then exit N, after S seconds
    /exit?code=N                    no reply, exit N
    /stubborn                       no reply, and no end at SIGTERM

START, a variable, has it exit 7 or 0 at its start (`crash`, `gone`), never listen (`deaf`) or never be healthy (`unhealthy`).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread, main_thread
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

NOTES = Path(os.environ["NOTES"])
START = os.environ.get("START", "")
POLL_S = 0.02

taken = Lock()


def note(*words: Any) -> None:
    file = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (json.dumps([words[0], os.getpid(), *words[1:]]) + "\n").encode())
    os.close(file)


def leave(code: int) -> NoReturn:
    note("down")
    os._exit(code)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        split = urlsplit(self.path)
        if split.path == "/health":
            self.reply(503 if START == "unhealthy" else 200, b"fine", "text/plain")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not taken.acquire(blocking=False):
            self.reply(503, b'{"detail": "busy"}', "application/json")
            return
        headers = sorted((name.lower(), value) for name, value in self.headers.items())
        target = self.requestline.split()[1]  # of `path` the handler makes one slash of several
        note("began", self.headers["X-Inference-Id"], self.command, target, headers, hashlib.sha256(body).hexdigest())
        self.act(split.path, dict(parse_qsl(split.query)), body)

    def act(self, path: str, query: dict[str, str], body: bytes) -> None:
        code = 0
        match path:
            case "/job":
                code = self.job(float(query.get("duration", 0)), query.get("failed") == "true")
            case "/exit":
                leave(int(query["code"]))
            case "/stubborn":
                signal.pthread_kill(main_thread().ident or 0, signal.SIGUSR1)
                Event().wait()
            case "/reply":
                self.reply(int(query["status"]), body, query.get("type", "application/json"))
            case "/typeless":
                self.reply(200, b"x" * int(query["bytes"]), None)
            case _:
                while path == "/gate" and not NOTES.with_name(query["name"]).exists():
                    time.sleep(POLL_S)
                self.reply(200, body, self.headers["Content-Type"])
                code = int(query.get("code", 0))
        if path != "/linger":
            self.connection.close()
            time.sleep(float(query.get("after", 0)))
            leave(code)

    def job(self, duration: float, failed: bool) -> int:
        began = time.monotonic()
        time.sleep(duration)
        if failed:
            self.reply(500, b'{"detail": "the job failed"}', "application/json")
            return 1
        done = {"success": True, "message": "done", "executionTime": time.monotonic() - began, "timestamp": datetime.now(UTC).isoformat()}
        self.reply(200, json.dumps(done).encode(), "application/json")
        return 0

    def reply(self, status: int, body: bytes, content_type: str | None) -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # whoever has asked was killed
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, format: str, *args: Any) -> None:
        print(format % args, file=sys.stderr, flush=True)


def main() -> None:
    note("up")
    signal.signal(signal.SIGTERM, lambda *_: leave(143))
    signal.signal(signal.SIGUSR1, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    if START in ("crash", "gone"):
        leave(7 if START == "crash" else 0)
    if START == "deaf":
        signal.pause()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
