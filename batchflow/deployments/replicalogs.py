"""The lines of a call's replica: the engine's as long as it has the pod, then those that the scheduler saved."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Final

from batchflow.contract import ARGO_CONTAINERS, CONTAINER_MAIN, STEP_COURIER, TEMPLATE_REPLICA
from batchflow.engines.protocol import Engine, LogLine
from batchflow.errors import NotFound
from batchflow.store.calls import CallRecords

__all__ = ["CONTAINERS", "replica_lines"]

CONTAINERS: Final = (CONTAINER_MAIN, STEP_COURIER)
_POLL_S: Final = 1.0


def replica_lines(
    engine: Engine, records: CallRecords, *, container: str | None = None, follow: bool = False, stop: Event | None = None
) -> Iterator[LogLine]:
    """Of both containers, or of one. `follow` waits for the replica, and goes on until it is gone, or another thread has set `stop`.

    Raises NotFound for a container that no replica has.
    """
    if container not in (None, *CONTAINERS):
        raise NotFound(f'a replica has no container "{container}"', hint=f"it has {' and '.join(CONTAINERS)}")
    return _lines(engine, records, container, follow, stop or Event())


def _lines(engine: Engine, records: CallRecords, container: str | None, follow: bool, stop: Event) -> Iterator[LogLine]:
    workflow = records.ref.workflow
    while not engine.observe(workflow).pods:
        if not follow or records.ending() is not None:
            yield from _saved(records, container)
            return
        if stop.wait(_POLL_S):
            return
    yield from engine.logs(workflow, container=container, follow=follow, without=ARGO_CONTAINERS, stop=stop)


def _saved(records: CallRecords, container: str | None) -> Iterator[LogLine]:
    for name in CONTAINERS if container is None else (container,):
        text = (records.log(name) or b"").decode(errors="replace").removesuffix("\n")
        for line in text.split("\n") if text else ():
            yield LogLine(records.ref.workflow, TEMPLATE_REPLICA, name, line)
