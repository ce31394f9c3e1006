"""Submitting to the local engine while others look at the run."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.local.folder import RunFolder
from tests.acceptance.command import until
from tests.contract.scheduling.kit import Namespace

LOOKS_S = 0.2


class Watched(LocalEngine):
    """Somebody looks whether an engine lives just when a workflow is submitted: its lock is shared for that moment."""

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        looking = RunFolder(self._root, workflow["metadata"]["name"]).try_lock()
        assert looking is not None
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(LOOKS_S, os.close, [looking])
        timer.start()
        super().submit(workflow, directory=directory)
        timer.join()


def test_somebody_who_just_looks_keeps_no_workflow_from_being_started(tmp_path: Path) -> None:
    space = Namespace(tmp_path)
    space.engine = Watched(space.settings, os.environ)
    space.enter(space.deploy(), "mine")
    try:
        space.scheduler().tick()
        until(lambda: space.began() == ["mine"], "its replica works")
    finally:
        space.kill_engines()
