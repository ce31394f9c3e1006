"""batchflow as a library: the same job as the command line's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import batchflow
from batchflow.client import Client
from batchflow.engines.open import open_engine
from batchflow.engines.protocol import Engine
from batchflow.settings import Settings
from batchflow.store.directory import DirectoryStore
from tests.acceptance.command import EXAMPLES, until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"BATCHFLOW_STORE": str(tmp_path / "store"), "BATCHFLOW_CACHE_DIR": str(tmp_path / "cache")}, local=True)


def test_submit_wait_and_get(settings: Settings) -> None:
    submission = batchflow.load(EXAMPLES / "hello" / "job.yaml", workers=1)
    job = batchflow.submit(submission, engine="local", settings=settings)
    seen: list[str] = []
    status = job.wait(lambda status: seen.append(status.status))
    assert (status.status, status.workers, status.batch_metrics.succeeded) == ("succeeded", 1, 4)
    assert seen[-1] == "succeeded"
    again = batchflow.get(job.api, job.id, engine="local", settings=settings)
    assert again.status() == status
    assert any("Ada" in line.text for line in again.logs(container="handler"))
    assert list(again.failures()) == []


def test_a_repeat_of_resume_that_was_cut_off_leaves_the_run_at_work_alone(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "cortex.yaml").write_text("- {name: gated, kind: BatchAPI, handler: {type: python, path: handler.py}}")
    (tmp_path / "handler.py").write_text(
        "import pathlib, time\n"
        "class Handler:\n"
        "    def __init__(self, config): self.gate = pathlib.Path(config['gate'])\n"
        "    def handle_batch(self, payload):\n"
        "        while not self.gate.exists(): time.sleep(0.02)\n"
    )
    body = {"api": "gated", "workers": 1, "config": {"gate": str(tmp_path / "gate")}, "item_list": {"items": [1, 2], "batch_size": 1}}
    (tmp_path / "job.yaml").write_text(json.dumps(body))
    short = replace(settings, grace_s=2)
    job = batchflow.submit(tmp_path / "job.yaml", engine="local", settings=short)
    until(lambda: job.status().status == "running", "the job to run")
    job.stop()
    assert job.wait().status == "stopped"
    job.resume()
    # as if the client had died before it wrote the number of the new run
    DirectoryStore(tmp_path / "store").delete([f"jobs/gated/{job.id}/run.json"])
    assert job.status().status == "stopped"
    job.resume()
    (tmp_path / "gate").touch()
    status = job.wait()
    assert (status.status, status.run, status.batch_metrics.succeeded) == ("succeeded", 2, 2)


class Interrupted:
    """The local engine, but for an interruption (Ctrl-C) before or after a submission took effect."""

    def __init__(self, engine: Engine, *, after: bool) -> None:
        self.engine, self.after = engine, after

    def submit(self, workflow: dict[str, Any], *, directory: str) -> None:
        if self.after:
            self.engine.submit(workflow, directory=directory)
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_submit_leaves_a_whole_job_or_none(settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    monkeypatch.setattr(
        "batchflow.client.services.open_engine", lambda chosen, environ: Interrupted(open_engine(chosen, environ), after=after)
    )
    submission = batchflow.load(EXAMPLES / "hello" / "job.yaml")
    with pytest.raises(KeyboardInterrupt):
        batchflow.submit(submission, engine="local", job_id="f" * 16, settings=settings)
    monkeypatch.undo()
    if after:
        assert batchflow.get("hello", "f" * 16, settings=settings).wait().status == "succeeded"
    else:
        with pytest.raises(batchflow.NotFound):
            batchflow.get("hello", "f" * 16, settings=settings)


def test_compile_needs_no_store_and_no_cluster() -> None:
    workflow = batchflow.compile(batchflow.load(EXAMPLES / "digits" / "job.yaml"), job_id="0" * 16, settings=Settings())
    assert workflow.name == "digits-" + "0" * 16


def test_errors_are_one_tree(settings: Settings) -> None:
    with pytest.raises(batchflow.NotFound, match="nothing is not deployed"):
        Client(settings).job_ids("nothing")
    with pytest.raises(batchflow.NotFound, match="hello is not deployed"):
        batchflow.get("hello", "x", settings=settings)
    Client(settings).deploy(EXAMPLES / "hello" / "cortex.yaml")
    with pytest.raises(batchflow.InvalidInput, match="not a job id"):
        batchflow.get("hello", "x", settings=settings)
