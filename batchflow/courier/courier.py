"""A call from its stored request to its reply. What was done is read from its records, so that any courier goes on where one was lost."""

from __future__ import annotations

import http.client
import logging
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from threading import Event
from typing import BinaryIO, Final

from batchflow.callrecords import (
    NOT_ACCEPTED,
    REPLY_LOST,
    CallRequest,
    Ending,
    Reply,
    incomplete_error,
    replied_error,
    too_large_error,
)
from batchflow.courier.delivery import exchange, is_closed
from batchflow.courier.disk import on_disk
from batchflow.courier.health import POLL_S, Replica, connected_when_ready
from batchflow.courier.incoming import BrokenOff
from batchflow.errors import Unreachable
from batchflow.retry import Retry
from batchflow.store.deployments import CallRecords

__all__ = ["Shutdown", "carry"]

_log = logging.getLogger(__name__)

EXIT_FOLLOWS_S: Final = 2.0  # a reply and then the end: so long its exit code is waited for (spec/verda.md section 3.4)
# What came of a delivery is known here only, so it is kept for as long as a replica may live.
KEEP_S: Final = 604_800.0


@dataclass(frozen=True, slots=True)
class Shutdown:
    """`asked`: SIGTERM came, nothing new is begun. `over`: its grace period is nearly over, what is under way is given up."""

    asked: Event
    over: Event


def carry(records: CallRecords, replica: Replica, *, max_reply_bytes: int, retry_s: float, shutdown: Shutdown) -> None:
    """Bring the call as far as a courier can, then wait until asked to leave.

    The request is sent at most once, whoever asks however often: a courier that finds it delivered and without a reply only says so. The
    call is ended EXIT_FOLLOWS_S after its reply, unless asked to leave before: then the exit code is known, and the scheduler's to judge.
    That there is no reply is stored, too: where that is missing, the scheduler must take it that a reply was lost.
    Raises Unreachable if the store was out of reach for `retry_s`, or when asked to leave; a reply is tried to be saved for longer.
    """
    _Courier(records, replica, max_reply_bytes, retry_s, shutdown).run()


class _Courier:
    def __init__(self, records: CallRecords, replica: Replica, max_reply_bytes: int, retry_s: float, shutdown: Shutdown) -> None:
        self._records = records
        self._replica = replica
        self._max_reply_bytes = max_reply_bytes
        self._shutdown = shutdown
        self._retry = Retry(retry_s, shutdown.asked)
        self._keep = Retry(KEEP_S, shutdown.over)
        self._token = secrets.token_hex(8)

    def run(self) -> None:
        done = self._retry(self._records.names)
        if "reply.json" in done:
            self._end_by(self._retry(self._records.reply))
        elif "unanswered.json" in done:
            self._note_unanswered(self._retry(self._records.unanswered) or "")
            self._give_up()
        elif done & {"delivered.json", "ended.json"}:
            _log.error("the call was delivered or ended before this courier started, and is not delivered again")
            self._end(REPLY_LOST)  # no effect if it has ended
            self._give_up()
        elif "stop.json" in done:
            _log.info("the call was stopped before this courier started, and is not delivered")
        else:
            self._end_by(self._delivered())
        self._shutdown.asked.wait()

    def _give_up(self) -> None:
        """Have the replica stopped: in a pod made anew it would wait for its job until its deadline; else what it does reaches nobody."""
        self._keep(lambda: self._records.ask_to_stop(REPLY_LOST))

    def _end_by(self, reply: Reply | None) -> None:
        if reply is not None:
            self._end_soon(replied_error(reply.status))

    def _delivered(self) -> Reply | None:
        """The reply, once it is saved; None if there is none to be saved, whatever the reason."""
        with TemporaryFile() as body, TemporaryFile() as reply_body:
            # All of it before the first byte is sent: a store that is lost in mid-request would cost the call its only try.
            request = self._retry(lambda: self._fetch(body))
            if request is None:
                _log.error("the call has no request any more")
                return None
            reply = self._exchanged(request, body, reply_body)
            if reply is not None:
                self._keep(lambda: self._save(reply, reply_body))
            return reply

    def _fetch(self, body: BinaryIO) -> CallRequest | None:
        """The request, its body in the file; None if there is none."""
        request = self._records.request()
        stored = self._records.body()
        if request is None or stored is None:
            return None
        with stored, on_disk():
            body.seek(0)
            body.truncate()
            shutil.copyfileobj(stored, body)
            body.flush()
        return request

    def _save(self, reply: Reply, reply_body: BinaryIO) -> None:
        reply_body.seek(0)
        self._records.save_reply(reply, reply_body)

    def _exchanged(self, request: CallRequest, body: BinaryIO, reply_body: BinaryIO) -> Reply | None:
        """The reply; None if there is none to be saved, or no time left to ask for one."""
        is_delivered = False
        while (connection := connected_when_ready(self._replica, self._shutdown.asked)) is not None:
            with connection:
                if not self._retry(lambda: self._records.deliver(self._token)):
                    _log.error("the request was delivered by another courier, and is not sent again")
                    return None
                is_delivered = True
                if not is_closed(connection):
                    return self._ask(connection, request, body, reply_body)
            self._shutdown.asked.wait(POLL_S)  # the replica closed it before anything was sent, so it may be asked again
        if is_delivered:
            self._note_unanswered(NOT_ACCEPTED)
        return None

    def _ask(self, connection: socket.socket, request: CallRequest, body: BinaryIO, reply_body: BinaryIO) -> Reply | None:
        """Send the request, now or never. A reply that can't be kept ends the call: its exit code alone would pass it off as good."""
        _log.info("delivering", extra={"id": request.id, "body_bytes": request.body_bytes})
        limit_bytes, given_up = self._max_reply_bytes, self._shutdown.over.is_set
        try:
            reply = exchange(
                connection, request, self._replica.authority, body=body, reply_body=reply_body, limit_bytes=limit_bytes, given_up=given_up
            )
        except Unreachable as error:
            self._end(str(error))
            return None
        except (OSError, http.client.HTTPException) as error:
            _log.error("the replica did not reply", extra={"error": str(error) or type(error).__name__})
            self._note_unanswered(incomplete_error(str(error)) if isinstance(error, BrokenOff) else "")
            return None
        _log.info("replied", extra={"status": reply.status, "body_bytes": reply.body_bytes})
        if reply.body_bytes <= limit_bytes:
            return reply
        self._end(too_large_error(limit_bytes))
        return None

    def _note_unanswered(self, error: str) -> None:
        self._keep(lambda: self._records.save_unanswered(error))
        if error:
            self._end_soon(error)

    def _end_soon(self, error: str) -> None:
        """Unless the replica exits before."""
        if not self._shutdown.asked.wait(EXIT_FOLLOWS_S):
            self._end(error)

    def _end(self, error: str) -> None:
        self._keep(lambda: self._records.end(Ending(error, time.time())))
