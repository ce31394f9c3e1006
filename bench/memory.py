"""The enqueuer's peak memory: 1,000,000 lines against 10,000 of a local JSON-lines file of 198 bytes a line, into SQLite."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from batchflow.queues.protocol import Depth
from bench.harness import AtMost, Figure, Plan, interleaved, python, ratios, run
from bench.services import new_job, write_items

__all__ = ["memory"]

FEW_LINES = 10_000
MANY_LINES = 1_000_000
BATCH_SIZE = 10  # so that 10,000 lines fill every buffer on the way too
SAMPLE_S = 300
MB = 1_000_000


def memory(plan: Plan) -> Iterator[Figure]:
    """Plain and gzip."""
    yield from _of_kind(plan, "plain", "")
    yield from _of_kind(plan, "gzip", ".gz")


def _of_kind(plan: Plan, kind: str, suffix: str) -> Iterator[Figure]:
    few, many = FEW_LINES, max(FEW_LINES, plan.count(MANY_LINES))
    with plan.sample_folder() as folder:
        few_file, many_file = folder / f"few.jsonl{suffix}", folder / f"many.jsonl{suffix}"
        write_items(few_file, few)
        write_items(many_file, many)
        peaks = interleaved({"few": lambda: _peak(plan, few_file, few), "many": lambda: _peak(plan, many_file, many)}, plan.rounds)
    medians = [statistics.median(peaks[side]) / MB for side in ("many", "few")]
    sides = f"{medians[0]:.1f} MB with {many:,} lines against {medians[1]:.1f} MB with {few:,}"
    yield Figure(f"enqueuer's peak memory, {kind}: many lines against few", ratios(peaks["many"], peaks["few"]), "×", AtMost(1.2), sides)
    yield Figure(f"enqueuer's peak memory, {kind}", [peak / MB for peak in peaks["many"]], "MB", AtMost(150))


def _peak(plan: Plan, file: Path, lines: int) -> float:
    """Bytes."""
    with new_job(plan, None) as job:
        job.submit(file, BATCH_SIZE)
        ended = run(python("bench.ours", "enqueue", job.ref.job_id), env=job.env, timeout_s=SAMPLE_S)
        count = -(-lines // BATCH_SIZE)
        ended.span(count)
        job.take_queue(ended.report["url"], Depth(count, 0))
        return float(ended.report["peak_bytes"])
