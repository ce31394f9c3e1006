"""Runs the check workflow in a cluster, follows it, and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from batchflow.client.check import PODS, check_workflow, trial_job
from batchflow.client.check_result import check_result
from batchflow.client.doctor import FAIL, Finding
from batchflow.client.trials import remove_trials
from batchflow.engines.argo.checks import LABEL_WORKFLOW
from batchflow.engines.argo.kube import Kube
from batchflow.errors import BatchflowError
from batchflow.queues.open import open_queues
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.store.open import open_store

__all__ = ["run_check"]

POLL_S: Final = 0.5


def run_check(kube: Kube, job: JobRef, settings: Settings) -> Iterator[Finding]:
    """The findings, within about two minutes; `job` names the workflow. Raises what keeps it from being made."""
    manifest = check_workflow(job, settings)
    found: Sequence[Finding] = ()
    try:
        kube.create_workflow(manifest)
        found = _watch(kube, job.workflow, settings)
        yield from found
    finally:
        with suppress(BatchflowError):
            kube.delete_workflow(job.workflow)
        if not found or any(finding.level == FAIL for finding in found):
            _remove_trials(job, settings)


def _watch(kube: Kube, name: str, settings: Settings) -> list[Finding]:
    started = time.monotonic()
    while True:
        pods = kube.pods(f"{LABEL_WORKFLOW}={name}")
        found = check_result(kube.workflow(name), pods, time.monotonic() - started, settings, lambda pod: _last_line(kube, pod))
        if found is not None:
            return found
        time.sleep(POLL_S)


def _last_line(kube: Kube, pod: str) -> str:
    """What the pod's main container printed last."""
    lines = b"".join(kube.log(pod, "main")).decode(errors="replace").strip().splitlines()
    return lines[-1].partition(" ")[2] if lines else ""  # without its time


def _remove_trials(job: JobRef, settings: Settings) -> None:
    with suppress(BatchflowError):
        store, queues = open_store(settings.store), open_queues(settings)
        for place in PODS:
            remove_trials(store, queues, trial_job(job.job_id, place))
