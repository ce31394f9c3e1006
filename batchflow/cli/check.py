"""`batchflow step check`: what the pods of the check workflow run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchflow import contract
from batchflow.cluster.check import ENV_PLACE, OUTPUT_REPORT, Report, trial_job
from batchflow.cluster.trials import failures, try_queues, try_store
from batchflow.enqueuer import queue_name
from batchflow.errors import BatchflowError
from batchflow.queues.open import open_queues
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.store.open import open_store

__all__ = ["check"]


def check(settings: Settings, job: JobRef, pod: str, environ: Mapping[str, str]) -> int:
    """Write a Report of what works from this pod; that something does not is no failure of the step."""
    place = environ.get(ENV_PLACE) or contract.STEP_ENQUEUE
    trial = trial_job(job.job_id, place)
    tried = {
        "store": try_store(lambda: open_store(settings.store, settings.call_timeout_s), trial, deletes=False),
        "queues": try_queues(lambda: open_queues(settings), queue_name(trial, settings.store)),
    }
    if place == contract.STEP_CLEANUP:
        tried["roles"] = _try_reads(settings, job.workflow, pod)
    folder = Path(environ.get(contract.ENV_OUTPUTS) or contract.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OUTPUT_REPORT).write_text(Report.of(tried).dump(), encoding="utf-8")
    return contract.EXIT_OK


def _try_reads(settings: Settings, workflow: str, pod: str) -> list[BatchflowError]:
    from batchflow.engines.argo.checks import cleanup_reads
    from batchflow.engines.argo.kube import Kube

    try:
        reads = cleanup_reads(Kube(settings.namespace), workflow, pod)
    except BatchflowError as error:
        return [error]
    return [error for read in reads for error in failures([read])]
