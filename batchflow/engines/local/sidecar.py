"""A container that runs beside main: started before it, started again whenever it ends, ended after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from batchflow.engines.local.container import ContainerProcess
from batchflow.engines.local.launch import Launch
from batchflow.engines.local.podstatus import PodStatus

__all__ = ["Sidecar"]

# As Kubernetes' crash-loop back-off doubles, but shorter: nobody else needs this machine's peace.
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0


class Sidecar:
    """Call `start` once, then `end` once."""

    def __init__(self, name: str, launch: Launch, status: PodStatus) -> None:
        self._name = name
        self._launch = launch
        self._status = status
        self._lock = threading.Lock()  # between a start and the decision to end
        self._ending = threading.Event()
        self._process: ContainerProcess | None = None
        self._thread = threading.Thread(target=self._supervise, name=f"sidecar {name}")

    def start(self) -> None:
        """Returns when its process is there; nobody waits for it to be ready."""
        process = self._start_process()
        if process is not None:
            self._thread.start()

    def end(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after `grace_s`; returns when it is gone."""
        with self._lock:
            self._ending.set()
            process = self._process
        if process is None:
            return
        process.terminate()
        if not process.ended_within(grace_s):
            process.kill()
        self._thread.join()

    def _start_process(self) -> ContainerProcess | None:
        with self._lock:
            if self._ending.is_set():
                return None
            process = self._process = ContainerProcess(self._launch)
        self._status.running(self._name, guard_pid=process.guard_pid, child_pid=process.child_pid)
        return process

    def _supervise(self) -> None:
        process = self._process
        for pause_s in _pauses():
            if process is None:
                return
            self._status.terminated(self._name, process.wait())
            if self._ending.is_set():
                return
            self._status.restarting(self._name, pause_s)
            self._ending.wait(pause_s)
            process = self._start_process()


def _pauses() -> Iterator[float]:
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
