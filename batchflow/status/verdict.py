"""The verdict: a job's final status, one pure function, used by cleanup and by `get`."""

from __future__ import annotations

from dataclasses import dataclass

from batchflow.records import HookAnswer
from batchflow.status import model
from batchflow.status.accounting import Accounting

__all__ = ["Ending", "verdict"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the workflow came to its end, as far as it can be seen. `reason` is the best explanation of a worker's failure."""

    stopped: bool = False
    timed_out: bool = False
    out_of_memory: bool = False
    deleted: bool = False
    reason: str = ""


def verdict(
    *, accounting: Accounting | None, enqueue_error: str, hook: HookAnswer | None, hook_due: bool, ending: Ending
) -> tuple[str, str]:
    """The status code and a message.

    `accounting` is None while the number of batches is unknown; `hook_due`: the api has a hook; `enqueue_error`: what the enqueuer
    recorded against the input, "" if nothing.

    If every batch has an outcome, that decides, whatever became of workers; unless the hook answered badly, or was due and has no
    recorded answer.
    """
    if accounting is None or accounting.missing:
        return _unfinished(accounting, enqueue_error, ending)
    if hook is not None and not hook.ok:
        return model.WORKER_ERROR, f"every batch was handled, but on-job-complete failed: {hook.error or hook.status}"
    if hook is None and hook_due:
        code, message = _cut_off(ending)
        return code, "every batch was handled, but on-job-complete has not answered" + (f": {message}" if message else "")
    if accounting.failed:
        return model.COMPLETED_WITH_FAILURES, f"{accounting.failed} of {accounting.total} batches failed; list them with --failed"
    return model.SUCCEEDED, ""


def _unfinished(accounting: Accounting | None, enqueue_error: str, ending: Ending) -> tuple[str, str]:
    if enqueue_error:
        return model.ENQUEUE_FAILED, enqueue_error
    code, message = _cut_off(ending)
    left = "enqueuing had not ended" if accounting is None else f"{accounting.missing} of {accounting.total} batches have no outcome"
    return code, f"{message}; {left}" if message else left


def _cut_off(ending: Ending) -> tuple[str, str]:
    """The first that applies."""
    if ending.stopped:
        return model.STOPPED, ""
    if ending.timed_out:
        return model.TIMED_OUT, "the job's timeout passed" + (f": {ending.reason}" if ending.reason else "")
    if ending.out_of_memory:
        return model.WORKER_OOM, ending.reason or "a worker ran out of memory"
    if ending.deleted:
        return model.UNEXPECTED_ERROR, ending.reason or "the workflow was deleted"
    return model.WORKER_ERROR, ending.reason or "workers failed"
