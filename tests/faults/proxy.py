"""A proxy between a client and an SQS or S3 server that does what networks and services do at their worst, by rules and a seed."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tests.faults.aws_answers import Answer, operation
from tests.faults.rules import Dice, Rule

__all__ = ["FaultProxy", "Rule"]

_SERVER_TIMEOUT_S: Final = 60  # longer than a long poll
_OF_CONNECTION: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}  # headers that are not passed on
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: to close is to reset


class FaultProxy:
    """Stands before `server` (`http://host:port`). Use as a context; `url` is the endpoint that the client gets."""

    def __init__(self, server: str, faults: Sequence[Rule], seed: int, *, host: str = "127.0.0.1") -> None:
        """Of `faults` the first that a call meets is applied to it. It listens at `host`: an address that pods reach, for them."""
        self._dice = Dice(faults, seed)
        self._listener = _Listener((host, 0), urlsplit(server).netloc, self._dice)
        self.url = f"http://{host}:{self._listener.server_address[1]}"
        self._accepting = threading.Thread(target=self._listener.serve_forever, args=(0.05,), name="fault-proxy", daemon=True)

    @property
    def calls(self) -> Counter[str]:
        """How many calls came, of each operation, whatever became of them."""
        return Counter(self._dice.calls)

    @property
    def counts(self) -> Counter[str]:
        """How many calls (for `partial` entries, for `stale` messages) each kind of fault hit."""
        return Counter(self._dice.counts)

    def replace(self, faults: Sequence[Rule]) -> None:
        """Other rules; their times count from now on."""
        self._dice.replace(faults)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends all connections."""
        self._listener.shutdown()
        self._accepting.join()
        self._listener.end_connections()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], upstream: str, dice: Dice) -> None:
        self.upstream = upstream
        self.dice = dice
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        self.close_request(request)  # without a shutdown before it, which would end the connection in good order

    def end_connections(self) -> None:
        self.closing.set()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """A client's connection, kept as long as the client keeps it, and one of its own to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection(self.server.upstream, timeout=_SERVER_TIMEOUT_S)

    def finish(self) -> None:
        self._upstream.close()
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(OSError, HTTPException):  # either side went away
            super().handle()

    def do_POST(self) -> None:
        """Every call; the others are aliases of it."""
        body = self._body()
        rule = self.server.dice.met(operation(self.command, self.path, dict(self.headers)))
        kind = rule.kind if rule else ""
        if rule and kind == "slow":
            self.server.closing.wait(rule.delay_s)
        if rule and kind in ("throttle", "limit", "error"):
            self._reply(self.server.dice.refusal(rule, of_sqs="X-Amz-Target" in self.headers))
        elif rule and kind == "hang":
            if rule.forwards:
                self._forward(body)
            self.server.closing.wait(rule.hang_s)
            self._end()
        elif kind == "refuse":
            self._end(_RESET)
        elif kind == "cut":
            self.wfile.write(self.server.dice.part(self._encoded(self._forward(body))))
            self._end()
        elif kind == "partial":
            self._reply(self._forward_part(json.loads(body)))
        else:
            answer = self._forward(body)
            if kind == "stale":
                self._make_visible(json.loads(body)["QueueUrl"], answer)
            self._reply(answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST

    def log_message(self, *args: object) -> None:
        pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _forward(self, body: bytes, target: str = "") -> Answer:
        """What the server answers; `target` instead of the operation that the client asked for."""
        self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_CONNECTION:
                self._upstream.putheader(name, target if target and name.lower() == "x-amz-target" else value)
        self._upstream.putheader("Content-Length", str(len(body)))
        self._upstream.endheaders(body)
        with self._upstream.getresponse() as response:
            return response.status, response.reason, response.getheaders(), response.read()

    def _forward_part(self, asked: dict[str, Any]) -> Answer:
        """The server sees only those entries of a batch call that are not to fail."""
        failed = self.server.dice.failing(asked["Entries"])
        fail = {entry["Id"] for entry in failed}
        asked["Entries"] = [entry for entry in asked["Entries"] if entry["Id"] not in fail]
        answer: Answer = (200, "OK", [("Content-Type", "application/x-amz-json-1.0")], b'{"Successful": []}')
        if asked["Entries"]:
            answer = self._forward(json.dumps(asked).encode())
        status, reason, headers, body = answer
        if status == 200:
            answered = json.loads(body)
            answered["Failed"] = [*answered.get("Failed", ()), *failed]
            body = json.dumps(answered).encode()
        return status, reason, headers, body

    def _make_visible(self, queue: str, answer: Answer) -> None:
        received = json.loads(answer[3]).get("Messages", ()) if answer[0] == 200 else ()
        messages = self.server.dice.not_yet_returned(received)
        if messages:
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 0} for n, m in enumerate(messages)]
            body = json.dumps({"QueueUrl": queue, "Entries": entries}).encode()
            self._forward(body, "AmazonSQS.ChangeMessageVisibilityBatch")

    def _reply(self, answer: Answer) -> None:
        self.wfile.write(self._encoded(answer))

    def _encoded(self, answer: Answer) -> bytes:
        status, reason, headers, body = answer
        lines = [f"HTTP/1.1 {status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _OF_CONNECTION]
        if self.command == "HEAD":
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            lines += [f"Content-Length: {length}" for length in lengths]
            body = b""
        elif status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _end(self, linger: bytes | None = None) -> None:
        """Close without a further word; with `_RESET`, by a reset."""
        if linger:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
