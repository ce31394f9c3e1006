"""What a worker works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from batchflow.settings import Settings
from batchflow.spec.model import Api
from batchflow.store.jobs import JobRecords

__all__ = ["Assignment"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker works on, and where it is.

    Attributes:
        records: the job's, its run included.
        api: as the job was submitted with it.
        pod: unique to each try of a step.
        step: contract.STEP_WORK or STEP_FINALIZE.
        port: where the handler really listens; on a laptop not where the api says.
        total: the job's number of batches.
        workers: the job's number of workers.
        max_receive_count: of the dead-letter queue (DLQ); None without one.
        mnt: the folder that all containers of the pod share.
        progress_file: Argo's, or None.
        settings: ours.
    """

    records: JobRecords
    api: Api
    pod: str
    step: str
    port: int
    total: int
    workers: int
    max_receive_count: int | None
    mnt: Path
    progress_file: Path | None
    settings: Settings

    @property
    def share(self) -> int:
        """How many batches are this worker's if all do the same."""
        return math.ceil(self.total / max(self.workers, 1))
