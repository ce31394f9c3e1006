"""One batch, one POST: the HTTP client of a slot, and what became of the request."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from batchflow.exchange import Client, Reply

__all__ = ["Answer", "HandlerClient", "Result"]

# What our runtime answers while it stops; any other server's 503 is a failed attempt.
RUNTIME_STOPPING: Final = 503


class Result(Enum):
    """What became of a request. `REFUSED`: nobody listened, or the server was stopping, so nothing was tried."""

    OK = "answered 200"
    FAILED = "answered something else"
    BROKEN = "connection broken"
    TIMED_OUT = "no answer in time"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` is empty for OK; `seconds` is how long the handler had the request."""

    result: Result
    reason: str
    seconds: float


class HandlerClient:
    """Posts to the handler over a connection that is kept alive; for one thread, but `abort` may come from another.

    The final status counts, redirects followed; the answer's body is dropped. `runtime`: the server is ours, which says `100 Continue`
    when it has a request, so that a batch counts as tried only if it reached a living handler; and answers 503 to what it does not
    begin with, because it is stopping.
    """

    def __init__(self, port: int, timeout_s: float, *, runtime: bool = False) -> None:
        self._client = Client(port)
        self._timeout_s = timeout_s
        self._runtime = runtime

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and wait for the whole answer, at most `timeout_s` in all."""
        if self._runtime:
            headers = {**headers, "Expect": "100-continue"}
        started = time.monotonic()
        try:
            result, reason = self._meaning(self._client.ask("POST", path, headers, body, started + self._timeout_s))
        except ConnectionRefusedError as error:
            result, reason = Result.REFUSED, str(error)
        except TimeoutError:
            result, reason = Result.TIMED_OUT, f"no answer within {self._timeout_s:g} s"
        except (OSError, http.client.HTTPException) as error:
            result = Result.REFUSED if self._runtime and not self._client.begun else Result.BROKEN
            reason = f"the connection broke: {error or type(error).__name__}"
            if isinstance(error, ConnectionError):
                # Which of the two, Kubernetes knows as long as the pod lives: an ended sidecar has no `lastState`.
                reason += " (did the handler crash, or run out of memory?)"
        return Answer(result, reason, time.monotonic() - started)

    def abort(self) -> None:
        """Break the request that is under way; there is none after it."""
        self._client.abort()

    def close(self) -> None:
        self._client.close()

    def _meaning(self, reply: Reply) -> tuple[Result, str]:
        if reply.status == http.client.OK:
            return Result.OK, ""
        if self._runtime and reply.status == RUNTIME_STOPPING:
            return Result.REFUSED, "the handler is stopping"
        return Result.FAILED, reply.reason
