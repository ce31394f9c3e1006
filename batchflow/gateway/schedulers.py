"""The threads in which the schedulers of job deployments run, one a namespace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from threading import Event, Thread
from typing import Final

from batchflow.deployments.attempts import Attempts
from batchflow.errors import BatchflowError
from batchflow.gateway.tenants import Tenant

__all__ = ["Schedulers"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 2.0  # how long a namespace that was added may wait for its scheduler
_AGAIN_S: Final = 15.0  # after a scheduler could not be opened, or broke


class Schedulers:
    """Starts a thread for each namespace, also for those that come later, and keeps it until `stop`.

    A namespace that nobody opens any more keeps its thread: what runs there must be brought to an end.
    `namespaces` gives those that there are now; `tenant` opens one, and may raise BatchflowError, which is tried again.
    """

    def __init__(self, namespaces: Callable[[], Collection[str]], tenant: Callable[[str], Tenant]) -> None:
        self._namespaces = namespaces
        self._tenant = tenant
        self._stop = Event()
        self._threads: dict[str, Thread] = {}
        self._watch = Thread(target=self._look, name="schedulers", daemon=True)

    def start(self) -> None:
        """Returns at once; nothing is asked in this thread."""
        self._watch.start()

    def stop(self, limit_s: float) -> None:
        """Have them give up their leases; returns when they have, or after `limit_s`."""
        deadline = time.monotonic() + limit_s
        self._stop.set()
        self._watch.join(limit_s)
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _look(self) -> None:
        attempts = Attempts()
        while not self._stop.is_set():
            attempts.made("look for namespaces", self._start_missing)
            self._stop.wait(_LOOK_S)

    def _start_missing(self) -> None:
        for namespace in sorted(self._namespaces()):
            if namespace not in self._threads:
                thread = Thread(target=self._run, args=(namespace,), name=f"scheduler-{namespace}", daemon=True)
                thread.start()  # which the system may refuse
                self._threads[namespace] = thread

    def _run(self, namespace: str) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                self._tenant(namespace).deployments.run_scheduler(self._stop)
            except BatchflowError as error:
                if str(error) != told:
                    told = str(error)
                    _log.warning("no scheduler yet", extra={"namespace": namespace, "error": error})
            except Exception:  # a defect in one namespace stops no other, and is not the end of this one
                _log.exception("the scheduler broke", extra={"namespace": namespace})
            self._stop.wait(_AGAIN_S)
