"""A worker as a process of its own: `work_process.py ROOT PORT TOTAL POD`; the second of two replaces the first."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

from tests.contract.work_kit import Job

if __name__ == "__main__":
    root, port, total, pod = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    job = Job(Path(root))
    job.total = int(total)
    job.settings = replace(job.settings, visibility_s=3, heartbeat_s=1)
    sys.exit(job.work(int(port), pod=pod, replaced=pod != "first"))
