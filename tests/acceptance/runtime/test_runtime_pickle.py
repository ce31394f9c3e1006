"""A class in a `.pickle` file, as `dill` writes it. dill comes from the package index, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchflow.runtime import virtualenv
from batchflow.runtime.installer import Installer

PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
API = {"handler": {"type": "python", "path": "model/h.pickle"}}
REQUIREMENTS = {"requirements.txt": "dill==0.3.8\n"}
CLASS = """
SUFFIX = "!"
class Anything:
    def __init__(self, config): self.greeting = config["greeting"]
    def handle_batch(self, payload): print([f"{self.greeting} {item}{SUFFIX}" for item in payload])
    def on_job_complete(self): print("done")
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an environment with dill, which the workers of these tests use."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def dump(environments: Path, tmp_path: Path) -> Callable[[str, str], bytes]:
    """Pickles what an expression of some code gives, in a process that has dill."""

    def dumped(code: str, expression: str) -> bytes:
        (tmp_path / "requirements.txt").write_text(REQUIREMENTS["requirements.txt"])
        folder = virtualenv.ensure(
            tmp_path / "requirements.txt", environments, Installer(tmp_path, {**os.environ}, quiet=True), sys.executable
        )
        script = f"{code}\nimport dill, sys\nsys.stdout.buffer.write(dill.dumps({expression}, recurse=True))\n"
        return subprocess.run([f"{folder}/bin/python3", "-c", script], stdout=subprocess.PIPE, check=True).stdout

    return dumped


def start(worker: Any, environments: Path, pickle: bytes, **files: str) -> None:
    worker.environ["BATCHFLOW_VENV_DIR"] = str(environments)
    worker.prepare({"model/h.pickle": pickle, **REQUIREMENTS, **files}, api=API, config={"greeting": "hello"})
    worker.launch(**PIP)
    worker.wait_until_it_listens()


def test_a_pickled_class_is_constructed_and_called(worker: Any, environments: Path, dump: Callable[[str, str], bytes]) -> None:
    start(worker, environments, dump(CLASS, "Anything"))
    assert worker.post(["you"]) == (200, "{}")
    assert worker.complete() == (200, "{}")
    assert worker.output() == "[batch 12] ['hello you!']\ndone\n"


@pytest.mark.parametrize(
    ("code", "expression", "reason"),
    [
        (CLASS, "Anything({'greeting': 'hi'})", "model/h.pickle: holds an object of type Anything; pickle the class itself"),
        (CLASS.replace("payload)", "items)"), "Anything", '"items" is not a supported argument'),
        ("import pathlib", "pathlib.Path", "model/h.pickle: class Path: "),
    ],
)
def test_what_is_no_such_class(
    worker: Any, environments: Path, dump: Callable[[str, str], bytes], code: str, expression: str, reason: str
) -> None:
    start(worker, environments, dump(code, expression))
    assert worker.wait() == 1
    assert reason in worker.failures()[0]


def test_what_is_no_pickle(worker: Any, environments: Path, dump: Callable[[str, str], bytes]) -> None:
    dump("", "1")  # makes the environment
    start(worker, environments, b"class Handler: pass")
    assert worker.wait() == 1
    assert worker.failures()[0].startswith("model/h.pickle: unable to load pickle: UnpicklingError: ")


def test_without_dill_the_error_says_what_to_add(worker: Any) -> None:
    worker.prepare({"model/h.pickle": b""}, api=API)
    worker.launch()
    assert worker.wait() == 1
    assert worker.failures() == ["model/h.pickle: dill is needed to load it; add dill to requirements.txt"]
