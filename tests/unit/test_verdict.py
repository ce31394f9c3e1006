"""The verdict's rules, a row each (DESIGN.md section 6, "Verdict")."""

from __future__ import annotations

import pytest

from batchflow.records import HookAnswer, Outcome
from batchflow.status.accounting import Accounting
from batchflow.status.verdict import Ending, verdict

GOOD = HookAnswer(run=1, status=200, ok=True)
BAD = HookAnswer(run=1, status=500, ok=False, error="ValueError: no results")


def outcomes(text: str) -> Accounting:
    """`s` succeeded, `f` failed, `.` no outcome; a place each."""
    names = {"s": "succeeded", "f": "failed"}
    found = [Outcome(i, names[c], attempts=1, seconds=2.0) for i, c in enumerate(text) if c in names]
    return Accounting(len(text), found)


@pytest.mark.parametrize(
    ("accounting", "hook", "hook_due", "error", "ending", "status", "words"),
    [
        ("sss", GOOD, True, "", Ending(), "succeeded", ""),
        ("sss", None, False, "", Ending(), "succeeded", ""),
        ("", GOOD, True, "", Ending(), "succeeded", ""),
        ("sfs", GOOD, True, "", Ending(), "completed_with_failures", "1 of 3 batches failed"),
        # every batch has an outcome: whatever became of workers, or of the workflow
        ("sss", GOOD, True, "", Ending(stopped=True, timed_out=True, out_of_memory=True, deleted=True), "succeeded", ""),
        ("sss", BAD, True, "", Ending(), "worker_error", "on-job-complete failed: ValueError: no results"),
        ("sss", None, True, "", Ending(), "worker_error", "has not answered"),
        ("sss", None, True, "", Ending(stopped=True), "stopped", "has not answered"),
        ("sss", None, True, "", Ending(timed_out=True), "timed_out", "has not answered"),
        ("s.s", None, True, "line 7 is no JSON", Ending(stopped=True), "enqueue_failed", "line 7 is no JSON"),
        (None, None, True, "line 7 is no JSON", Ending(), "enqueue_failed", "line 7 is no JSON"),
        ("s.s", None, True, "", Ending(stopped=True, timed_out=True, out_of_memory=True), "stopped", "1 of 3 batches have no outcome"),
        ("s.s", None, True, "", Ending(timed_out=True, out_of_memory=True), "timed_out", "1 of 3"),
        ("s.s", None, True, "", Ending(out_of_memory=True, deleted=True), "worker_oom", "1 of 3"),
        ("s.s", None, True, "", Ending(deleted=True), "unexpected_error", "the workflow was deleted; 1 of 3"),
        ("s.s", None, True, "", Ending(reason="main: Error (exit code 69)"), "worker_error", "exit code 69"),
        (None, None, True, "", Ending(stopped=True), "stopped", "enqueuing had not ended"),
    ],
)
def test_verdict(
    accounting: str | None, hook: HookAnswer | None, hook_due: bool, error: str, ending: Ending, status: str, words: str
) -> None:
    counted = None if accounting is None else outcomes(accounting)
    code, message = verdict(accounting=counted, enqueue_error=error, hook=hook, hook_due=hook_due, ending=ending)
    assert code == status
    assert words in message
    assert bool(message) == bool(words)


def test_a_success_wins_over_a_failure_whatever_their_order() -> None:
    failed, good = Outcome(0, "failed", 3, 1.0), Outcome(0, "succeeded", 1, 4.0)
    for order in ([failed, good], [good, failed], [good, failed, good, failed]):
        counted = Accounting(1, order)
        assert (counted.succeeded, counted.failed, counted.missing, counted.seconds) == (1, 0, 0, 4.0)
        assert counted.failed_attempts == 3


def test_outcomes_of_unknown_batches_are_ignored() -> None:
    counted = Accounting(2, [Outcome(2, "succeeded", 1, 1.0), Outcome(-1, "succeeded", 1, 1.0)])
    assert counted.missing == 2
