"""Completing calls that are not started any more: expired, purged, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from batchflow.callrecords import Ending, Fate
from batchflow.deployments.endings import expired_error
from batchflow.store.calls import DeploymentRecords, Waiting
from batchflow.store.parallel import in_parallel

__all__ = ["drop", "drop_all", "drop_expired"]


def drop(records: DeploymentRecords, waiting: Waiting, error: str) -> bool:
    """Complete a call with that error, or with the one that it was dropped for before; False, and no effect, if it was started."""
    call = records.call(waiting.call)
    fate = call.decide(Fate(error))
    if not fate.error:
        return False
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


def drop_all(waiting: Iterable[Waiting], drop_one: Callable[[Waiting], object]) -> None:
    """Call `drop_one` of each, some at a time; there may be any number."""
    for _ in in_parallel(drop_one, waiting):
        pass
