"""Any HTTP server can handle batches. It gets a JSON array at POST /, and POST /on-job-complete when all batches are handled."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CALIBRATION = Path(os.environ["BATCHFLOW_MNT_DIR"], "calibration.json")  # the other container writes it


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """No batch comes before this says 200."""
        self.answer(200 if self.path == "/healthz" and CALIBRATION.exists() else 503)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/on-job-complete":
            print(f"job {self.headers['X-Cortex-Job-ID']} is complete", flush=True)
        else:
            offsets = json.loads(CALIBRATION.read_text())
            total = sum(item["value"] + offsets[item["sensor"]] for item in body)
            print(f"{len(body)} items add up to {total}", flush=True)
        self.answer(200)  # anything else is a failed attempt

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""


if __name__ == "__main__":
    # A container's first process ignores SIGTERM unless it says otherwise; each pod would then last for the whole grace period.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Server).serve_forever()
