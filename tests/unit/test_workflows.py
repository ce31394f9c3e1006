"""The golden manifests in workflows/ are what the examples compile to, byte for byte."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

from batchflow.engines.local.manifest import parse

ROOT = Path(__file__).parents[2]
RENDER = runpy.run_path(str(ROOT / "workflows" / "render.py"))


@pytest.mark.parametrize("example", RENDER["examples"](), ids=lambda path: path.parent.name)
def test_golden(example: Path) -> None:
    golden = RENDER["golden"](example)
    assert golden.is_file(), "missing: write it with `task workflows`, and look at it"
    assert RENDER["render"](example) == golden.read_text(encoding="utf-8"), "changed: `task workflows`, and look at the difference"


@pytest.mark.parametrize("example", RENDER["examples"](), ids=lambda path: path.parent.name)
def test_the_local_engine_executes_every_field_of_a_golden(example: Path) -> None:
    job = parse(yaml.safe_load(RENDER["golden"](example).read_text(encoding="utf-8")))
    assert [step.name for group in job.groups for step in group] == (
        ["enqueue", "work", "finalize"] if example.name == "job.yaml" else ["replica"]
    )


def test_every_golden_belongs_to_an_example() -> None:
    assert {path.stem for path in (ROOT / "workflows").glob("*.yaml")} == {path.parent.name for path in RENDER["examples"]()}
