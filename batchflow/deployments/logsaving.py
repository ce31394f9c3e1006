"""Saves the ends of replicas' logs in threads of its own: from a node that does not answer that takes minutes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from threading import Event, Lock, Thread
from typing import Final

from batchflow.engines.protocol import Engine
from batchflow.errors import BatchflowError
from batchflow.store.deployments import CallRecords

__all__ = ["LogSaver", "Saving"]

_log = logging.getLogger(__name__)

LOG_BYTES: Final = 2**20
WITHIN_S: Final = 10.0
_THREADS: Final = 4  # of a deployment: another's node that does not answer holds up none of its logs
_MOST_WAITING: Final = 1000  # of a deployment; beyond that the oldest, which are late, are given up


class Saving:
    """The logs of a call on their way."""

    def __init__(self) -> None:
        self._done = Event()
        self._deadline = time.monotonic() + WITHIN_S

    @property
    def is_over(self) -> bool:
        """Whether they are saved, as far as they can be had; or late, and not worth waiting for: they may still come."""
        return self._done.is_set() or time.monotonic() >= self._deadline

    def finish(self) -> None:
        self._done.set()


class LogSaver:
    """Of one deployment. `wake` is called whenever a call's logs are saved. Its threads live as long as there are logs to be saved."""

    def __init__(self, engine: Engine, wake: Callable[[], object]) -> None:
        self._engine = engine
        self._wake = wake
        self._lock = Lock()
        self._queue: deque[tuple[CallRecords, Collection[tuple[str, str]], Saving]] = deque(maxlen=_MOST_WAITING)
        self._threads = 0

    def save(self, call: CallRecords, containers: Collection[tuple[str, str]]) -> Saving:
        """Begin to save the logs of these containers, by pod; returns at once."""
        saving = Saving()
        if not containers:
            saving.finish()
            return saving
        with self._lock:
            if self._threads < _THREADS:
                # A daemon: a node that does not answer keeps no process from its end.
                Thread(target=self._work, name="logs", daemon=True).start()  # which may fail
                self._threads += 1
            self._queue.append((call, containers, saving))
        return saving

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                call, containers, saving = self._queue.popleft()
            try:
                self._save(call, containers)
            except Exception:
                _log.exception("logs not saved", extra={"call": call.ref.call})
            finally:
                saving.finish()
                self._wake()

    def _save(self, call: CallRecords, containers: Collection[tuple[str, str]]) -> None:
        """As far as they can be had: the call has its result without them. Where one can't, the pod's others can't either."""
        lost: set[str] = set()
        for pod, container in containers:
            if pod in lost:
                continue
            try:
                tail = self._engine.log_tail(call.ref.workflow, pod, container, LOG_BYTES)
                if tail:
                    call.save_log(container, tail)
            except BatchflowError as error:
                lost.add(pod)
                _log.warning("log not saved", extra={"call": call.ref.call, "container": container, "error": str(error)})
