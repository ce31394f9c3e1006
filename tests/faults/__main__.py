"""`python -m tests.faults`: runs seeds that are not in the results file yet, adds them to it, prints the sums over all that is in it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import results
from tests.faults.checker import check
from tests.faults.drivers import DRIVERS, Driver
from tests.faults.results import RunResult
from tests.faults.scenario import Scenario

RESULTS = Path(".faults")


def run_one(driver: Driver, scenario: Scenario, folder: Path) -> RunResult:
    """Run it in `folder`, which stays only if something was wrong."""
    folder.mkdir(parents=True)
    evidence = driver(scenario, folder)
    result = results.result_of(evidence, check(evidence))
    if not result.violations:
        shutil.rmtree(folder)
    return result


def run_seeds(driver: Driver, on: str, seeds: Iterable[int], *, at_once: int, file: Path, folder: Path) -> bool:
    """Add a line to the file for each seed; returns whether all of them could be run."""
    writing = threading.Lock()

    def run(seed: int) -> bool:
        scenario = Scenario.of(seed, on)
        try:
            result = run_one(driver, scenario, folder / f"{on}-{seed}")
        except Exception:  # of the suite itself: the seed is not done
            print(f"{scenario}\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            return False
        with writing, file.open("a") as lines:
            lines.write(result.line())
            print(f"{'FAULTY' if result.violations else 'ok':6} {result.seconds:5.1f} s {result.status:24} {result.story}", flush=True)
            for kind, text in result.violations:
                print(f"       {kind}: {text}", flush=True)
        return True

    with ThreadPoolExecutor(at_once) as pool:
        return all(list(pool.map(run, seeds)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--on", choices=DRIVERS, default="sqlite", help="sqlite and sqs: the local engine")
    parser.add_argument("--seeds", default="0:20", metavar="FIRST:COUNT")
    parser.add_argument("--at-once", type=int, default=4, metavar="N")
    parser.add_argument("--results", type=Path, metavar="FILE", help=f"default: {RESULTS}/<on>.jsonl")
    parser.add_argument("--folder", type=Path, help="where runs are; those with something wrong stay (default: a new one)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    first, _, count = arguments.seeds.partition(":")
    file = arguments.results or RESULTS / f"{arguments.on}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {result.seed for result in results.read(file)}
    seeds = [seed for seed in range(int(first), int(first) + int(count or 1)) if seed not in done]
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    complete = True
    if seeds:
        print(f"{len(seeds)} runs; those with something wrong stay in {folder}", flush=True)
        with DRIVERS[arguments.on](arguments.on) as driver:
            complete = run_seeds(driver, arguments.on, seeds, at_once=arguments.at_once, file=file, folder=folder)
    found = results.read(file)
    print(results.report(found))
    return 0 if complete and not results.failed(found) else 1


if __name__ == "__main__":
    sys.exit(main())
