"""Runs scenarios on the local engine: on SQLite with a directory as store, or on SQS and S3, both behind proxies."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from tests.acceptance.command import Terminal
from tests.faults.drivers import Driver
from tests.faults.evidence import Evidence
from tests.faults.job import Job, new_id
from tests.faults.local_place import LocalPlace
from tests.faults.proxy import FaultProxy
from tests.faults.scenario import Scenario
from tests.faults.services import Directory, Services, amazon

__all__ = ["driver", "runner"]

SHORT: Final = {"BATCHFLOW_VISIBILITY_S": "3", "BATCHFLOW_HEARTBEAT_S": "1", "BATCHFLOW_GRACE_S": "3", "BATCHFLOW_CALL_TIMEOUT_S": "3"}
DISK: Final = "size=64m,mode=755"


@contextmanager
def driver(on: str) -> Iterator[Driver]:
    """On sqlite or sqs, with servers of its own."""
    with amazon() if on == "sqs" else nullcontext() as services:
        yield runner(services)


def runner(services: Services | None) -> Driver:
    """On these services; None: a directory and SQLite, each run's own."""
    return lambda scenario, folder: run(scenario, folder, services or Directory(folder / "store"))


def run(scenario: Scenario, folder: Path, services: Services) -> Evidence:
    """One job, from its submission until nothing of it is left, and everything that is known of it then."""
    with ExitStack() as stack:
        if any(fault.kind == "fill" for fault in scenario.faults):
            stack.enter_context(_disk_of_its_own(folder / "store", folder / "stored"))
        proxies = {name: stack.enter_context(FaultProxy(url, (), scenario.seed)) for name, url in services.urls.items()}
        store = folder / "store"
        runs = store / "local"
        own = services.settings({name: proxy.url for name, proxy in proxies.items()})
        of_run = {"BATCHFLOW_RETRY_S": str(scenario.retry_s), "BATCHFLOW_LOCAL_DIR": str(runs)}
        terminal = Terminal(folder, **{**SHORT, **of_run, **own})
        stack.callback(terminal.close)
        place = LocalPlace(runs, folder / "log", store, store / "queues", proxies, terminal)
        return Job(scenario, new_id(), place, services, terminal, services.settings(services.urls)).run()


@contextmanager
def _disk_of_its_own(folder: Path, kept: Path) -> Iterator[None]:
    """A small file system, if we may mount one; what is in it at the end is copied to `kept`."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)], capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            shutil.copytree(folder, kept, ignore_dangling_symlinks=True)
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
