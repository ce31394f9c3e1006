"""What a worker works on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from batchflow import contract
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

    def share(self, batches: int) -> int:
        """How many of so many of the job's batches count for this worker, so that all workers' shares add up to them; 0 for finalize.

        A pod does not know which of the workers it is, so its name decides about the remainder: a sum is one off for a worker or two.
        In a resumed run with fewer workers the sum falls short, of all numbers alike.
        """
        if self.step != contract.STEP_WORK:
            return 0
        workers = max(1, min(self.workers, self.total))
        return (batches + zlib.crc32(self.pod.encode()) % workers) // workers
