"""Compares what batchflow says of a run with what the handler really did. Imports nothing of batchflow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tests.faults.evidence import Evidence, Hit, Note, Record
from tests.faults.repeats import Handling, handlings, repeats
from tests.faults.scenario import NETWORK

__all__ = ["LOST", "Findings", "Violation", "check"]

LOST: Final = "lost"  # a batch that nobody handled, or that has no outcome
WRONG: Final = "wrong"  # an outcome, a verdict or a number that is not true; a hook at the wrong time
HUNG: Final = "hung"
LEFT: Final = "left"  # a queue or a process of the job that outlives it

CUTTERS: Final = ("handler", "hook", "pod", "engine")  # kills of these may break a request to a handler
ENDERS: Final = ("finalize", "pod", "engine")  # after kills of these the hook may run once more
REFUSED: Final = "the dead-letter queue refuses"  # the outcome of a batch that could not be sent there says so
CLOCK_S: Final = 0.05  # of one machine, between two processes
S3_CLOCK_S: Final = 1.0  # S3 tells times in whole seconds


@dataclass(frozen=True)
class Violation:
    """What must not be: its kind (LOST, WRONG, HUNG or LEFT), in a sentence."""

    kind: str
    text: str


@dataclass(frozen=True)
class Findings:
    """`repeated`: how many handlings were one too many, by their reason. That is allowed; `violations` are not."""

    violations: tuple[Violation, ...]
    repeated: Mapping[str, int]

    def count(self, kind: str) -> int:
        return sum(violation.kind == kind for violation in self.violations)


def check(evidence: Evidence) -> Findings:
    """Everything that is wrong with a run; of one that hung only that."""
    if evidence.hung:
        return Findings((Violation(HUNG, evidence.hung),), {})
    run = _Run(evidence)
    checks = (run.batches, run.outcomes, run.numbers, run.hook, run.verdict, run.dead_letters, run.left)
    found = tuple(violation for one in checks for violation in one())
    return Findings(found, repeats(evidence, run.handlings, run.attempts))


def _wrong(text: str) -> Violation:
    return Violation(WRONG, text)


class _Run:
    """The evidence by batch; every public method yields the violations of one rule."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.scenario = evidence.scenario
        self.total = len(evidence.scenario.batches)
        self.handlings = handlings(evidence.log)
        self.records: dict[int, list[Record]] = defaultdict(list)
        for record in evidence.records:
            self.records[int(record.outcome["index"])].append(record)

    @cached_property
    def attempts(self) -> dict[int, int]:
        """How many attempts each batch's records tell of."""
        return {index: max(int(r.outcome["attempts"]) for r in records) for index, records in self.records.items() if records}

    def batches(self) -> Iterator[Violation]:
        """Every batch was handled, and has an outcome."""
        for index in range(self.total):
            if not self.handlings[index]:
                yield Violation(LOST, f"batch {index} was handled by nobody")
            if not self.records[index]:
                yield Violation(LOST, f"batch {index} has no outcome")
        if not self._hits("kill", "pause"):
            for index, handling in self._all_handlings():
                if handling.end is None:
                    yield _wrong(f"batch {index} was begun and not ended, though nothing was killed")

    def outcomes(self) -> Iterator[Violation]:
        """Every record is true."""
        for index in [index for index in self.records if not 0 <= index < self.total]:
            yield _wrong(f"there is an outcome of batch {index}, and there are {self.total} batches")
        unseen = 0
        for index in range(self.total):
            handled, records = self.handlings[index], self.records[index]
            succeeded = sum(r.outcome["outcome"] == "succeeded" for r in records)
            failed = len(records) - succeeded
            ended = sum(h.ended for h in handled)
            raised = sum(h.raised for h in handled)
            if succeeded > ended:
                yield _wrong(f"batch {index} has {succeeded} successes, and the handler ended it {ended} times")
            unseen += max(0, failed - raised)
            for record in records:
                yield from self._record(index, record, raised)
        if unseen > self._cuts:
            yield _wrong(f"{unseen} failures that the handler did not raise, and kills can have made {self._cuts}")

    def _record(self, index: int, record: Record, raised: int) -> Iterator[Violation]:
        outcome = record.outcome
        attempts, failed = int(outcome["attempts"]), outcome["outcome"] == "failed"
        said = f"batch {index} says {outcome['outcome']} after {attempts} attempts"
        most = self.scenario.max_receive_count or 1
        if outcome["outcome"] not in ("succeeded", "failed") or not 1 <= attempts <= most or (failed and attempts != most):
            yield _wrong(f"{said} ({outcome.get('error')}), and {most} are allowed")
        if attempts - (not failed) > raised + self._killed(*CUTTERS):
            yield _wrong(f"{said}, the handler raised {raised} times and was killed {self._killed(*CUTTERS)} times")
        if failed and not outcome["error"]:
            yield _wrong(f"{said} and does not say why")
        if failed and raised and not self._killed(*CUTTERS) and f"item {index * self.scenario.batch_size} fails" not in outcome["error"]:
            yield _wrong(f"{said}, but the reason is not the handler's: {outcome['error']}")
        took_s = min((h.seconds for h in self.handlings[index] if h.end is not None), default=0.0)
        if not failed and float(outcome["seconds"]) < took_s - CLOCK_S:
            yield _wrong(f"{said}, in {outcome['seconds']} s, and the handler took {took_s:.3f} s")

    def numbers(self) -> Iterator[Violation]:
        """The status counts what the records say."""
        succeeded = [index for index in range(self.total) if self._succeeded(index)]
        failures = sum(
            max((int(r.outcome["attempts"]) - (r.outcome["outcome"] == "succeeded") for r in self.records[index]), default=0)
            for index in range(self.total)
        )
        status = self.evidence.status
        expected = {
            "total_batch_count": self.total,
            "batches_in_queue": 0,
            "batches_without_outcome": sum(not self.records[index] for index in range(self.total)),
            "batches_failed": sum(bool(self.records[index]) for index in range(self.total)) - len(succeeded),
        }
        found = {name: status.get(name) for name in expected}
        for metrics in ("batch_metrics", "metrics"):
            expected |= {f"{metrics}.{name}": number for name, number in (("succeeded", len(succeeded)), ("failed", failures))}
            found |= {f"{metrics}.{name}": status.get(metrics, {}).get(name) for name in ("succeeded", "failed")}
        for name, number in expected.items():
            if found[name] != number:
                yield _wrong(f"the status says {name} {found[name]}, the records {number}")
        average = status.get("metrics", {}).get("average_time_per_batch")
        seconds = [[float(r.outcome["seconds"]) for r in self.records[i] if r.outcome["outcome"] == "succeeded"] for i in succeeded]
        least, most = (sum(map(choose, seconds)) / max(1, len(succeeded)) for choose in (min, max))
        if succeeded and not (average is not None and least - 1e-5 <= average <= most + 1e-5):
            yield _wrong(f"the status says an average of {average} s, the records {least:.6f} to {most:.6f} s")

    def hook(self) -> Iterator[Violation]:
        """The hook ran once, after the last batch's outcome, and its answer is recorded as it was."""
        began, ended = self._noted("hook_began"), self._noted("hook_ended")
        answer = self.evidence.hook
        if self.scenario.hook == "none":
            if began or answer:
                yield _wrong(f"there is no hook, but it began {len(began)} times and answered {answer}")
            return
        # A job whose hook fails is resumed once more after its engine was killed: it may have been killed in cleanup.
        allowed = 1 + self._killed(*ENDERS) + (self.scenario.hook == "raises" and self._killed("engine") > 0)
        if len(began) > allowed:
            yield _wrong(f"the hook ran {len(began)} times, and {allowed} can be explained")
        if not began and not self._killed("hook", "pod", "engine"):
            yield _wrong("the hook never ran")
        if answer and answer["ok"] and not ended:
            yield _wrong("the hook's answer is recorded as good, and it did not end")
        if answer and not answer["ok"] and not self._noted("hook_raised") and not self._killed(*CUTTERS):
            yield _wrong(f"the hook did not fail, its answer is recorded as {answer}")
        for note in began:
            yield from self._hook_began(note)

    def _hook_began(self, note: Note) -> Iterator[Violation]:
        slack_s = S3_CLOCK_S if self.scenario.on != "sqlite" else CLOCK_S
        late = [i for i in range(self.total) if self.records[i] and min(r.written for r in self.records[i]) > note.at + slack_s]
        if late:
            yield _wrong(f"the hook began before the outcomes of batches {late} were written")
        place = self.evidence.log.index(note)
        done = {n.batch for n in self.evidence.log[:place] if n.event in ("ended", "raised")}
        cut = {index for index, handling in self._all_handlings() if handling.end is None and handling.began.at < note.at}
        open_ = sorted(set(range(self.total)) - done - cut)
        if open_:
            yield _wrong(f"the hook began before batches {open_} were handled")

    def verdict(self) -> Iterator[Violation]:
        """Worked out anew from the records and hook.json."""
        missing = sum(not self.records[index] for index in range(self.total))
        failed = sum(not self._succeeded(index) for index in range(self.total))
        due = self.scenario.hook != "none"
        answer = self.evidence.hook
        said = self.evidence.status.get("status")
        if missing:
            if said in ("succeeded", "completed_with_failures"):
                yield _wrong(f"the verdict is {said}, and {missing} batches have no outcome")
            return
        if due and answer is None:
            yield _wrong(f"the hook has no recorded answer; the verdict is {said}: {self.evidence.status.get('message')}")
            return
        expected = "worker_error" if due and not (answer or {})["ok"] else "completed_with_failures" if failed else "succeeded"
        if said != expected:
            yield _wrong(f"the verdict is {said} ({self.evidence.status.get('message')}), and should be {expected}")

    def dead_letters(self) -> Iterator[Violation]:
        """The dead-letter queue holds every batch that failed, once, as it was; one that succeeded later only if something was lost."""
        size = self.scenario.batch_size
        copies = Counter(int(letter["batch"]) for letter in self.evidence.dead_letters)
        failed = {i for i in range(self.total) if self.records[i] and not self._succeeded(i)} if self.scenario.max_receive_count else set()
        ever_failed = {i for i in range(self.total) if any(r.outcome["outcome"] == "failed" for r in self.records[i])}
        refused = (
            {i for i in failed if any(REFUSED in r.outcome["error"] for r in self.records[i])} if self._hits(*NETWORK, "fill") else set()
        )
        for index in sorted(failed - refused - set(copies)):
            yield _wrong(f"batch {index} failed and is not in the dead-letter queue")
        for index, number in copies.items():
            if number > 1:
                yield _wrong(f"batch {index} is in the dead-letter queue {number} times")
            if index not in ever_failed and not self._hits("kill", "pause", "fill", "twice", *NETWORK):
                yield _wrong(f"batch {index} is in the dead-letter queue, and no outcome says that it failed")
        for letter in self.evidence.dead_letters:
            first = int(letter["batch"]) * size
            numbers = [item["n"] for item in letter["items"]]
            if numbers != list(range(first, min(first + size, self.scenario.items))) or not letter["reason"]:
                yield _wrong(f"the dead-letter queue has {letter}, which is not what batch {letter['batch']} was")

    def left(self) -> Iterator[Violation]:
        for queue in self.evidence.queues:
            yield Violation(LEFT, f"queue {queue} was left")
        for process in self.evidence.processes:
            yield Violation(LEFT, f"{process} was left")

    def _succeeded(self, index: int) -> bool:
        return any(r.outcome["outcome"] == "succeeded" for r in self.records[index])

    def _noted(self, event: str) -> list[Note]:
        return [note for note in self.evidence.log if note.event == event]

    def _all_handlings(self) -> Iterator[tuple[int, Handling]]:
        return ((index, handling) for index, handled in self.handlings.items() for handling in handled)

    def _hits(self, *kinds: str) -> list[Hit]:
        return [hit for hit in self.evidence.hits if hit.fault.kind in kinds and hit.at is not None]

    def _killed(self, *targets: str) -> int:
        return sum(hit.fault.target in targets for hit in self._hits("kill"))

    @property
    def _cuts(self) -> int:
        """How many requests kills can have broken at most."""
        return self._killed(*CUTTERS) * self.scenario.max_concurrency
