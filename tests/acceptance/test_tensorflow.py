"""A tensorflow Handler from its models to its predictions. A server of our own stands in for TensorFlow Serving: tests/serving.py."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import REPOSITORY, Job, Terminal, terminal

HANDLE = """\
    def __init__(self, tensorflow_client, config):
        super().__init__(config)
        self.client = tensorflow_client

    def handle(self, payload):
        for values, name, version in payload:
            self.note("predicted", [name, version, self.client.predict({"x": values}, name, version)])

    def on_job_complete(self):
        self.note("complete", self.client.predict({"x": [[2, 2]]}, "summing"))
"""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal on a machine that has a `tensorflow_model_server`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "tensorflow_model_server"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(REPOSITORY / "tests" / "serving.py")])} "$@"\n')
    program.chmod(0o755)
    with terminal(tmp_path, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}") as opened:
        yield opened


def write_model(folder: Path, **signatures: dict[str, Any]) -> None:
    """What tests/serving.py takes for a SavedModel."""
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "model.json").write_text(json.dumps({"signatures": signatures}))


def signature(rule: str) -> dict[str, Any]:
    tensor = {"dtype": "DT_FLOAT", "shape": [-1]}
    return {"inputs": {"x": tensor}, "outputs": {"y": {**tensor, "rule": rule, "of": "x"}}}


def tensorflow(folder: Path, models: dict[str, Any], methods: str = HANDLE, **settings: Any) -> Job:
    entry = {"handler": {"type": "tensorflow", "path": "handler.py", "models": models}, "batchflow": {"start_timeout_s": 60}}
    return Job(folder, "predicting", methods, entry=entry, **settings)


def test_several_models_with_versions_and_signatures_of_their_own(serving: Terminal) -> None:
    models, items = serving.folder / "models", [([[1, 2], [3, 4]], "summing", "latest"), ([[5]], "echo", "latest"), ([[5]], "echo", "3")]
    write_model(models / "sums", other=signature("echo"), chosen=signature("sum"))
    write_model(models / "echoes" / "3", only=signature("version"))
    write_model(models / "echoes" / "20", only=signature("echo"))
    listed = [{"name": "summing", "path": f"{models}/sums", "signature_key": "chosen"}, {"name": "echo", "path": f"{models}/echoes"}]
    job = tensorflow(serving.folder, {"paths": listed}, items=items, workers=2)
    job_id = serving.submit(job.file)
    assert serving.ended(job.api, job_id)["status"] == "succeeded"
    assert job.noted("predicted") == [["echo", "3", {"y": [3]}], ["echo", "latest", {"y": [5]}], ["summing", "latest", {"y": [3, 7]}]]
    assert job.noted("complete") == [{"y": [4]}]


def test_the_projects_own_models_below_one_folder(serving: Terminal) -> None:
    job = tensorflow(serving.folder, {"dir": "models"}, items=[([[1, 2]], "summing", "1")])
    write_model(job.file.parent / "models" / "summing", serving_default=signature("sum"))
    job_id = serving.submit(job.file)
    assert serving.ended(job.api, job_id)["status"] == "succeeded"
    assert job.noted("predicted") == [["summing", "1", {"y": [3]}]]


def test_a_path_that_holds_no_model_is_the_jobs_message(serving: Terminal) -> None:
    job = tensorflow(serving.folder, {"path": f"{serving.folder}/nothing"}, items=[([[1]], None, "latest")])
    job_id = serving.submit(job.file)
    status = serving.ended(job.api, job_id)
    assert status["status"] == "worker_error"
    assert status["message"].count(f"{serving.folder}/nothing/: holds no TensorFlow model; there must be a saved_model.pb") == 1
    assert job.notes() == []


def test_without_the_program_nothing_is_submitted(shell: Terminal) -> None:
    job = tensorflow(shell.folder, {"path": "s3://bucket/model"}, items=[([[1]], None, "latest")])
    answer = shell.run("submit", job.file, code=2)
    assert "tensorflow_model_server: is not on PATH of this machine; install TensorFlow Serving" in answer.err
    assert shell.run("get", "-o", "json").json() == []
