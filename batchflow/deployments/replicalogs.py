"""The lines of a call's replica: the engine's as long as it has the pod, then those that the scheduler saved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from batchflow.contract import ARGO_CONTAINERS, CONTAINER_MAIN, STEP_COURIER, TEMPLATE_REPLICA
from batchflow.engines.protocol import Engine, LogLine
from batchflow.errors import NotFound
from batchflow.store.deployments import CallRecords

__all__ = ["replica_lines"]

_CONTAINERS: Final = (CONTAINER_MAIN, STEP_COURIER)
_POLL_S: Final = 1.0


def replica_lines(engine: Engine, records: CallRecords, *, container: str | None = None, follow: bool = False) -> Iterator[LogLine]:
    """Of both containers, or of one. `follow` waits for the replica, and goes on until it is gone, or the call is.

    Raises NotFound for a container that no replica has.
    """
    if container not in (None, *_CONTAINERS):
        raise NotFound(f'a replica has no container "{container}"', hint=f"it has {' and '.join(_CONTAINERS)}")
    return _lines(engine, records, container, follow)


def _lines(engine: Engine, records: CallRecords, container: str | None, follow: bool) -> Iterator[LogLine]:
    workflow = records.ref.workflow
    while not engine.observe(workflow).pods:
        if not follow or _is_over(records):
            yield from _saved(records, container)
            return
        time.sleep(_POLL_S)
    yield from engine.logs(workflow, container=container, follow=follow, without=ARGO_CONTAINERS)


def _is_over(records: CallRecords) -> bool:
    """Whether it has ended, or was deleted."""
    names = records.names()
    return "ended.json" in names or "registered.json" not in names


def _saved(records: CallRecords, container: str | None) -> Iterator[LogLine]:
    for name in _CONTAINERS if container is None else (container,):
        text = (records.log(name) or b"").decode(errors="replace").removesuffix("\n")
        for line in text.split("\n") if text else ():
            yield LogLine(records.ref.workflow, TEMPLATE_REPLICA, name, line)
