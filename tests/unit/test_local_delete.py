"""Deleting a run of the local engine: its folder goes whole, and never under a living engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchflow.engines.local import engine as local_engine
from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.local.folder import RunFolder
from batchflow.errors import InvalidInput
from batchflow.settings import Settings

NAME = "api-0123456789abcdef"


@pytest.fixture
def engine(tmp_path: Path) -> LocalEngine:
    return LocalEngine(Settings.from_env({"BATCHFLOW_LOCAL_DIR": str(tmp_path)}, local=True))


def run_of(root: Path, name: str = NAME) -> RunFolder:
    """A run whose engine has ended."""
    folder = RunFolder(root, name)
    lock = folder.try_lock()
    assert lock
    folder.save_workflow(b'{"status": {"phase": "Succeeded"}}')
    folder.logs("pod").mkdir(parents=True)
    folder.log("pod", "main").write_text("a line\n")
    os.close(lock)
    return folder


def test_a_run_is_removed_and_others_stay(engine: LocalEngine, tmp_path: Path) -> None:
    run_of(tmp_path)
    run_of(tmp_path, f"{NAME}-r2")
    engine.delete(NAME)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}-r2"]
    assert engine.observe(NAME).workflow is None
    engine.delete(NAME)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}-r2"]


def test_a_run_whose_engine_lives_is_left_alone(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "LAST_PROCESS_S", 0.2)
    folder = run_of(tmp_path)
    lock = folder.try_lock()
    assert lock
    with pytest.raises(InvalidInput, match=f"workflow {NAME} still runs; stop its job first"):
        engine.delete(NAME)
    assert folder.log("pod", "main").read_text() == "a line\n"
    os.close(lock)
    engine.delete(NAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("again", [True, False])
def test_a_removal_that_was_cut_off_is_completed(engine: LocalEngine, tmp_path: Path, again: bool) -> None:
    """Cut off between its two parts; `again`: the name has been used anew since."""
    run_of(tmp_path).path.rename(tmp_path / f".{NAME}")
    assert engine.observe(NAME).workflow is None
    if again:
        run_of(tmp_path)
    engine.delete(NAME)
    assert list(tmp_path.iterdir()) == []
