"""The results file: a JSON line for each run, appended when it is complete; and the sums over all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.checker import HUNG, LEFT, LOST, WRONG, Findings
from tests.faults.evidence import Evidence

__all__ = ["RunResult", "failed", "read", "report", "result_of"]


@dataclass(frozen=True)
class RunResult:
    """A line. `hits`: kind and target of each fault, with what it did ("" if it missed); `violations`: kind and text of each."""

    on: str
    seed: int
    story: str
    status: str
    batches: int
    handled: int
    seconds: float
    hits: list[tuple[str, str, str]]
    repeated: dict[str, int]
    violations: list[tuple[str, str]]

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def result_of(evidence: Evidence, findings: Findings) -> RunResult:
    scenario = evidence.scenario
    return RunResult(
        on=scenario.on,
        seed=scenario.seed,
        story=str(scenario),
        status=str(evidence.status.get("status", "")),
        batches=len(scenario.batches),
        handled=sum(note.event == "began" for note in evidence.log),
        seconds=round(evidence.seconds, 1),
        hits=[(hit.fault.kind, hit.fault.target, (hit.what or "hit") if hit.at is not None else "") for hit in evidence.hits],
        repeated=dict(findings.repeated),
        violations=[(violation.kind, violation.text) for violation in findings.violations],
    )


def read(file: Path) -> list[RunResult]:
    """What is in the file; one whose last line was cut off has that run to do again."""
    if not file.exists():
        return []
    lines = file.read_text().split("\n")[:-1]
    return [RunResult(**_tuples(json.loads(line))) for line in lines]


def _tuples(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "hits": [tuple(hit) for hit in document["hits"]], "violations": [tuple(v) for v in document["violations"]]}


def failed(results: Iterable[RunResult]) -> list[RunResult]:
    return [result for result in results if result.violations]


def report(results: Iterable[RunResult]) -> str:
    """The sums, a line each, and every violation."""
    runs = list(results)
    kills: Counter[str] = Counter()
    others: Counter[str] = Counter()
    missed = 0
    for kind, target, what in (hit for run in runs for hit in run.hits):
        if not what:
            missed += 1
        elif kind == "kill":
            kills[target] += 1
        else:
            others[f"{kind} {target}"] += 1
    repeated = sum((Counter(run.repeated) for run in runs), Counter[str]())
    kinds = Counter(kind for run in runs for kind, _ in run.violations)
    statuses = Counter(run.status for run in runs)
    lines = [
        f"runs        {len(runs)}: {_counted(statuses)}",
        f"kills       {kills.total()}: {_counted(kills)}",
        f"other       {others.total()}: {_counted(others)}",
        f"missed      {missed} faults found nothing to hit",
        f"batches     {sum(run.batches for run in runs)}, handled {sum(run.handled for run in runs)} times",
        f"repeated    {repeated.total()}: {_counted(repeated)}",
        f"lost        {kinds[LOST]}",
        f"wrong       {kinds[WRONG]}",
        f"hangs       {kinds[HUNG]}",
        f"left        {kinds[LEFT]}",
    ]
    for run in failed(runs):
        lines += [f"{run.on} {run.seed} {kind}: {text}" for kind, text in run.violations]
    return "\n".join(lines)


def _counted(numbers: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.most_common())
