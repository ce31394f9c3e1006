"""The runtime can't import the contract, so its names are compared here; and it must stay plain standard library for Python 3.8."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.runtime import settings
from batchflow.runtime.settings import Settings

RUNTIME = Path(settings.__file__).parent
SOURCES = sorted(RUNTIME.rglob("*.py"))


def test_names_and_defaults_are_the_contracts() -> None:
    assert settings.HEADER_JOB == contract.HEADER_JOB
    assert settings.HEADER_BATCH_ID == contract.HEADER_BATCH_ID
    assert settings.HEADER_BATCH_INDEX == contract.HEADER_BATCH_INDEX
    assert settings.HEADER_ATTEMPT == contract.HEADER_ATTEMPT
    assert settings.HOOK_PATH == contract.HOOK_PATH
    names = [contract.ENV_PROJECT, contract.ENV_PYTHON_PATH, contract.ENV_API_SPEC, contract.ENV_JOB_SPEC, contract.ENV_VENVS]
    told = Settings.from_env({name: f"/{name}" for name in names} | {contract.ENV_PORT: "1", contract.ENV_LOG_LEVEL: "ERROR"})
    assert [told.project, told.python_path, told.api_spec, told.job_spec, told.venvs] == [f"/{name}" for name in names]
    assert (told.port, told.log_level) == (1, "ERROR")
    in_a_pod = Settings.from_env({})
    assert [in_a_pod.project, in_a_pod.api_spec, in_a_pod.job_spec, in_a_pod.venvs, in_a_pod.failures, in_a_pod.port] == [
        contract.PROJECT_DIR,
        contract.API_SPEC,
        contract.JOB_SPEC,
        contract.VENV_DIR,
        f"{contract.MNT_DIR}/{contract.FAILURES_FILE}",
        contract.DEFAULT_PORT,
    ]
    assert Settings.from_env({contract.ENV_MNT: "/m"}).failures == f"/m/{contract.FAILURES_FILE}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(RUNTIME)))
def test_it_is_python_3_8_and_imports_only_the_standard_library_and_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [str(node.module)]
        for module in modules:
            assert module.partition(".")[0] in sys.stdlib_module_names, f"{path}:{node.lineno}: {module}"
