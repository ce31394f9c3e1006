"""The engine's own process: `python -m batchflow.engines.local RUN_FOLDER DIRECTORY LOCK`, started by `LocalEngine.submit`.

LOCK is the open, locked engine.lock. The process that was started ends as soon as the one that does the work is there.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

from batchflow import logs
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.local.launch import Host
from batchflow.engines.local.manifest import parse
from batchflow.engines.local.nodes import WorkflowStatus
from batchflow.engines.local.podstatus import PodStatuses
from batchflow.engines.local.runner import DEADLINE, STOP, Runner
from batchflow.errors import Internal
from batchflow.settings import Settings

_log = logging.getLogger("batchflow.engines.local")

_TICK_S: Final = 0.1
_PROGRESS_S: Final = 1.0
_LAST_SAVES_S: Final = 5.0


def main() -> None:
    """Leave the terminal and run the job; the exit code says only whether it could be started."""
    path, directory, lock = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    folder = RunFolder(path.parent, path.name)
    os.set_inheritable(lock, False)
    settings = Settings.from_env()
    logs.setup(settings.log_level)
    workflow = folder.workflow()
    if workflow is None:
        raise Internal("there is no workflow to run", where=str(folder.path))
    job = parse(workflow)
    # An orphan: it is nobody's child to wait for, so no caller keeps a zombie of it.
    if os.fork() != 0:
        os._exit(0)
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    status, pods = WorkflowStatus(workflow), PodStatuses()
    runner, saver = Runner(job, folder, Host(settings, os.environ, directory), status, pods), _Saver(folder, status, pods)
    try:
        _supervise(runner, folder, status, saver, deadline_s=job.deadline_s, shutdown=job.shutdown)
    except BaseException:
        # Every container's guard sees this process end, and ends its container.
        _log.exception("the local engine ended before the job did")
        os._exit(1)
    if not saver.save_last():
        _log.error("the job has ended; gave up saving how", extra={"folder": str(folder.path)})
        os._exit(1)


def _supervise(
    runner: Runner, folder: RunFolder, status: WorkflowStatus, saver: _Saver, *, deadline_s: float | None, shutdown: bool
) -> None:
    """Run the job in a thread; meanwhile look for stop and deadline, and save what changed."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if shutdown:
        stop.set()

    def look_for_stop() -> None:
        if stop.is_set() or folder.stop_requested:
            status.shut_down()
            runner.interrupt(STOP)

    look_for_stop()  # first: a job that was stopped before it came here is only cleaned up
    saver.save()
    started = progress_read = time.monotonic()
    steps = threading.Thread(target=runner.run, name="steps")
    steps.start()
    while steps.is_alive():
        steps.join(_TICK_S)
        look_for_stop()
        now = time.monotonic()
        if deadline_s is not None and now - started > deadline_s:
            runner.interrupt(DEADLINE)
        if now - progress_read > _PROGRESS_S:
            progress_read = now
            runner.read_progress()
        saver.save()


class _Saver:
    """Writes the state to the run's folder. A write that fails (the disk is full, say) is the next call's to repeat."""

    def __init__(self, folder: RunFolder, status: WorkflowStatus, pods: PodStatuses) -> None:
        self._folder = folder
        self._status = status
        self._pods = pods
        self._unsaved_workflow: bytes | None = None
        self._unsaved_pods: bytes | None = None
        self._failing = False

    def save(self) -> bool:
        """Save what changed; False if that failed, which is logged once.

        The pods first: whoever sees a finished workflow then sees its finished pods.
        """
        self._unsaved_workflow = self._status.dump_if_changed() or self._unsaved_workflow
        self._unsaved_pods = self._pods.dump_if_changed() or self._unsaved_pods
        try:
            if self._unsaved_pods is not None:
                self._folder.save_pods(self._unsaved_pods)
                self._unsaved_pods = None
            if self._unsaved_workflow is not None:
                self._folder.save_workflow(self._unsaved_workflow)
                self._unsaved_workflow = None
        except OSError as error:
            if not self._failing:
                _log.warning("the state can't be saved, trying again", extra={"folder": str(self._folder.path), "error": str(error)})
            self._failing = True
            return False
        self._failing = False
        return True

    def save_last(self) -> bool:
        """Save the end, for some seconds if need be."""
        deadline = time.monotonic() + _LAST_SAVES_S
        while not self.save():
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK_S)
        return True


if __name__ == "__main__":
    main()
