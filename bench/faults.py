"""Batches lost: what the fault suite (`python -m tests.faults`) has noted of its runs so far; nothing is run here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Absent, AtMost, Figure, Row
from bench.harness import ROOT, Plan

__all__ = ["faults"]

RESULTS = ROOT / ".faults"
NONE_LOST = AtMost(0)


def faults(plan: Plan) -> Iterator[Row]:
    """A line for each results file, which is named after what it ran on."""
    files = sorted(RESULTS.glob("*.jsonl"))
    for file in files:
        yield _of_file(file)
    if not files:
        yield Absent("batches lost under random kills", "no results yet: task faults writes them", NONE_LOST)


def _of_file(file: Path) -> Figure:
    runs = [json.loads(line) for line in file.read_text().split("\n")[:-1]]  # a last line may have been cut off
    kills = sum(kind == "kill" and bool(what) for run in runs for kind, _, what in run["hits"])
    violations = Counter(kind for run in runs for kind, _ in run["violations"])
    repeated = sum(sum(run["repeated"].values()) for run in runs)
    batches = sum(run["batches"] for run in runs)
    sides = f"{len(runs)} runs, {kills} kills, {batches:,} batches, {repeated} repeated"
    others = "".join(f", {violations[kind]} {kind}" for kind in ("wrong", "hung", "left"))
    return Figure(f"batches lost, {file.stem}", [violations["lost"]], "", NONE_LOST, sides + others)
