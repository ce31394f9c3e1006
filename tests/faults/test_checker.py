"""The checker can fail: of hand-made evidence it finds everything that is wrong, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checker import HUNG, LEFT, LOST, WRONG, Violation, check
from tests.faults.evidence import Evidence, Hit, Note, Record
from tests.faults.scenario import ALWAYS, Batch, Fault, Moment, Scenario

BATCHES = (Batch(0.1), Batch(0.1), Batch(0.1, ALWAYS))
NOW = 1_000.0


def note(event: str, batch: int | None, at: float, by: str = "1") -> Note:
    return Note(event, batch, NOW + at, by)


def record(
    batch: int, outcome: str = "succeeded", *, attempts: int = 1, seconds: float = 0.11, error: str = "", written: float = 2
) -> Record:
    said = {"index": batch, "outcome": outcome, "attempts": attempts, "seconds": seconds, "error": error}
    return Record(said, NOW + written)


def metrics(succeeded: int, failed: int) -> dict[str, Any]:
    counts = {"succeeded": succeeded, "failed": failed}
    return {"batch_metrics": {**counts, "avg_time_per_batch": 0.11}, "metrics": {**counts, "average_time_per_batch": 0.11}}


def killed(target: str, at: float = 0.25) -> Hit:
    return Hit(Fault("kill", target, Moment("work")), NOW + at, NOW + at, "process")


LOG = (
    *(note("began", 0, 0.0), note("ended", 0, 0.1), note("began", 1, 0.2, "2"), note("ended", 1, 0.3, "2")),
    *(note("began", 2, 0.4), note("raised", 2, 0.5), note("hook_began", None, 3.0, "3"), note("hook_ended", None, 3.1, "3")),
)
RECORDS = (record(0), record(1), record(2, "failed", error="handler.py:23: ValueError: item 4 fails"))
STATUS: Mapping[str, Any] = {
    "status": "completed_with_failures",
    "total_batch_count": 3,
    "batches_in_queue": 0,
    "batches_without_outcome": 0,
    "batches_failed": 1,
    **metrics(2, 1),
}
SCENARIO = Scenario(
    seed=0,
    on="sqlite",
    items=5,
    batch_size=2,
    batches=BATCHES,
    workers=2,
    max_concurrency=1,
    max_receive_count=None,
    hook="ok",
    hook_s=0.1,
    retry_s=600,
    faults=(),
)
CLEAN = Evidence(
    scenario=SCENARIO,
    log=LOG,
    records=RECORDS,
    status=STATUS,
    hook={"run": 1, "status": 200, "ok": True, "error": ""},
    dead_letters=(),
    queues=(),
    processes=(),
    hits=(),
)
LETTER = {"batch": 2, "items": [{"n": 4}], "reason": "ValueError: item 4 fails"}
WITH_DLQ = replace(CLEAN, scenario=replace(SCENARIO, max_receive_count=1), dead_letters=(LETTER,))
WITHOUT_HOOK = replace(CLEAN, scenario=replace(SCENARIO, hook="none"), log=LOG[:6], hook=None)


def logged(*notes: Note) -> Evidence:
    return replace(CLEAN, log=notes)


def recorded(*records: Record, **status: Any) -> Evidence:
    return replace(CLEAN, records=records, status={**STATUS, **status})


def stated(**status: Any) -> Evidence:
    return replace(CLEAN, status={**STATUS, **status})


def lettered(*letters: Mapping[str, Any]) -> Evidence:
    return replace(WITH_DLQ, dead_letters=letters)


FAILED = RECORDS[2]
SUCCEEDED_BY_MISTAKE = {"batches_failed": 0, **metrics(3, 1)}


@pytest.mark.parametrize(
    ("evidence", "kind", "words"),
    [
        (replace(CLEAN, hung="the job did not end"), HUNG, "the job did not end"),
        (logged(*LOG[:2], *LOG[4:]), LOST, "batch 1 was handled by nobody"),
        (recorded(record(0), FAILED, batches_without_outcome=1, **metrics(1, 1)), LOST, "batch 1 has no outcome"),
        (recorded(record(0), FAILED, batches_without_outcome=1, **metrics(1, 1)), WRONG, "1 batches have no outcome"),
        (logged(*LOG[:3], *LOG[4:]), WRONG, "batch 1 was begun and not ended"),
        (logged(*LOG[:3], *LOG[4:]), WRONG, "batch 1 has 1 successes, and the handler ended it 0 times"),
        (recorded(*RECORDS, record(3)), WRONG, "an outcome of batch 3, and there are 3 batches"),
        (recorded(*RECORDS, record(0)), WRONG, "batch 0 has 2 successes, and the handler ended it 1 times"),
        (recorded(*RECORDS, record(2)), WRONG, "batch 2 has 1 successes, and the handler ended it 0 times"),
        (recorded(*RECORDS, record(1, "failed", error="x")), WRONG, "1 failures that the handler did not raise"),
        (recorded(record(0, attempts=2), *RECORDS[1:], **metrics(2, 2)), WRONG, "succeeded after 2 attempts"),
        (recorded(record(0, attempts=0), *RECORDS[1:], **metrics(2, 0)), WRONG, "succeeded after 0 attempts"),
        (recorded(record(0, "done"), *RECORDS[1:], batches_failed=2, **metrics(1, 2)), WRONG, "batch 0 says done"),
        (recorded(*RECORDS[:2], record(2, "failed")), WRONG, "does not say why"),
        (recorded(*RECORDS[:2], record(2, "failed", error="connection broken")), WRONG, "the reason is not the handler's"),
        (recorded(record(0, seconds=0.01), *RECORDS[1:]), WRONG, "in 0.01 s, and the handler took 0.100 s"),
        (replace(WITH_DLQ, scenario=replace(SCENARIO, max_receive_count=2)), WRONG, "failed after 1 attempts"),
        (stated(total_batch_count=4), WRONG, "total_batch_count 4, the records 3"),
        (stated(batches_in_queue=1), WRONG, "batches_in_queue 1"),
        (stated(batches_without_outcome=None), WRONG, "batches_without_outcome None"),
        (stated(batches_failed=0), WRONG, "batches_failed 0, the records 1"),
        (stated(batch_metrics=metrics(3, 1)["batch_metrics"]), WRONG, "batch_metrics.succeeded 3, the records 2"),
        (stated(metrics=metrics(2, 2)["metrics"]), WRONG, "metrics.failed 2, the records 1"),
        (stated(metrics={**metrics(2, 1)["metrics"], "average_time_per_batch": 0.2}), WRONG, "an average of 0.2 s"),
        (logged(*LOG, *LOG[6:]), WRONG, "the hook ran 2 times, and 1 can be explained"),
        (logged(*LOG[:6]), WRONG, "the hook never ran"),
        (logged(*LOG[:7]), WRONG, "recorded as good, and it did not end"),
        (replace(CLEAN, hook={"ok": False, "status": 500}, status={**STATUS, "status": "worker_error"}), WRONG, "the hook did not fail"),
        (replace(CLEAN, hook=None), WRONG, "the hook has no recorded answer"),
        (logged(*LOG[:4], LOG[6], LOG[4], LOG[5], LOG[7]), WRONG, "the hook began before batches [2] were handled"),
        (recorded(record(0, written=9), *RECORDS[1:]), WRONG, "the hook began before the outcomes of batches [0] were written"),
        (replace(WITHOUT_HOOK, log=LOG), WRONG, "there is no hook, but it began 1 times"),
        (replace(WITHOUT_HOOK, hook=CLEAN.hook), WRONG, "there is no hook"),
        (stated(status="succeeded"), WRONG, "the verdict is succeeded"),
        (stated(status="worker_error"), WRONG, "should be completed_with_failures"),
        (replace(CLEAN, hook={"ok": False, "status": 500}), WRONG, "should be worker_error"),
        (lettered(), WRONG, "batch 2 failed and is not in the dead-letter queue"),
        (lettered(LETTER, LETTER), WRONG, "batch 2 is in the dead-letter queue 2 times"),
        (lettered(LETTER, {"batch": 0, "items": [{"n": 0}, {"n": 1}], "reason": "x"}), WRONG, "no outcome says that it failed"),
        (lettered({**LETTER, "items": [{"n": 4}, {"n": 5}]}), WRONG, "which is not what batch 2 was"),
        (lettered({**LETTER, "reason": ""}), WRONG, "which is not what batch 2 was"),
        (replace(CLEAN, queues=("cx_1",)), LEFT, "queue cx_1 was left"),
        (replace(CLEAN, processes=("python",)), LEFT, "python was left"),
    ],
)
def test_what_is_wrong_is_found(evidence: Evidence, kind: str, words: str) -> None:
    found = check(evidence).violations
    assert [violation for violation in found if violation.kind == kind and words in violation.text], found


@pytest.mark.parametrize("evidence", [CLEAN, WITH_DLQ, WITHOUT_HOOK])
def test_a_clean_run_has_no_violations(evidence: Evidence) -> None:
    assert check(evidence).violations == ()
    assert check(evidence).repeated == {}


CUT_OFF = (*LOG[:2], note("began", 1, 0.2, "2"), note("began", 1, 4.0, "4"), note("ended", 1, 4.1, "4"), *LOG[4:6])
LATE_HOOK = (note("hook_began", None, 5.0, "3"), note("hook_ended", None, 5.1, "3"))
TWO_FAILED = recorded(record(0), record(1, "failed", error="the connection broke"), FAILED, batches_failed=2, **metrics(1, 2))


@pytest.mark.parametrize(
    ("evidence", "hit"),
    [
        (replace(CLEAN, log=(*CUT_OFF, *LATE_HOOK)), killed("dequeuer")),
        (replace(TWO_FAILED, log=(*LOG[:3], *LOG[4:])), killed("handler")),
        (replace(CLEAN, log=(*LOG, *LATE_HOOK)), killed("finalize", 3.05)),
        (lettered(LETTER, {"batch": 0, "items": [{"n": 0}, {"n": 1}], "reason": "x"}), killed("dequeuer")),
    ],
)
def test_what_a_kill_explains_is_no_violation_and_is_one_without_it(evidence: Evidence, hit: Hit) -> None:
    assert check(replace(evidence, hits=(hit,))).violations == ()
    assert check(evidence).violations
    missed = replace(hit, at=None)
    assert check(replace(evidence, hits=(missed,))).violations


def repeated_by(kind: str) -> Callable[[float], Evidence]:
    def at(until: float) -> Evidence:
        again = (note("began", 0, 1.0, "4"), note("ended", 0, 1.1, "4"))
        hit = Hit(Fault(kind, "sqs", Moment("work")), NOW + until - 0.1, NOW + until, "hit")
        return replace(CLEAN, log=(*LOG[:6], *again, *LOG[6:]), records=(*RECORDS, record(0)), hits=(hit,))

    return at


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("kill", "killed before its message was deleted"),
        ("pause", "paused for longer than its visibility"),
        ("fill", "the disk was full"),
        ("twice", "delivered twice"),
        ("stale", "delivered twice"),
        ("cut", "queue or store did not answer"),
    ],
)
def test_a_repeat_is_allowed_and_has_a_reason(kind: str, reason: str) -> None:
    findings = check(repeated_by(kind)(0.5))
    assert findings.violations == ()
    assert findings.repeated == {reason: 1}


def test_a_repeat_that_no_fault_explains_is_told_as_such() -> None:
    assert check(repeated_by("kill")(4.0)).repeated == {"unexplained": 1}


def test_another_attempt_is_no_repeat() -> None:
    log = (note("began", 0, 0.0), note("raised", 0, 0.1), note("began", 0, 0.2), note("ended", 0, 0.3), *LOG[2:])
    scenario = replace(WITH_DLQ.scenario, max_receive_count=2, batches=(Batch(0.1, 1), *BATCHES[1:]))
    again = (note("began", 2, 0.6), note("raised", 2, 0.7))
    records = (record(0, attempts=2), record(1), record(2, "failed", attempts=2, error="item 4 fails"))
    findings = check(
        replace(WITH_DLQ, scenario=scenario, log=(*log[:8], *again, *log[8:]), records=records, status={**STATUS, **metrics(2, 3)})
    )
    assert findings.violations == ()
    assert findings.repeated == {}


def test_violations_are_counted_by_their_kind() -> None:
    findings = check(replace(CLEAN, queues=("cx_1", "cx_2")))
    assert findings.violations == (Violation(LEFT, "queue cx_1 was left"), Violation(LEFT, "queue cx_2 was left"))
    assert (findings.count(LEFT), findings.count(LOST)) == (2, 0)
