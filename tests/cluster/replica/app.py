"""A replica's server, as Verda's example is one: takes one request, does what its path says, answers, exits. Tells the test's recorder.

    /job?duration=N&failed=true    200 or 500 with JSON, then exit 0 or 1
    /gate?name=G                   as /job, once the test lets it pass
    /stubborn                      no answer, and no end at SIGTERM

NOTEBOOK, a variable, is under which name it notes; RECORDER the recorder's address; SECRET is part of the answer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

TOKEN = "/var/run/secrets/kubernetes.io"  # of the pod's service account
TRIES = 20

taken = Lock()


def answers(method: str, path: str, data: Any = None) -> bool:
    """Whether the recorder says yes."""
    request = urllib.request.Request(os.environ["RECORDER"] + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


def note(event: str, payload: Any = None) -> None:
    print(event, json.dumps(payload), flush=True)
    words = {
        "job": os.environ["NOTEBOOK"],
        "pod": socket.gethostname(),
        "event": event,
        "payload": payload,
        "env": sorted(os.environ),
        "token": os.path.exists(TOKEN),
    }
    for _ in range(TRIES):
        if answers("POST", "/notes", json.dumps(words).encode()):
            return
        time.sleep(0.5)
    sys.exit("the recorder does not answer")


def leave(code: int) -> NoReturn:
    note("down", code)
    os._exit(code)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not taken.acquire(blocking=False):
            self.reply(503, {"detail": "busy"})
            return
        note("began", self.headers["X-Inference-Id"])
        split = urlsplit(self.path)
        query = dict(parse_qsl(split.query))
        if split.path == "/stubborn":
            os.kill(os.getpid(), signal.SIGUSR1)
            Event().wait()
        while split.path == "/gate" and not answers("GET", f"/gates/{query['name']}"):
            time.sleep(0.2)
        time.sleep(float(query.get("duration", 0)))
        failed = query.get("failed") == "true"
        if failed:
            self.reply(500, {"detail": "the job failed"})
        else:
            now = datetime.now(UTC).isoformat()
            self.reply(200, {"success": True, "asked": json.loads(body), "secret": os.environ.get("SECRET"), "timestamp": now})
        self.connection.close()
        leave(1 if failed else 0)

    def reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # whoever has asked was killed
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: leave(143))
    signal.signal(signal.SIGUSR1, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    note("up")
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
