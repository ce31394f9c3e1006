"""python -m bench [--quick] [--json FILE] [NAMES…]: measure, print one table; exit code 1 if a reach was missed. How: README.md.

python -m bench profile [enqueue] [enqueue-s3] [work]: where the processor's time goes on our side.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.argo import argo
from bench.enqueue import enqueue, enqueue_s3
from bench.faults import faults
from bench.figures import Absent, AtMost, Row, json_lines, table
from bench.gateway import gateway
from bench.growth import growth
from bench.harness import Plan, note
from bench.memory import memory
from bench.places import NO_SQS, find_sqs
from bench.profile import PROFILED, profile
from bench.proxy_cost import proxy
from bench.size import size
from bench.start import local, start
from bench.status import status
from bench.work import work

FAMILIES: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    "proxy": proxy,
    "enqueue": enqueue,
    "enqueue-s3": enqueue_s3,
    "work": work,
    "memory": memory,
    "local": local,
    "start": start,
    "size": size,
    "status": status,
    "gateway": gateway,
    "growth": growth,
    "faults": faults,
    "argo": argo,
}
ON_SQS = ("enqueue", "enqueue-s3", "work", "growth")
NAMED_ONLY = {"argo": Absent("a job on Argo against a workflow that does nothing", "needs a cluster: python -m bench argo", AtMost(1.3))}
ROUNDS = 7
QUICK_ROUNDS = 1
QUICK_SCALE = 0.02


def main() -> int:
    arguments = _arguments()
    for name in [name for name in os.environ if name.startswith(("AWS_", "BATCHFLOW_")) and name != "BATCHFLOW_BENCH_SQS"]:
        del os.environ[name]  # what a process sees is what the bench says
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plan = Plan(QUICK_ROUNDS, QUICK_SCALE, Path(folder)) if arguments.quick else Plan(ROUNDS, 1, Path(folder))
        if arguments.names[:1] == ["profile"]:
            profile(plan, arguments.names[1:] or list(PROFILED))
            return 0
        rows, failed = measured(plan, arguments.names or list(FAMILIES), named=bool(arguments.names))
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json_lines(rows), encoding="utf-8")
    return int(failed or any(row.missed for _, row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAMES", help=f"of {', '.join(FAMILIES)}; all but {', '.join(NAMED_ONLY)} by default")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round of a fiftieth; its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too, a JSON object a line")
    arguments = parser.parse_args()
    known = {"profile", *PROFILED} if arguments.names[:1] == ["profile"] else set(FAMILIES)
    if unknown := set(arguments.names) - known:
        parser.error(f"no figures are named {', '.join(sorted(unknown))}")
    return arguments


def measured(plan: Plan, names: list[str], *, named: bool) -> tuple[list[tuple[str, Row]], bool]:
    """The rows of all families, each with its family's name; and whether one could not be measured to its end."""
    rows: list[tuple[str, Row]] = []
    failed = False
    began = time.monotonic()
    for name in names:
        if name in NAMED_ONLY and not named:
            rows.append((name, NAMED_ONLY[name]))
            continue
        note(name)
        family_began = time.monotonic()
        try:
            for row in FAMILIES[name](plan):
                rows.append((name, row))
                note("  " + "  ".join(row.cells))
            if name in ON_SQS and find_sqs() is None:
                rows.append((name, Absent("on SQS", NO_SQS)))
        except Exception as error:  # mostly a BenchError; whatever it is, it must not cost the other families' figures
            failed = True
            rows.append((name, Absent("what follows", f"failed: {error!r}")))
            note(f"  {name}: {error!r}")
        note(f"  {name} took {time.monotonic() - family_began:.0f} s")
    note(f"took {time.monotonic() - began:.0f} s")
    return rows, failed


if __name__ == "__main__":
    sys.exit(main())
