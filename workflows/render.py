"""Writes what each example compiles to into workflows/<example>.yaml, the golden manifests (`task workflows`).

tests/unit/test_workflows.py compares them byte for byte; a missing one fails there, so nothing writes itself.
"""

from __future__ import annotations

from pathlib import Path

import batchflow
from batchflow.settings import Settings

ROOT = Path(__file__).parent.parent
JOB_ID = "69a1b2c3d4e5f607"


def examples() -> list[Path]:
    """The job files of all examples."""
    return sorted(ROOT.glob("examples/*/job.yaml"))


def render(job_file: Path) -> str:
    """The manifest as YAML, with the settings of a fresh installation."""
    workflow = batchflow.compile(batchflow.load(job_file), job_id=JOB_ID, settings=Settings())
    text: str = workflow.to_yaml()
    return text


def golden(job_file: Path) -> Path:
    """Where its manifest is kept."""
    return ROOT / "workflows" / f"{job_file.parent.name}.yaml"


if __name__ == "__main__":
    for file in examples():
        golden(file).write_text(render(file), encoding="utf-8")
        print(golden(file).relative_to(ROOT))
