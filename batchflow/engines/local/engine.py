"""The local engine as others call it. It keeps nothing in memory: a run is its folder, and the engine process that works in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import orjson

from batchflow.engines.local.folder import RunFolder
from batchflow.engines.local.follow import log_lines, log_tail
from batchflow.engines.local.manifest import Job, parse
from batchflow.engines.local.requirements import check_requirements
from batchflow.engines.protocol import LogLine, Observation
from batchflow.errors import Internal, InvalidInput, NotFound, Unreachable
from batchflow.settings import Settings
from batchflow.status import workflow as workflow_status

__all__ = ["LocalEngine"]

LAST_PROCESS_S: Final = 30.0
_POLL_S: Final = 0.1
_LOOK_S: Final = 1.0  # others have long looked whether a run is locked
_LOCK_POLL_S: Final = 0.01


class LocalEngine:
    """Runs workflows as processes on this machine: see engines/protocol.py for what each method does.

    `environ` is what the engine's process, our steps and (without `BATCHFLOW_*`) the user's containers get.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._root = Path(settings.local_dir)

    @property
    def place(self) -> str:
        """A store that is a directory is on this machine, too."""
        return f"machine {socket.gethostname()}" if self._settings.store.startswith("s3://") else ""

    def check(self, workflow: dict[str, Any]) -> None:
        self._checked(workflow)

    def lacks(self, kind: str, name: str) -> bool:
        """There are none here: `check` says what stands for them."""
        return False

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        """Returns when the engine's process is there; it lives on without this one and without its terminal."""
        folder = self._folder(self._checked(workflow).name)
        with _usable(folder):
            lock = _lock(folder)
        if lock is None:
            return
        try:
            if not _was_taken_up(folder):
                folder.save_workflow(orjson.dumps(workflow))
                self._start(folder, directory, lock)
        finally:
            os.close(lock)

    def observe(self, name: str) -> Observation:
        folder = self._folder(name)
        workflow = folder.workflow()
        if workflow is None:
            return Observation()
        if not workflow_status.ended(workflow) and not folder.locked:
            workflow = folder.workflow()  # it may have finished just before we looked at the lock
            if workflow is None or not workflow_status.ended(workflow):
                return Observation(None, folder.pods(), "the local engine ended before the job did (killed?)")
        return Observation(workflow, folder.pods())

    def stop(self, name: str) -> None:
        folder = self._folder(name)
        with _usable(folder):
            folder.request_stop()

    def kill(self, name: str) -> None:
        """No effect: whatever outlives its grace period gets SIGKILL."""

    def delete(self, name: str) -> None:
        """Waits a moment for the engine's process, which outlives the job's final status; raises InvalidInput if it still runs then."""
        folder = self._folder(name)
        deadline = time.monotonic() + LAST_PROCESS_S
        with _usable(folder):
            while not folder.remove():
                if time.monotonic() > deadline:
                    raise InvalidInput(f"workflow {name} still runs", where=str(folder.path), hint="stop its job first")
                time.sleep(_POLL_S)

    def logs(
        self,
        name: str,
        *,
        worker: str | None = None,
        container: str | None = None,
        follow: bool = False,
        without: Collection[str] = (),
        stop: Event | None = None,
    ) -> Iterator[LogLine]:
        folder = self._folder(name)
        if folder.workflow() is None:
            raise NotFound(f"no workflow {name} ran on this machine", where=str(self._root))

        def finished() -> bool:
            workflow = self.observe(name).workflow
            return workflow is None or workflow_status.ended(workflow)

        return log_lines(folder, worker=worker, container=container, without=without, follow=follow, finished=finished, stop=stop)

    def log_tail(self, name: str, pod: str, container: str, limit_bytes: int) -> bytes:
        return log_tail(self._folder(name).log(pod, container), limit_bytes)

    def _checked(self, workflow: dict[str, Any]) -> Job:
        job = parse(workflow)
        check_requirements(job, self._environ)
        return job

    def _folder(self, name: str) -> RunFolder:
        return RunFolder(self._root, name)

    def _start(self, folder: RunFolder, directory: str, lock: int) -> None:
        """Start the engine's process and hand it the lock."""
        with folder.engine_log.open("ab") as log:
            # -P: the folder in which a command happens to run is no place to import from.
            started = subprocess.run(
                [sys.executable, "-P", "-m", "batchflow.engines.local", str(folder.path), directory, str(lock)],
                env={**self._environ, **self._settings.to_env()},
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,
                check=False,
            )
        if started.returncode != 0:
            raise Internal(f"the local engine did not start (exit code {started.returncode})", where=str(folder.engine_log))


def _lock(folder: RunFolder) -> int | None:
    """As `try_lock`, but not refused because somebody just looks whether it is locked."""
    deadline = time.monotonic() + _LOOK_S
    while (lock := folder.try_lock()) is None and not _was_taken_up(folder) and time.monotonic() < deadline:
        time.sleep(_LOCK_POLL_S)
    return lock


def _was_taken_up(folder: RunFolder) -> bool:
    """Whether an engine was there for it before."""
    return "status" in (folder.workflow() or {})


@contextmanager
def _usable(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreachable(f"can't be used: {error.strerror}", where=str(folder.path), hint="set BATCHFLOW_LOCAL_DIR") from error
