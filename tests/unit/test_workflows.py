"""The golden manifests in workflows/ are what the examples compile to, byte for byte."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RENDER = runpy.run_path(str(ROOT / "workflows" / "render.py"))


@pytest.mark.parametrize("job_file", RENDER["examples"](), ids=lambda path: path.parent.name)
def test_golden(job_file: Path) -> None:
    golden = RENDER["golden"](job_file)
    assert golden.is_file(), "missing: write it with `task workflows`, and look at it"
    assert RENDER["render"](job_file) == golden.read_text(encoding="utf-8"), "changed: `task workflows`, and look at the difference"


def test_every_golden_belongs_to_an_example() -> None:
    assert {path.stem for path in (ROOT / "workflows").glob("*.yaml")} == {path.parent.name for path in RENDER["examples"]()}
