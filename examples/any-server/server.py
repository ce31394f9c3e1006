"""Any HTTP server can handle batches. It gets a JSON array at POST /, and POST /on-job-complete when all batches are handled."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/healthz" else 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/on-job-complete":
            print(f"job {self.headers['X-Cortex-Job-ID']} is complete", flush=True)
        else:
            total = sum(item["value"] for item in body)
            print(f"{len(body)} items add up to {total}", flush=True)
        self.answer(200)  # anything else is a failed attempt

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Server).serve_forever()
