"""Runs the check workflow in a cluster, follows it, and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from batchflow.cluster.check import PODS, check_workflow, trial_job
from batchflow.cluster.check_result import check_result
from batchflow.cluster.doctor import Finding
from batchflow.cluster.trials import remove_trials
from batchflow.engines.argo.engine import LABEL_WORKFLOW
from batchflow.engines.argo.kube import Kube
from batchflow.errors import BatchflowError
from batchflow.queues.protocol import Queues
from batchflow.records import JobRef
from batchflow.settings import Settings
from batchflow.store.open import open_store

__all__ = ["run_check"]

POLL_S: Final = 0.5


def run_check(kube: Kube, job: JobRef, settings: Settings, queues: Queues | None) -> Iterator[Finding]:
    """The findings, within about two minutes; `job` names the workflow. Raises what keeps it from being made.

    `queues`: for removing what a pod did not remove itself; None if this machine can't reach the service.
    """
    manifest = check_workflow(job, settings)
    try:
        kube.create_workflow(manifest)
        yield from _watch(kube, job.workflow, settings)
    finally:
        with suppress(BatchflowError):
            kube.delete_workflow(job.workflow)
        with suppress(BatchflowError):
            store = open_store(settings.store, settings.call_timeout_s)
            for place in PODS:
                remove_trials(store, queues, trial_job(job.job_id, place))


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
