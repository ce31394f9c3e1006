"""HTTP: POST / is a batch, POST /on-job-complete the hook. Loopback only: the dequeuer is in the same pod."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Condition, Thread
from typing import Any

from .reasons import clip
from .service import Answer, Batch, Service
from .settings import HEADER_ATTEMPT, HEADER_BATCH_ID, HEADER_BATCH_INDEX, HEADER_JOB, HOOK_PATH

__all__ = ["Server"]

_HOST = "127.0.0.1"
_EXIT_HUNG = 1
_ACCEPT_AGAIN_S = 0.05
# The limits of the standard library's own parser.
_MAX_LINE_BYTES = 65_536
_MAX_FIELDS = 100


class Server(ThreadingMixIn, TCPServer):
    """Listens once started; each connection has a thread."""

    daemon_threads = True
    allow_reuse_address = True  # a restarted handler gets the port of the one before
    request_queue_size = 128

    def __init__(self, port: int, service: Service) -> None:
        super().__init__((_HOST, port), _RequestHandler, bind_and_activate=False)
        self.service = service
        self._answering = 0
        self._changed = Condition()

    def start(self) -> None:
        """Raises OSError if the port is taken; does nothing if the listener was closed before."""
        try:
            self.server_bind()
            self.server_activate()
        except OSError:
            if not self.closed:
                raise
        Thread(target=self._accept, name="http", daemon=True).start()

    def _accept(self) -> None:
        # Not serve_forever: it polls, so a closed listener would go on accepting for half a second.
        while True:
            try:
                connection, address = self.get_request()
            except OSError:  # closed; or the client was gone before it was accepted, or there are too many open files
                if self.closed:
                    return
                time.sleep(_ACCEPT_AGAIN_S)
                continue
            self.process_request(connection, address)

    def close_listener(self) -> None:
        """Accept no more connections from now on, not even those that wait; may be called by a signal handler, and again."""
        with suppress(OSError):  # macOS has no shutdown of a listener; closing does
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    @property
    def closed(self) -> bool:
        return self.socket.fileno() < 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is shown by the standard library."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def begin_answer(self) -> None:
        with self._changed:
            self._answering += 1

    def end_answer(self) -> None:
        with self._changed:
            self._answering -= 1
            self._changed.notify_all()

    def wait_answered(self) -> None:
        """Wait until every request that was begun has its answer; each is bounded by the batch's time limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._answering == 0)


class _RequestHandler(BaseHTTPRequestHandler):
    server: Server
    raw_requestline: bytes
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """As the base class does, into `fields` by lower-case name; its e-mail parser takes half of the time of a whole request."""
        self.close_connection = True
        self.fields: dict[str, str] = {}
        self.requestline = self.raw_requestline.decode("iso-8859-1").rstrip("\r\n")
        words = self.requestline.split()
        self.command, self.path, self.request_version = words if len(words) == 3 else ("", "", "HTTP/1.1")
        line = self.rfile.readline(_MAX_LINE_BYTES)
        while line not in (b"\r\n", b"\n"):
            name, colon, value = line.decode("iso-8859-1").partition(":")
            if not line.endswith(b"\n") or not colon or len(self.fields) == _MAX_FIELDS:
                self.send_error(400)
                return False
            self.fields[name.lower()] = value.strip()
            line = self.rfile.readline(_MAX_LINE_BYTES)
        if not self.command:
            self.send_error(400)
            return False
        self.close_connection = self.request_version != "HTTP/1.1" or self.fields.get("connection", "").lower() == "close"
        if self.fields.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def do_POST(self) -> None:
        length = self.fields.get("content-length", "")
        if not length.isdigit():
            self.close_connection = True
            return self._send(Answer(411, "Content-Length is missing"))
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client went away: this is not the batch
            self.close_connection = True
            return None
        return self._handle(body)

    def _handle(self, body: bytes) -> None:
        self.server.begin_answer()
        try:
            answer = self._answer(body)
            if answer.last:
                self.server.close_listener()  # first: whoever has read the answer must not reach this process again
            self._send(answer)
        finally:
            self.server.end_answer()
        if answer.last:
            self.server.wait_answered()
            os._exit(_EXIT_HUNG)  # nothing else ends a thread that hangs

    def _answer(self, body: bytes) -> Answer:
        if self.path not in ("/", HOOK_PATH):
            return Answer(404, "there is / and /on-job-complete")
        job_id = self.fields.get(HEADER_JOB.lower())
        if job_id not in (None, self.server.service.job_id):  # on one machine two jobs may come upon the same port
            return Answer(503, clip(f"this is the handler of job {self.server.service.job_id}, not of {job_id}"))
        if self.path == HOOK_PATH:
            return self.server.service.complete()
        batch_id, index, attempt = (self.fields.get(name.lower(), "?") for name in (HEADER_BATCH_ID, HEADER_BATCH_INDEX, HEADER_ATTEMPT))
        return self.server.service.handle(Batch(body, batch_id, index, attempt))

    def _send(self, answer: Answer) -> None:
        body = answer.reason.encode() or b"{}"
        kind = "text/plain; charset=utf-8" if answer.reason else "application/json"
        self.close_connection = self.close_connection or self.server.closed
        head = (
            f"HTTP/1.1 {answer.status} {self.responses[answer.status][0]}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            f"{'Connection: close' + chr(13) + chr(10) if self.close_connection else ''}\r\n"
        )
        self.wfile.write(head.encode("ascii") + body)  # one write, one packet

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: what matters is logged where it happens."""
