"""Whether a replica may be given its job (spec/verda.md section 5)."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from dataclasses import dataclass
from io import BytesIO
from threading import Event
from typing import Final

import orjson

from batchflow import contract
from batchflow.courier.incoming import Answer

__all__ = ["POLL_S", "Replica", "connected_when_ready", "is_ready"]

_log = logging.getLogger(__name__)

POLL_S: Final = 0.5
_TIMEOUT_S: Final = 5.0  # of each question
_MAX_BODY_BYTES: Final = 65_536  # no status is looked for in a longer one
_SHOWN_BYTES: Final = 200
_NOT_READY: Final = ("busy", "unhealthy")


@dataclass(frozen=True, slots=True)
class Replica:
    """Where the user's container in this pod listens. Without a `health_path` it is ready as soon as it does."""

    port: int
    health_port: int
    health_path: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        return f"{contract.HANDLER_HOST}:{self.port}"


def is_ready(status: int, body: bytes) -> bool:
    """200, unless a JSON object's `status` says otherwise."""
    if status != http.client.OK:
        return False
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return True
    word = said.get("status") if isinstance(said, dict) else None
    return not (isinstance(word, str) and word.lower() in _NOT_READY)


def connected_when_ready(replica: Replica, stop: Event) -> socket.socket | None:
    """A connection to the replica, made as soon as it is ready, however long that takes; None once `stop` is set."""
    said = ""
    while not stop.is_set():
        try:
            _check_health(replica, stop)
            return _connected(replica.port)
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        if problem != said:
            said = problem
            _log.info("waiting for the replica", extra={"problem": problem})
        stop.wait(POLL_S)
    return None


def _check_health(replica: Replica, stop: Event) -> None:
    """Raises OSError or an http.client.HTTPException unless it is ready."""
    if not replica.health_path:
        return
    deadline = time.monotonic() + _TIMEOUT_S

    def given_up() -> bool:
        return stop.is_set() or time.monotonic() > deadline

    authority = f"{contract.HANDLER_HOST}:{replica.health_port}"
    with _connected(replica.health_port) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.sendall(f"GET {replica.health_path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
        answer = Answer(connection, "GET", given_up)
        body = BytesIO()
        answer.copy(body, _MAX_BODY_BYTES)
    if not is_ready(answer.status, body.getvalue()):
        shown = " ".join(body.getvalue()[:_SHOWN_BYTES].decode(errors="replace").split())
        raise http.client.HTTPException(f"its health check answered {answer.status} {shown}")


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection((contract.HANDLER_HOST, port), _TIMEOUT_S)
    if connection.getsockname() == connection.getpeername():
        # Where nobody listens, the system may take the very port for our end, and we would talk to ourselves.
        connection.close()
        raise ConnectionRefusedError(f"nothing listens on port {port}")
    connection.settimeout(None)
    return connection
