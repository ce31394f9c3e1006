"""docs/python.md: its examples pass mypy --strict, run on this machine, and print what is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import HANG_S, REPOSITORY, Terminal, terminal

TEXT = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
# A block, and the lines that it prints if the page says so.
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\n((?: {4}\S[^\n]*\n)+))?", TEXT, re.S | re.M)
MYPY_S = 400  # without a cache it reads all that the examples import


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """One place for all blocks: the later ones find the earlier ones' jobs."""
    with terminal(tmp_path_factory.mktemp("page")) as opened:
        (opened.folder / "examples").symlink_to(REPOSITORY / "examples")
        yield opened


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs_and_prints_what_the_page_says(examples: Terminal, number: int) -> None:
    code, printed = BLOCKS[number]
    environ = {name: value for name, value in examples.environ.items() if name != "BATCHFLOW_ENGINE"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=examples.folder, env=environ, capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if printed:
        assert done.stdout.split() == printed.split()


def test_the_examples_pass_mypy_as_strict_as_it_gets(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 8
    for number, (code, _) in enumerate(BLOCKS):
        (tmp_path / f"example_{number}.py").write_text(code)
    (tmp_path / "wrong.py").write_text("import batchflow\n\nbatchflow.sbmit\nbatchflow.get(1, 2)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(REPOSITORY / "pyproject.toml"), "--no-error-summary"]
    environ = {**os.environ, "MYPYPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*command, "--cache-dir", str(REPOSITORY / ".mypy_cache"), str(tmp_path)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=MYPY_S,
        check=False,
    )
    wrong = [line for line in done.stdout.splitlines() if "wrong.py" in line]
    assert len(wrong) == 3 and 'no attribute "sbmit"' in wrong[0], done.stdout
    assert done.stdout.splitlines() == wrong
