"""The fault suite's short version: seeds that were chosen once, and some that nobody has seen before. The long one: `task faults`.

A run that fails names its seed; `python -m tests.faults --on … --seeds SEED:1` repeats its choices (not the machine's timing).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults import results
from tests.faults.__main__ import run_seeds
from tests.faults.local import runner
from tests.faults.scenario import Scenario
from tests.faults.services import Amazon

# Together they have every target and nearly every kind of fault, every kind of hook, one to three workers.
FIXED = {"sqlite": (46, 114, 110, 22, 30, 37), "sqs": (59, 116, 105, 60, 125)}
RANDOM = int(os.environ.get("BATCHFLOW_FAULTS_SEED") or time.time_ns() % 1_000_000)
RANDOM_RUNS = 2
AT_ONCE = 4


@pytest.mark.parametrize("on", ["sqlite", "sqs"])
def test_nothing_is_lost_and_nothing_untrue_whatever_fails(
    on: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    services = Amazon(request.getfixturevalue("moto"), request.getfixturevalue("elasticmq")) if on == "sqs" else None
    seeds = [*FIXED[on], *range(RANDOM, RANDOM + RANDOM_RUNS)]
    file = tmp_path / "results.jsonl"
    with capsys.disabled():
        print(f"\nBATCHFLOW_FAULTS_SEED={RANDOM}", flush=True)
        complete = run_seeds(runner(services), on, seeds, at_once=AT_ONCE, file=file, folder=tmp_path / "runs")
    found = results.read(file)
    assert complete and not results.failed(found), results.report(found)
    assert sorted(result.seed for result in found) == sorted(seeds)
    hits = [what for result in found for _, _, what in result.hits]
    assert sum(what != "" for what in hits) > len(hits) / 2, "most faults missed: the moments no longer fit the steps"


def test_a_seed_alone_decides_the_scenario() -> None:
    for on in ("sqlite", "sqs", "cluster"):
        assert [Scenario.of(seed, on) for seed in range(50)] == [Scenario.of(seed, on) for seed in range(50)]
        assert len({str(Scenario.of(seed, on)) for seed in range(50)}) == 50
