"""Calls in a store that is a directory, as the gateway leaves them; and a courier for one, in a thread of the test."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchflow.callrecords import CallRef, CallRequest, Fate, new_call, new_deployment_id
from batchflow.courier import Replica, Shutdown, carry
from batchflow.errors import BatchflowError, Unreachable
from batchflow.store.deployments import CallRecords
from batchflow.store.open import open_store
from batchflow.store.protocol import Store
from tests.acceptance.command import until

JOIN_S = 30


def a_request(**fields: Any) -> CallRequest:
    given = {"id": "my-id", "method": "POST", "target": "/job?a=1", "headers": [("Content-Type", "text/plain")], "body_bytes": 0}
    return CallRequest(**{**given, "deadline_s": 600, "ttl_s": 300, **fields})


def started_call(store: Store, body: bytes = b"", **fields: Any) -> CallRecords:
    """A call of which the scheduler has started the replica."""
    records = CallRecords(store, CallRef("digits", new_deployment_id(), new_call(10**18)))
    records.save_body(io.BytesIO(body), len(body))
    records.save_request(a_request(body_bytes=len(body), **fields))
    records.decide(Fate())
    return records


class Unreliable:
    """A store that can be out of reach: while `down` is set, or for the calls that `fails` says by their method and key."""

    def __init__(self, folder: Path) -> None:
        self.down = threading.Event()
        self.fails: Callable[[str, str], bool] = lambda method, key: False
        self.failed = 0
        self._inner = open_store(str(folder))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(key: str, *arguments: Any) -> Any:
            if self.down.is_set() or self.fails(name, key):
                self.failed += 1
                raise Unreachable("the store is down")
            return method(key, *arguments)

        return call if callable(method) else method


@dataclass
class Courier:
    """`error`: what it ended with, if that was one."""

    records: CallRecords
    shutdown: Shutdown = field(default_factory=lambda: Shutdown(threading.Event(), threading.Event()))
    error: BatchflowError | None = None

    def leave(self) -> None:
        """Ask it to, and wait until it is gone."""
        self.shutdown.asked.set()
        self.thread.join(JOIN_S)
        assert not self.thread.is_alive(), "the courier does not leave"

    def start(self, replica: Replica, max_reply_bytes: int, retry_s: float) -> None:
        def run() -> None:
            try:
                carry(self.records, replica, max_reply_bytes=max_reply_bytes, retry_s=retry_s, shutdown=self.shutdown)
            except BatchflowError as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def until_recorded(self, name: str) -> None:
        until(lambda: name in self.records.names(), name, self.records.names)


@contextmanager
def courier(
    records: CallRecords, port: int, *, health: str = "", health_port: int = 0, max_reply_bytes: int = 1 << 20, retry_s: float = 60
) -> Iterator[Courier]:
    """A courier at work, of a replica at `port`; it leaves at the end, or is given up if it can't."""
    started = Courier(records)
    started.start(Replica(port, health_port or port, health), max_reply_bytes, retry_s)
    try:
        yield started
    finally:
        started.shutdown.asked.set()
        started.thread.join(1)
        started.shutdown.over.set()
        started.leave()
