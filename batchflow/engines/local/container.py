"""One container as processes: a guard (guard.py), and the command in a process group with whatever it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from batchflow.engines.local.launch import Launch

__all__ = ["ContainerProcess"]

_GUARD: Final = Path(__file__).with_name("guard.py")

# Kubernetes' code for a container that could not be started at all.
_EXIT_NOT_STARTED: Final = 128


class ContainerProcess:
    """A started container. One thread calls `wait`; any other may call the rest, at any time.

    stdout and stderr go straight into the log file, so that nothing is lost however it ends.
    """

    def __init__(self, launch: Launch) -> None:
        self.child_pid = 0  # 0 until (and unless) the command runs
        self.guard_pid = 0
        self._ended = threading.Event()
        self._guard: subprocess.Popen[bytes] | None = None
        # Python makes descriptors close-on-exec: no process but this one ever has the engine's end.
        self._channel, guards_end = socket.socketpair()
        with guards_end, launch.log.open("ab") as log:
            try:
                self._guard = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_GUARD), str(guards_end.fileno()), *launch.argv],
                    env=launch.env,
                    cwd=launch.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(guards_end.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"batchflow: can't start {launch.argv[0]} in {launch.directory}: {error.strerror}\n".encode())
        if self._guard is not None:
            self.guard_pid = self._guard.pid
            self.child_pid = int(self._channel.recv(32) or 0)

    def wait(self) -> int:
        """Wait until nothing of it is left; returns the exit code as a shell has it (128 + signal)."""
        code = _EXIT_NOT_STARTED
        if self._guard is not None:
            code = self._guard.wait()
            if code < 0:  # somebody killed the guard itself, which otherwise would have done this
                self._kill_group()
                code = 128 - code
        self._channel.close()
        self._ended.set()
        return code

    def ended_within(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def terminate(self) -> None:
        """SIGTERM to the command; no effect if it ended."""
        if self._guard is not None:
            self._guard.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group; no effect if it ended."""
        if not self._ended.is_set():
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter of zombies
            if self.child_pid:
                os.killpg(self.child_pid, signal.SIGKILL)
