"""A scheduler as a process, until SIGTERM: `process.py FOLDER LEASE_S`. With a lease of 0 it never asks whether it leads."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event

from batchflow import logs
from tests.contract.scheduling.kit import Driven, Namespace


def run(scheduler: Driven, stop: Event) -> None:
    """As `Scheduler.run`, without a lease."""
    while not stop.wait(0.2):
        scheduler.tick()
        scheduler.clean()


if __name__ == "__main__":
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logs.setup("info")
    lease_s = float(sys.argv[2])
    scheduler = Namespace(Path(sys.argv[1])).scheduler(lease_s=lease_s)
    if lease_s:
        scheduler.run(stop)
    else:
        run(scheduler, stop)
