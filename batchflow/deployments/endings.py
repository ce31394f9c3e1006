"""How a call ended, in the words of spec/verda.md section 3.4: pure."""

from __future__ import annotations

from typing import Final

from batchflow.callrecords import Reply, replied_error

__all__ = ["DELETED", "PURGED", "STOPPED", "deadline_error", "error_of", "expired_error", "failed_to_start"]

DELETED: Final = "deployment deleted"
PURGED: Final = "purged from queue"
STOPPED: Final = "stopped"
_NOT_ACCEPTED: Final = "replica exited before accepting the job"
_LOST: Final = "the replica was lost"


def deadline_error(deadline_s: int) -> str:
    """Of a call whose replica ran too long."""
    return f"deadline of {deadline_s}s exceeded"


def expired_error(ttl_s: int) -> str:
    """Of a call that waited too long."""
    return f"expired in queue after {ttl_s}s"


def failed_to_start(why: str) -> str:
    """Of a call whose replica can't be made, or can't get going."""
    return f"replica could not be started: {why}"


def error_of(*, stop_reason: str, reply: Reply | None, delivered: bool, exit_code: int | None, explanation: str) -> str:
    """The error of a call whose replica is gone; empty: it went well.

    `exit_code` is None if the replica never ran to its end, as far as is known; `explanation` then says why, if anybody knows.
    """
    if stop_reason:
        return stop_reason
    if reply is not None and (error := replied_error(reply.status)):
        return error
    if exit_code:
        return f"process exited with code {exit_code}"
    if exit_code is None and reply is None:
        return explanation or _LOST
    return "" if delivered else _NOT_ACCEPTED
