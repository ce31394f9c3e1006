"""Peak memory: the enqueuer's with a hundred times the lines, plain and gzip, the dequeuer's with ten times the batches; on SQLite."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from batchflow.queues.protocol import Depth
from batchflow.spec.model import DelimitedFiles
from bench.figures import AtMost, Figure, ratios
from bench.harness import Plan, interleaved, python, run
from bench.items import write_items
from bench.places import SQLITE
from bench.services import handler, new_job

__all__ = ["memory"]

FEW_LINES = 10_000
MANY_LINES = 1_000_000
BATCH_SIZE = 10  # so that 10,000 lines fill every buffer on the way too
FEW_BATCHES = 2_000  # so many outcomes are unwritten at most
MANY_BATCHES = 20_000
SAMPLE_S = 300
MB = 1_000_000


def memory(plan: Plan) -> Iterator[Figure]:
    """The enqueuer's, plain and gzip, then the dequeuer's."""
    yield from _of_enqueuer(plan, "plain", "")
    yield from _of_enqueuer(plan, "gzip", ".gz")
    few, many = FEW_BATCHES, max(FEW_BATCHES, plan.count(MANY_BATCHES))
    peaks = interleaved({"few": lambda: _dequeuer_peak(plan, few), "many": lambda: _dequeuer_peak(plan, many)}, plan.rounds)
    yield from _figures("dequeuer", f"{many:,} batches", peaks["many"], f"{few:,}", peaks["few"])


def _of_enqueuer(plan: Plan, kind: str, suffix: str) -> Iterator[Figure]:
    few, many = FEW_LINES, max(FEW_LINES, plan.count(MANY_LINES))
    with plan.sample_folder() as folder:
        few_file, many_file = folder / f"few.jsonl{suffix}", folder / f"many.jsonl{suffix}"
        write_items(few_file, few)
        write_items(many_file, many)
        sides = {"few": lambda: _enqueuer_peak(plan, few_file, few), "many": lambda: _enqueuer_peak(plan, many_file, many)}
        peaks = interleaved(sides, plan.rounds)
    yield from _figures(f"enqueuer, {kind}", f"{many:,} lines", peaks["many"], f"{few:,}", peaks["few"])


def _figures(whose: str, many: str, many_peaks: Sequence[float], few: str, few_peaks: Sequence[float]) -> Iterator[Figure]:
    medians = [statistics.median(peaks) / MB for peaks in (many_peaks, few_peaks)]
    sides = f"{medians[0]:.1f} MB against {medians[1]:.1f} MB"
    yield Figure(f"{whose}: {many} against {few}", ratios(many_peaks, few_peaks), "×", AtMost(1.2), sides)
    yield Figure(f"{whose}: {many}", [peak / MB for peak in many_peaks], "MB", AtMost(150))


def _enqueuer_peak(plan: Plan, file: Path, lines: int) -> float:
    """Bytes."""
    with new_job(plan, SQLITE) as job:
        job.submit(DelimitedFiles((str(file),), BATCH_SIZE))
        ended = run(python("bench.ours", "enqueue", job.ref.job_id), env=job.env, timeout_s=SAMPLE_S)
        count = -(-lines // BATCH_SIZE)
        ended.span(count)
        job.take_queue(ended.report["url"], Depth(count, 0))
        return float(ended.report["peak_bytes"])


def _dequeuer_peak(plan: Plan, batches: int) -> float:
    """Bytes."""
    with new_job(plan, SQLITE) as job, closing(job.create_queue()) as queue, handler() as instant:
        job.fill(queue, batches)
        command = python("bench.ours", "work", job.ref.job_id, queue.url, str(instant.port), str(batches), "1")
        ended = run(command, env=job.env, timeout_s=SAMPLE_S)
        ended.span(batches)
        job.take_queue(queue.url, Depth(0, 0))
        return float(ended.report["peak_bytes"])
