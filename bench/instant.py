"""The instant handler: an HTTP server that does nothing with a batch, as quickly as Python can, and counts.

    python -m bench.instant [DELAY_MS]       prints its port; ends when its stdin is closed
    CORTEX_PORT=8080 python instant.py       as a job's container

With DELAY_MS it sleeps that long before it answers a batch; any number of batches at the same time.

`POST /on-job-complete` is answered, not counted. `GET /stats` answers {"count", "last"}: when the last batch was answered.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
CHUNK_BYTES = 65_536


class Counted:
    """Batches answered, each `delay_s` after it came."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.count = 0
        self.last = 0.0
        self._lock = threading.Lock()

    def answer(self, head: bytes) -> bytes:
        if head.startswith(b"GET /stats"):
            return json.dumps({"count": self.count, "last": self.last}).encode()
        if not head.startswith(b"POST /on-job-complete"):
            if self.delay_s:
                time.sleep(self.delay_s)
            with self._lock:
                self.count += 1
                self.last = time.monotonic()
        return b""


def serve(connection: socket.socket, counted: Counted) -> None:
    """Answer request after request until the client closes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with connection:
        while chunk := connection.recv(CHUNK_BYTES):
            received += chunk
            head, blank, rest = received.partition(b"\r\n\r\n")
            if blank and len(rest) >= _content_length(head):  # clients wait for the answer before they send more
                received = b""
                body = counted.answer(head)
                connection.sendall(ANSWER % (len(body), body))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    # The first process of a container ignores SIGTERM unless it says otherwise, which would cost the pod its whole grace period.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("CORTEX_PORT", "0"))), backlog=128)
    if "CORTEX_PORT" not in os.environ:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        print(listener.getsockname()[1], flush=True)
    counted = Counted(float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.0)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, counted), daemon=True).start()


if __name__ == "__main__":
    main()
