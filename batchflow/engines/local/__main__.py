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
    runner = Runner(job, folder, Host(settings, os.environ, directory), status, pods)
    try:
        _supervise(runner, folder, status, pods, deadline_s=job.deadline_s, shutdown=job.shutdown)
    except BaseException:
        # Every container's guard sees this process end, and ends its container.
        _log.exception("the local engine ended before the job did")
        os._exit(1)


def _supervise(
    runner: Runner, folder: RunFolder, status: WorkflowStatus, pods: PodStatuses, *, deadline_s: float | None, shutdown: bool
) -> None:
    """Run the job in a thread; meanwhile look for stop and deadline, and save what changed."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if shutdown:
        stop.set()
    _save(folder, status, pods)
    started = progress_read = time.monotonic()
    steps = threading.Thread(target=runner.run, name="steps")
    steps.start()
    stopping = False
    while steps.is_alive():
        steps.join(_TICK_S)
        now = time.monotonic()
        if not stopping and (stop.is_set() or folder.stop_requested):
            stopping = True
            status.shut_down()
            runner.interrupt(STOP)
        if deadline_s is not None and now - started > deadline_s:
            runner.interrupt(DEADLINE)
        if now - progress_read > _PROGRESS_S:
            progress_read = now
            runner.read_progress()
        _save(folder, status, pods)
    _save(folder, status, pods)


def _save(folder: RunFolder, status: WorkflowStatus, pods: PodStatuses) -> None:
    """The pods first: whoever sees a finished workflow then sees its finished pods."""
    changed_workflow, changed_pods = status.dump_if_changed(), pods.dump_if_changed()
    if changed_pods is not None:
        folder.save_pods(changed_pods)
    if changed_workflow is not None:
        folder.save_workflow(changed_workflow)


if __name__ == "__main__":
    main()
