"""Completing calls that are not started any more: expired, purged, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from batchflow.callrecords import Ending, Fate
from batchflow.deployments.endings import expired_error
from batchflow.store.deployments import CallRecords, DeploymentRecords, Waiting
from batchflow.store.parallel import in_parallel

__all__ = ["DROPPED", "drop", "drop_all", "drop_expired"]

DROPPED: Final = "dropped"  # the token of slots for calls that a scheduler is to complete


def drop(records: DeploymentRecords, waiting: Waiting, error: str) -> bool:
    """Complete a call with that error, or with the one that it was dropped for before; False, and no effect, if it has had a replica.

    One that was to be started, and has none yet, is completed in the scheduler's next moment: somebody may be just creating it.
    """
    call = records.call(waiting.call)
    fate = call.decide(Fate(error))
    if not fate.error:
        return _drop_without_replica(records, call, error)
    call.end(Ending(fate.error, time.time()))
    records.no_longer_waits(waiting)
    return True


def drop_expired(records: DeploymentRecords, waiting: Waiting) -> bool:
    """Drop a call whose time to live is over; returns as `drop`."""
    request = records.call(waiting.call).request()
    if request is None:  # it is being deleted
        records.no_longer_waits(waiting)
        return True
    return drop(records, waiting, expired_error(request.ttl_s))


def _drop_without_replica(records: DeploymentRecords, call: CallRecords, error: str) -> bool:
    """Of a call that is decided to be started: drop it if it has had no replica. Until then it waits, slot or not."""
    if call.names() & {"submitted", "delivered.json", "ended.json"}:
        return False
    call.ask_to_stop(error)  # then nobody creates a replica, and one that was just created is given nothing
    records.claim(call.ref.call, DROPPED)
    return True


def drop_all(waiting: Iterable[Waiting], drop_one: Callable[[Waiting], object]) -> None:
    """Call `drop_one` of each, some at a time; there may be any number."""
    for _ in in_parallel(drop_one, waiting):
        pass
