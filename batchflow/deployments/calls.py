"""A deployment's calls as clients see them: taken in, asked for, dropped. Starting and ending them is the scheduler's business."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO, Final

from batchflow.callrecords import CallRequest, Ending, Fate, Reply, new_call
from batchflow.deployments.dropping import drop, drop_all
from batchflow.deployments.endings import PURGED, STOPPED
from batchflow.errors import BatchflowError, Conflict, NotFound
from batchflow.store.deployments import TERMINATING, CallRecords, DeploymentRecords, Waiting

__all__ = ["COMPLETED", "INFERENCE", "INITIALIZED", "QUEUE", "Arrivals", "Calls", "Result", "result_of", "status_of"]

_log = logging.getLogger(__name__)

INITIALIZED: Final = "Initialized"
QUEUE: Final = "Queue"
INFERENCE: Final = "Inference"
COMPLETED: Final = "Completed"

_NO_TYPE: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Result:
    """What a call came to. `error` says why there is nothing to replay; else `size_bytes` of a stored reply are."""

    status: int
    content_type: str
    size_bytes: int = 0
    error: str = ""


class Arrivals:
    """Names calls in the order in which a process takes them in, even if the machine's clock is set back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last_ns = 0

    def next(self) -> str:
        with self._lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return new_call(self._last_ns)


class Calls:
    """One deployment's. Clients name a call by its id, which is kept as long as the call's records are."""

    def __init__(self, records: DeploymentRecords) -> None:
        self._records = records

    def enter(self, call: str, request: CallRequest, body: BinaryIO) -> None:
        """Have a call wait for its turn; `call` is from `Arrivals`, `body` a stream of `request.body_bytes`.

        On an error nothing stays.

        Raises:
            Conflict: the id stands for a call that is kept.
            NotFound: the deployment is being deleted.
        """
        if self._records.has_flag(TERMINATING):
            raise NotFound(f'job deployment "{self._records.name}" is being deleted')
        records = self._records.call(call)
        try:
            if not self._records.register(request.id, call):
                raise Conflict(f'the id "{request.id}" has been used', hint="send another X-Inference-Id, or none")
            records.save_body(body, request.body_bytes)
            records.save_request(request)
        except BaseException:
            self._undo(call)
            raise
        expires = math.ceil(records.ref.arrived) + request.ttl_s
        self._commit(records, Waiting(call, expires))

    def status(self, client_id: str) -> tuple[str, str | None]:
        """One of the four words, and the error of a call that failed. Raises NotFound."""
        records = self._find(client_id)
        status = status_of(records.names())
        if status == COMPLETED and (ending := records.ending()):
            return status, ending.error or None
        if status == COMPLETED or not self._is_kept(client_id, records):
            raise _unknown(client_id)
        return status, None

    def result(self, client_id: str) -> tuple[Result, BinaryIO | None]:
        """What to answer, and the stream of a stored reply's body. Raises NotFound, in the same words if there is no such call."""
        call = self._records.call_of(client_id)
        if call is None:
            raise _no_result()
        records = self._records.call(call)
        ending = records.ending()
        reply = records.reply() if ending else None
        result = result_of(ending, reply)
        if result is None or (reply is None and not self._is_kept(client_id, records)):
            raise _no_result()
        body = records.reply_body() if result.size_bytes else None
        if result.size_bytes and body is None:  # deleted a moment ago
            raise _no_result()
        return result, body

    def stop(self, client_id: str) -> bool:
        """Drop the call, or have its replica stopped, even if that has answered; False, and no effect, if it has ended and is gone.

        Raises NotFound.
        """
        records = self._find(client_id)
        if records.ending() is not None and not self._records.claims(records.ref.call):
            return False
        waiting = self._records.waiting_of(records.ref.call)
        if waiting is None or not drop(self._records, waiting, STOPPED):
            records.ask_to_stop(STOPPED)
        return True

    def purge(self) -> None:
        """Drop the calls that wait now; those that are started meanwhile, and those that arrive, stay."""
        drop_all(self._records.waiting(), lambda waiting: drop(self._records, waiting, PURGED))

    def _find(self, client_id: str) -> CallRecords:
        call = self._records.call_of(client_id)
        if call is None:
            raise _unknown(client_id)
        return self._records.call(call)

    def _is_kept(self, client_id: str, records: CallRecords) -> bool:
        """Whether what was not found before was not there. Whoever removes a call removes its id first, so then it is gone."""
        return self._records.call_of(client_id) == records.ref.call

    def _commit(self, records: CallRecords, waiting: Waiting) -> None:
        try:
            self._records.wait(waiting)
        except BatchflowError:
            # It may be written all the same, and the call be started by now. If that can't be found out, the call's id stays taken.
            if records.decide(Fate("not accepted")).error:
                self._records.no_longer_waits(waiting)
                self._undo(waiting.call)
                raise

    def _undo(self, call: str) -> None:
        try:
            self._records.unregister(call)
        except BatchflowError as error:  # what is left goes with the next sweep
            _log.warning("records of a refused call are left", extra={"deployment": self._records.name, "call": call, "error": error})


def status_of(names: Collection[str]) -> str:
    """A call's status by the names of its records. It is in the queue until its request is on its way to the replica."""
    if "ended.json" in names:
        return COMPLETED
    if "delivered.json" in names:
        return INFERENCE
    return QUEUE if "request.json" in names else INITIALIZED


def result_of(ending: Ending | None, reply: Reply | None) -> Result | None:
    """By the table of spec/verda.md section 3.4; None: there is no result."""
    if ending is None:
        return None
    if reply is not None:
        return Result(reply.status, reply.content_type or _NO_TYPE, reply.body_bytes)
    return Result(500, "application/json", error=ending.error) if ending.error else Result(200, _NO_TYPE)


def _unknown(client_id: str) -> NotFound:
    return NotFound(f'job "{client_id}" not found')


def _no_result() -> NotFound:
    return NotFound("result not found")
