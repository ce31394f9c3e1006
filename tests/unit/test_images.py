"""What the step image is built from, and which steps it runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import batchflow
from batchflow import contract
from batchflow.cli.steps import run_step

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "templates" / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = (DOCKER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("dependency", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["serve"]])
def test_every_dependency_is_pinned_to_a_version_that_it_allows(dependency: str) -> None:
    required = Requirement(dependency)
    assert required.specifier.contains(pins()[canonicalize_name(required.name)])


def test_versions_agree() -> None:
    assert PROJECT["version"] == batchflow.__version__
    assert batchflow.__version__.startswith(f"{contract.VERSION}.")
    assert f"batchflow-argo=={batchflow.__version__}" in (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def test_the_images_users_are_numbers_so_that_kubernetes_sees_they_are_not_root() -> None:
    stages = re.split(r"^FROM .* AS ", (DOCKER / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)[1:]
    users = {stage.split()[0]: re.findall(r"^USER (.*)$", stage, re.M) for stage in stages}
    assert users == {"packages": [], "step": ["1000:1000"], "handler": ["1000:1000"]}


STEP = {"BATCHFLOW_API": "words", "BATCHFLOW_JOB": "69a1b2c3d4e5f607", "BATCHFLOW_RUN": "1", "BATCHFLOW_POD": "pod"}


@pytest.mark.parametrize("step", ["prepare", "enqueue", "work", "finalize", "cleanup", "courier"])
def test_a_workflow_of_another_minor_version_is_refused(
    step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**STEP, contract.ENV_VERSION: "9.9"}.items():
        monkeypatch.setenv(name, value)
    assert run_step(step) == contract.EXIT_BAD_INPUT
    expected = f"BATCHFLOW_VERSION: the workflow was compiled by batchflow 9.9, this image holds {contract.VERSION}; "
    assert expected in capsys.readouterr().err
