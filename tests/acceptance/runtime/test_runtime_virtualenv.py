"""A project's requirements: installed once, whole or not at all. The package is a folder of the project; nothing is fetched."""

from __future__ import annotations

import time
import venv
from pathlib import Path
from typing import Any

import pytest

HANDLER = """
import os, subprocess, sys, tiny
class Handler:
    def __init__(self, config):
        print("tiny", tiny.VERSION, sys.prefix != sys.base_prefix, "BATCHFLOW_ENVIRONMENT_READY" in os.environ)
        print(subprocess.run(["python3", "-c", "import tiny; print(tiny.VERSION)"], stdout=subprocess.PIPE).stdout)
    def handle_batch(self): pass
"""

# A build backend in the package itself, so that pip needs no other. It says that it builds, and waits while $TINY/wait is there.
BACKEND = """
import os, pathlib, time, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    state = pathlib.Path(os.environ["TINY"])
    with open(state / "builds", "a") as builds:
        builds.write("build\\n")
    while (state / "wait").exists():
        time.sleep(0.02)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.write("tiny.py")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = {
    "handler.py": HANDLER,
    "requirements.txt": "# what it needs\n-r more.txt\n",
    "more.txt": "./pkg  # a folder\n",
    "pkg/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "pkg/backend.py": BACKEND,
    "pkg/tiny.py": "VERSION = 1\n",
    "pip.py": "raise ImportError('shadows pip')\n",
}
STARTED = "tiny {} True False\nb'{}\\n'\n"
HANG_S = 60


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"TINY": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}


def builds(environ: dict[str, str]) -> int:
    file = Path(environ["TINY"], "builds")
    return len(file.read_text().splitlines()) if file.exists() else 0


def serve_once(worker: Any, environ: dict[str, str]) -> str:
    """What a start printed."""
    worker.log.unlink(missing_ok=True)
    worker.launch(**environ)
    worker.wait_until_it_listens()
    assert worker.stop() == 0
    return str(worker.output())


def test_requirements_are_installed_once_and_again_when_they_change(worker: Any, environ: dict[str, str]) -> None:
    worker.prepare(PROJECT)
    assert serve_once(worker, environ).endswith(STARTED.format(1, 1))
    assert serve_once(worker, environ) == STARTED.format(1, 1)
    assert builds(environ) == 1
    (worker.folder / "project" / "pkg" / "tiny.py").write_text("VERSION = 2\n")
    assert serve_once(worker, environ).endswith(STARTED.format(2, 2))
    assert builds(environ) == 2


def test_nothing_is_made_for_requirements_that_name_nothing(worker: Any) -> None:
    worker.prepare(
        {"handler.py": "class Handler:\n def __init__(self, config): pass\n def handle_batch(self): pass", "requirements.txt": "# none\n"}
    )
    worker.launch()
    worker.wait_until_it_listens()
    assert list((worker.folder / "venvs").iterdir()) == []


def test_pip_is_heard_at_level_info_and_silent_at_level_warning(worker: Any, environ: dict[str, str]) -> None:
    worker.prepare(PROJECT)
    assert serve_once(worker, {**environ, "CORTEX_LOG_LEVEL": "WARNING"}) == STARTED.format(1, 1)
    (worker.folder / "project" / "more.txt").write_text("./pkg\n# again\n./pkg\n")
    assert "Successfully installed tiny-1.0" in serve_once(worker, environ)


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_what_pip_said_is_the_reason_of_a_failed_start(worker: Any, environ: dict[str, str], level: str) -> None:
    api = {"handler": {"type": "python", "path": "handler.py", "dependencies": {"pip": "needs/pip.txt"}}}
    worker.prepare({**PROJECT, "needs/pip.txt": "./missing\n"}, api=api)
    worker.launch(**environ, CORTEX_LOG_LEVEL=level)
    assert worker.wait() == 1
    reason = worker.failures()[0]
    assert reason.startswith("pip.txt: ERROR: ")
    assert "missing" in reason
    assert "ERROR: " in worker.output()


def test_workers_that_start_together_build_once(worker: Any, environ: dict[str, str], tmp_path: Path) -> None:
    worker.prepare(PROJECT)
    other = type(worker)(tmp_path / "other")
    other.environ["BATCHFLOW_VENV_DIR"] = worker.environ["BATCHFLOW_VENV_DIR"]
    (tmp_path / "wait").touch()
    other.prepare(PROJECT)
    for one in (worker, other):
        one.launch(**environ)
    try:
        wait_for_builds(environ, 1)
        (tmp_path / "wait").unlink()
        for one in (worker, other):
            one.wait_until_it_listens()
            assert one.output().endswith(STARTED.format(1, 1))
            assert one.stop() == 0
    finally:
        other.process.kill()
        other.process.wait()
    assert builds(environ) == 1


def test_a_killed_builder_leaves_nothing_that_counts(worker: Any, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    worker.prepare(PROJECT)
    killed = worker.launch(**environ)
    wait_for_builds(environ, 1)
    killed.kill()
    killed.wait()
    assert list((worker.folder / "venvs").glob("*/.complete")) == []
    worker.launch(**environ)  # pip of the killed one still runs, so this one waits
    (tmp_path / "wait").unlink()
    worker.wait_until_it_listens()
    assert worker.output().endswith(STARTED.format(1, 1))
    assert builds(environ) == 2
    assert worker.failures() == []


def test_packages_of_an_images_own_environment_are_seen(worker: Any, environ: dict[str, str], tmp_path: Path) -> None:
    venv.create(tmp_path / "image")
    next((tmp_path / "image").glob("lib/python*/site-packages")).joinpath("inherited.py").touch()
    worker.prepare({**PROJECT, "handler.py": f"import inherited{HANDLER}"})
    worker.launch(str(tmp_path / "image" / "bin" / "python3"), **environ)
    worker.wait_until_it_listens()
    assert worker.output().endswith(STARTED.format(1, 1))


def wait_for_builds(environ: dict[str, str], number: int) -> None:
    deadline = time.monotonic() + HANG_S
    while builds(environ) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)
