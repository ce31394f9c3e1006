"""Writes what each example compiles to into workflows/<example>.yaml, the golden manifests (`task workflows`).

tests/unit/test_workflows.py compares them byte for byte; a missing one fails there, so nothing writes itself.
"""

from __future__ import annotations

from pathlib import Path

from hera.workflows import Workflow

import batchflow
from batchflow.callrecords import CallRef
from batchflow.compiler import compile_call
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules
from batchflow.spec.jobdeployment import parse_job_deployment
from batchflow.spec.reader import read_document

ROOT = Path(__file__).parent.parent
JOB_ID = "69a1b2c3d4e5f607"
DEPLOYMENT_ID = "0a1b2c3d4e5f"
CALL = "1795000000000000000-89abcdef"


def examples() -> list[Path]:
    """The job file, or the job deployment, of each example."""
    return sorted((*ROOT.glob("examples/*/job.yaml"), *ROOT.glob("examples/*/deployment.yaml")))


def render(file: Path) -> str:
    """The manifest as YAML, with the settings of a fresh installation."""
    workflow = _job(file) if file.name == "job.yaml" else _call(file)
    text: str = workflow.to_yaml()
    return text


def golden(file: Path) -> Path:
    """Where its manifest is kept."""
    return ROOT / "workflows" / f"{file.parent.name}.yaml"


def _job(file: Path) -> Workflow:
    return batchflow.compile(batchflow.load(file), job_id=JOB_ID, settings=Settings())


def _call(file: Path) -> Workflow:
    rules = Rules()
    deployment = parse_job_deployment(read_document(file), rules)
    compute = rules.find(deployment.compute)
    assert compute is not None  # the rules were applied
    ref = CallRef(deployment.name, DEPLOYMENT_ID, CALL)
    return compile_call(deployment, ref, compute, Settings(), deadline_s=deployment.scaling.deadline_s)


if __name__ == "__main__":
    for file in examples():
        golden(file).write_text(render(file), encoding="utf-8")
        print(golden(file).relative_to(ROOT))
