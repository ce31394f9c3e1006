"""What must hold: DESIGN.md's promise 1, as predicates of a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache

from batchflow.records import FAILED, SUCCEEDED, HookAnswer
from batchflow.status import model
from batchflow.status.adapter import Facts, final_status
from batchflow.status.model import JobStatus
from tests.model.programs import Job, Outcomes, accounting
from tests.model.state import State

__all__ = ["broken", "status"]

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ALL_HANDLED = (model.SUCCEEDED, model.COMPLETED_WITH_FAILURES)


def broken(job: Job, first: State) -> Callable[[State, bool], str]:
    """The explorer's: the first rule that does not hold, "" if all do."""

    def check(state: State, is_end: bool) -> str:
        always = next(_always(job, state), "")
        return always or (next(_at_the_end(job, state, first), "") if is_end else "")

    return check


def _always(job: Job, state: State) -> Iterator[str]:
    done = {index for index, _ in state.outcomes}
    checkpoint = state.checkpoint if state.checkpoint and state.checkpoint.run == state.run else None
    if state.queue is not None and checkpoint:
        waiting = {message.batch for message in state.queue}
        if any(index not in done | waiting for index in range(checkpoint.next_index)):
            yield "a batch that was sent has an outcome or a message"
    ended = state.final is not None and state.final[0] == state.run
    if state.queue is None and checkpoint and state.stage != "enqueue" and not ended:
        yield "the queue is deleted only after the final status is written"
    if state.run > 1 and state.stage == "enqueue" and any(message.batch in done for message in state.queue or ()):
        yield "a resumed run sends only batches without an outcome"
    if state.posts and state.missing(job):
        yield "the hook is posted only after every batch has an outcome"
    if state.posts > 1 + state.repeats:
        yield "the hook is posted again only if its answer was not recorded, or was bad"
    if job.max_receive_count is not None and any(index not in state.dlq for index, outcome in state.outcomes if outcome == FAILED):
        yield "a batch that failed for good is in the dead-letter queue"
    if ended and state.final is not None:
        yield from _true_status(job, state, state.final[1])


def _true_status(job: Job, state: State, said: str) -> Iterator[str]:
    if said == model.SUCCEEDED and any((index, SUCCEEDED) not in state.outcomes for index in range(job.batches)):
        yield "`succeeded` only if every batch has a recorded success"
    if said in _ALL_HANDLED and (state.missing(job) or (job.hook and not (state.hook and state.hook[1]))):
        yield "the job ends well only if every batch has an outcome and the hook, if any, answered well"


def _at_the_end(job: Job, state: State, first: State) -> Iterator[str]:
    if state.stage != "ended":
        yield "nothing happens any more only if the workflow has ended"
        return
    said = status(job, state)
    if not said.ended:
        yield "a job that ended has a final status"
    yield from _true_status(job, state, said.status)
    cut_off = state.stopped or state.terminated
    if not cut_off and not state.unattended:
        if state.missing(job):
            yield "batches are left over only if the job was cut off, or nobody replaced a worker"
        elif said.status not in _ALL_HANDLED and not (state.hook and not state.hook[1]):
            yield "with every batch handled the job ends well, unless the hook failed"
    if not cut_off and (state.final is None or state.final[0] != state.run):
        yield "the status of the latest run is kept"
    if not cut_off and state.queue is not None:
        yield "no queue is left"
    undisturbed = state.run == 1 and not cut_off and state.faults == first.faults
    if undisturbed and any((index, FAILED) not in state.outcomes for index in state.dlq):
        yield "without faults, what is in the dead-letter queue has a failed outcome"


def status(job: Job, state: State) -> JobStatus:
    """What `get` says of a run that ended: what cleanup wrote down, else the verdict as of now."""
    written = state.final[1] if state.final and state.final[0] == state.run else ""
    return _status(job, state.run, written, state.total, state.outcomes, state.hook, state.stopped)


@cache
def _status(
    job: Job, run: int, written: str, total: int | None, outcomes: Outcomes, hook: tuple[int, bool] | None, stopped: bool
) -> JobStatus:
    answer = HookAnswer(hook[0], 200 if hook[1] else 500, ok=hook[1]) if hook else None
    workflow = {"spec": {"shutdown": "Stop" if stopped else "Terminate"}, "status": {"phase": "Failed"}}
    facts = Facts(job.submission, run, job.hook, total=total, hook=answer, workflow=workflow)
    counted = None if total is None else accounting(total, outcomes)
    computed = final_status(facts, counted, _NOW)
    return JobStatus.from_dict(computed.to_dict() | {"status": written}) if written else computed
