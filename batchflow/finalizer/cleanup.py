"""Cleanup, the workflow's onExit: waits for workers to be gone, writes the final status, deletes the queue, saves the logs.

Idempotent, and the status that it wrote first stays. In that order, because the enqueuer looks for the status to learn that its queue is
not wanted any more, because a status without a deleted queue costs a queue, while a deleted queue without a status would cost the verdict,
and because logs may be long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from batchflow.queues.protocol import Queues
from batchflow.records import FinalStatus, LogName
from batchflow.retry import Retry
from batchflow.status.adapter import final_status
from batchflow.status.facts import account, gather
from batchflow.status.model import JobStatus
from batchflow.store.jobs import JobRecords

__all__ = ["Observed", "cleanup"]

_log = logging.getLogger(__name__)

POLL_S: Final = 0.2
SPARE_S: Final = 10.0  # beyond the pods' grace period


@dataclass(frozen=True, slots=True)
class Observed:
    """The run as its engine sees it."""

    workflow: Mapping[str, Any] | None
    pods: Sequence[Mapping[str, Any]]


def cleanup(
    records: JobRecords,
    *,
    own_pod: str,
    hook_due: bool,
    queues: Queues,
    queue_name: str,
    observe: Callable[[], Observed],
    log_tails: Callable[[], Iterable[tuple[LogName, bytes]]],
    grace_s: float,
    retry: Retry,
) -> JobStatus:
    """End the run for good. `log_tails` gives the last bytes of every container there was.

    Every call is tried again inside, because Argo does not retry onExit after a stop or a deadline. Raises Unreachable in the end.
    """
    observed = _wait_for_others(observe, own_pod, grace_s + SPARE_S, retry)

    status = retry(lambda: _final(records, hook_due, observed))
    _log.info("job ended", extra={"status": status.status})
    retry(lambda: _remove(queues, queue_name))
    for name, tail in log_tails():
        retry(partial(records.save_log, name, tail))
    return status


def _final(records: JobRecords, hook_due: bool, observed: Observed) -> JobStatus:
    """The final status, written down unless an earlier try did so: the job may have been resumed since then, and that run have ended."""
    facts = gather(records, hook_due=hook_due, workflow=observed.workflow, pods=observed.pods)
    if facts.final and facts.final.run >= records.job.run:
        return JobStatus.from_dict(facts.final.status)
    status = final_status(facts, account(records, facts), datetime.now(UTC))
    records.save_final(FinalStatus(records.job.run, status.to_dict()))
    return status


def _remove(queues: Queues, queue_name: str) -> None:
    if (queue := queues.find(queue_name)) is not None:
        queues.remove(queue.url)


def _wait_for_others(observe: Callable[[], Observed], own_pod: str, limit_s: float, retry: Retry) -> Observed:
    """After stop and deadline, onExit may overlap with pods that are still terminating and may yet write outcomes."""
    deadline = time.monotonic() + limit_s
    while True:
        observed = retry(observe)
        others = [pod for pod in observed.pods if pod["metadata"]["name"] != own_pod]
        if not any(pod["status"].get("phase") in ("Pending", "Running") for pod in others) or time.monotonic() > deadline:
            return observed
        time.sleep(POLL_S)
