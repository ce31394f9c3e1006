"""How a call ended, in the words of spec/verda.md section 3.4: pure."""

from __future__ import annotations

from typing import Final

from batchflow.callrecords import NOT_ACCEPTED, REPLY_LOST, Reply, replied_error

__all__ = ["DELETED", "PURGED", "STOPPED", "cut_short_error", "deadline_error", "error_of", "expired_error", "failed_to_start"]

DELETED: Final = "deployment deleted"
PURGED: Final = "purged from queue"
STOPPED: Final = "stopped"
_LOST: Final = "the replica was lost"


def deadline_error(deadline_s: int) -> str:
    """Of a call whose replica ran too long."""
    return f"deadline of {deadline_s}s exceeded"


def cut_short_error(ran_s: float, deadline_s: int) -> str:
    """Of a call whose replica came so late that the engine had not kept its whole time for it (compiler/call.py: START_ALLOWANCE_S)."""
    return f"replica started too late: it was stopped after {ran_s:.0f}s of its {deadline_s}s"


def expired_error(ttl_s: int) -> str:
    """Of a call that waited too long."""
    return f"expired in queue after {ttl_s}s"


def failed_to_start(why: str) -> str:
    """Of a call whose replica can't be made, or can't get going."""
    return f"replica could not be started: {why}"


def error_of(
    *, stop_reason: str, reply: Reply | None, unanswered: str | None, delivered: bool, exit_code: int | None, explanation: str
) -> str:
    """The error of a call whose replica is gone; empty: it went well.

    `unanswered`: what its courier said of a reply that is not there; None if it said nothing.
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
    if reply is not None:
        return ""
    if not delivered:
        return NOT_ACCEPTED
    # An exit code of 0 is no success where a reply may be lost: a courier that was killed, or could not reach the store, has said nothing.
    return REPLY_LOST if unanswered is None else unanswered
