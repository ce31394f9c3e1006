"""The workflow object: the same bytes for 10 items and for 10,000,000, given in the job or in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import batchflow
from batchflow.settings import Settings
from batchflow.spec.model import DelimitedFiles, ItemList, Source, Submission
from bench.figures import AtMost, Figure
from bench.harness import BenchError, Plan

__all__ = ["size"]

FEW = 10
MANY = 10_000_000


def size(plan: Plan) -> Iterator[Figure]:
    """Compiling is pure, so once is enough."""
    with plan.sample_folder() as folder:
        lists = [_compiled(folder, ItemList([0] * items, batch_size=1)) for items in (MANY, FEW)]
        yield _compared("workflow object, item_list of 10,000,000 against 10", *lists)
        files = [_compiled(folder, _file(folder, items)) for items in (MANY, FEW)]
        yield _compared("workflow object, file of 10,000,000 against 10", *files)


def _file(folder: Path, items: int) -> Source:
    file = folder / "items.jsonl"
    file.write_bytes(b"0\n" * items)
    return DelimitedFiles((str(file),), batch_size=1)


def _compiled(folder: Path, source: Source) -> bytes:
    api_file = folder / "cortex.yaml"
    container = {"name": "handler", "image": "python", "command": ["python", "server.py"]}
    api_file.write_text(json.dumps([{"name": "empty", "kind": "BatchAPI", "pod": {"port": 8080, "containers": [container]}}]))
    submission = Submission("empty", 2, source, api_file=str(api_file))
    manifest: str = batchflow.compile(submission, settings=Settings.from_env({"BATCHFLOW_STORE": "s3://bucket/prefix"})).to_yaml()
    return manifest.encode()


def _compared(what: str, many: bytes, few: bytes) -> Figure:
    if len(many) == len(few) and many != few:
        raise BenchError(f"{what}: as long, but other bytes")
    return Figure(what, [len(many) / len(few)], "×", AtMost(1), f"{len(many):,} bytes against {len(few):,}")
