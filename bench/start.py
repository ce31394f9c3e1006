"""What a person waits for: `--help`, `compile`, and a whole local run of empty batches, beyond the start of the handler."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import AtMost, Figure, ratios
from bench.harness import ROOT, Plan, interleaved, python, run
from bench.services import handler

__all__ = ["local", "start"]

JOB_FILE = ROOT / "examples" / "digits" / "job.yaml"
LOCAL_BATCHES = 1_000
COMMAND_S = 60
LOCAL_S = 180


def start(plan: Plan) -> Iterator[Figure]:
    """`--help` and `compile`, each in seconds and as a multiple of an empty Python program."""
    yield from _command(plan, "batchflow --help", ["--help"], 0.3)
    yield from _command(plan, "batchflow compile digits", ["compile", str(JOB_FILE)], 2)


def _command(plan: Plan, what: str, arguments: list[str], most_s: float) -> Iterator[Figure]:
    took = interleaved(
        {"ours": lambda: _took_s(batchflow(*arguments)), "python": lambda: _took_s([sys.executable, "-c", "pass"])}, plan.rounds
    )
    yield Figure(what, took["ours"], "s", AtMost(most_s))
    sides = f"{statistics.median(took['ours']):.3f} s against {statistics.median(took['python']):.3f} s"
    yield Figure(f"{what}: python -c pass", ratios(took["ours"], took["python"]), "×", None, sides)


def batchflow(*arguments: str) -> list[str]:
    """The command as it is installed, or as a module."""
    script = Path(sys.executable).with_name("batchflow")
    return [str(script), *arguments] if script.exists() else python("batchflow", *arguments)


def _took_s(command: list[str]) -> float:
    ended = run(command, timeout_s=COMMAND_S, reports=False)
    return ended.at - ended.began


def local(plan: Plan) -> Iterator[Figure]:
    """`submit --local --watch`, less the start of the instant handler: once for the workers, which start at a time, once for finalize."""
    took = interleaved({"run": lambda: _local_run_s(plan), "handler": _handler_start_s}, plan.rounds)
    beyond = [run_s - 2 * handler_s for run_s, handler_s in zip(took["run"], took["handler"], strict=True)]
    sides = f"{statistics.median(took['run']):.2f} s in all, less twice {statistics.median(took['handler']):.3f} s"
    yield Figure("local run, 1,000 empty batches, 2 workers", beyond, "s", AtMost(5), sides)


def _local_run_s(plan: Plan) -> float:
    with plan.sample_folder() as folder:
        container = {"name": "handler", "image": "python", "command": [sys.executable, str(ROOT / "bench" / "instant.py")]}
        api = {"name": "empty", "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}
        (folder / "cortex.yaml").write_text(json.dumps([api]))
        items = {"items": [0] * LOCAL_BATCHES, "batch_size": 1}
        (folder / "job.yaml").write_text(json.dumps({"api": {"file": "cortex.yaml", "name": "empty"}, "workers": 2, "item_list": items}))
        env = {"BATCHFLOW_STORE": str(folder / "store")}
        ended = run(batchflow("submit", "job.yaml", "--local", "--watch"), env=env, cwd=folder, timeout_s=LOCAL_S, reports=False)
        return ended.at - ended.began


def _handler_start_s() -> float:
    """From the start of its process until it listens."""
    began = time.monotonic()
    with handler():
        return time.monotonic() - began
