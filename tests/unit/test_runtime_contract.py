"""The runtime can't import the contract, so its names are compared here; and it must stay plain standard library for Python 3.8."""

from __future__ import annotations

import ast
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from batchflow import contract
from batchflow.runtime import generations, settings
from batchflow.runtime.dependencies import DEFAULT_FILES
from batchflow.runtime.serving import SINGLE_MODEL
from batchflow.runtime.settings import Settings
from batchflow.spec import handler
from batchflow.spec.hook import defines_hook
from batchflow.spec.model import Dependencies

RUNTIME = Path(settings.__file__).parent
SOURCES = sorted(RUNTIME.rglob("*.py"))


def test_names_and_defaults_are_the_contracts() -> None:
    assert settings.HEADER_JOB == contract.HEADER_JOB
    assert settings.HEADER_BATCH_ID == contract.HEADER_BATCH_ID
    assert settings.HEADER_BATCH_INDEX == contract.HEADER_BATCH_INDEX
    assert settings.HEADER_ATTEMPT == contract.HEADER_ATTEMPT
    assert settings.HOOK_PATH == contract.HOOK_PATH
    names = [contract.ENV_PROJECT, contract.ENV_PYTHON_PATH, contract.ENV_API_SPEC, contract.ENV_JOB_SPEC, contract.ENV_VENVS]
    numbers = {contract.ENV_PORT: "1", contract.ENV_SERVING_PORT: "2"}
    others = {contract.ENV_LOG_LEVEL: "ERROR", contract.ENV_MODELS: "/models", "HOST_IP": "10.0.0.1"}
    told = Settings.from_env({name: f"/{name}" for name in names} | numbers | others)
    assert [told.project, told.python_path, told.api_spec, told.job_spec, told.venvs] == [f"/{name}" for name in names]
    assert (told.port, told.serving_port, told.log_level) == (1, 2, "ERROR")
    assert (told.models, told.metrics_host) == (f"/models/{contract.MODELS_FILE}", "10.0.0.1")
    in_a_pod = Settings.from_env({})
    assert [in_a_pod.project, in_a_pod.api_spec, in_a_pod.job_spec, in_a_pod.venvs, in_a_pod.failures, in_a_pod.port] == [
        contract.PROJECT_DIR,
        contract.API_SPEC,
        contract.JOB_SPEC,
        contract.VENV_DIR,
        f"{contract.MNT_DIR}/{contract.FAILURES_FILE}",
        contract.DEFAULT_PORT,
    ]
    assert in_a_pod.models == f"{contract.MODEL_DIR}/{contract.MODELS_FILE}"
    assert (in_a_pod.serving_port, in_a_pod.metrics_host, in_a_pod.python_path) == (contract.SERVING_PORT, "127.0.0.1", in_a_pod.project)
    assert Settings.from_env({contract.ENV_MNT: "/m"}).failures == f"/m/{contract.FAILURES_FILE}"


def test_what_the_runtime_repeats_of_the_spec_is_the_same_there() -> None:
    assert asdict(Dependencies()) == DEFAULT_FILES
    assert handler.SINGLE_MODEL == SINGLE_MODEL
    for name in generations.CLASS_NAMES:
        assert not defines_hook(f"class {name}: pass".encode(), "h.py")
        assert defines_hook(f"class {name}:\n def {generations.HOOK}(self): pass".encode(), "h.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(RUNTIME)))
def test_it_is_python_3_8_and_imports_only_the_standard_library_and_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [str(node.module)]
        for module in modules:
            assert module.partition(".")[0] in sys.stdlib_module_names, f"{path}:{node.lineno}: {module}"
