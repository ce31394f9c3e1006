"""python -m bench [--quick] [NAMES…]: measure, print one table; exit code 1 if a reach was missed. What is measured how: README.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.argo import argo
from bench.enqueue import enqueue
from bench.gateway import gateway
from bench.harness import BenchError, Figure, Plan, note
from bench.memory import memory
from bench.proxy_cost import proxy
from bench.size import size
from bench.start import local, start
from bench.work import work

FAMILIES: Mapping[str, Callable[[Plan], Iterator[Figure]]] = {
    "proxy": proxy,
    "enqueue": enqueue,
    "work": work,
    "memory": memory,
    "local": local,
    "start": start,
    "size": size,
    "gateway": gateway,
    "argo": argo,
}
LEFT_OUT = ("argo",)  # unless it is named: it needs a cluster, and takes ten minutes more
ROUNDS = 7
QUICK_ROUNDS = 2
QUICK_SCALE = 0.2
HEADER = ("what", "median", "spread", "reach", "", "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAMES", help=f"of {', '.join(FAMILIES)}; all but {', '.join(LEFT_OUT)} by default")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: two rounds of a fifth of the messages; its figures mean nothing"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FAMILIES):
        parser.error(f"no figures are named {', '.join(sorted(unknown))}")
    for name in [name for name in os.environ if name.startswith(("AWS_", "BATCHFLOW_")) and name != "BATCHFLOW_BENCH_SQS"]:
        del os.environ[name]  # what a process sees is what the bench says
    figures, failed = measured(arguments.names or [name for name in FAMILIES if name not in LEFT_OUT], quick=arguments.quick)
    print_table([HEADER, *map(row, figures)])
    return int(failed or any(figure.missed for figure in figures))


def measured(names: list[str], *, quick: bool) -> tuple[list[Figure], bool]:
    """The figures of all families, and whether one of these could not be measured to its end."""
    figures, failed = [], False
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plan = Plan(QUICK_ROUNDS, QUICK_SCALE, Path(folder)) if quick else Plan(ROUNDS, 1, Path(folder))
        for name in names:
            note(f"{name}")
            try:
                for figure in FAMILIES[name](plan):
                    figures.append(figure)
                    note("  " + "  ".join(row(figure)))
            except BenchError as error:
                failed = True
                note(f"  {name}: {error}")
    note(f"took {time.monotonic() - began:.0f} s")
    return figures, failed


def row(figure: Figure) -> tuple[str, ...]:
    """The cells of a line of the table."""
    low, high = min(figure.values), max(figure.values)
    met = "" if figure.reach is None else "missed" if figure.missed else "met"
    reach = "" if figure.reach is None else str(figure.reach)
    return figure.what, f"{figure.median:.4g} {figure.unit}", f"{low:.4g}–{high:.4g}", reach, met, figure.sides


def print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
