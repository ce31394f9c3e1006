"""Bad input, a table: one line on stderr that says what, where and what to do; exit code 2; nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Terminal

GOOD_API = "- name: good\n  kind: BatchAPI\n  handler:\n    type: python\n    path: handler.py\n"
GOOD_JOB = "api: {file: cortex.yaml}\nworkers: 1\nitem_list: {items: [1], batch_size: 1}\n"
HEAD = "api: {file: cortex.yaml}\nworkers: 1\n"
HANDLER = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): pass\n"
POD = '- name: good\n  kind: BatchAPI\n  pod:\n    containers:\n      - name: server\n        image: any\n        args: ["--prompt", "{{item}}"]\n'
FULL = 262_144


@dataclass(frozen=True)
class Case:
    """A project (`job` and `api` are the texts of its files) that can't be used, and what its line must say, in this order."""

    says: tuple[str, ...]
    job: str = GOOD_JOB
    api: str = GOOD_API
    handler: str | None = HANDLER
    files: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


def lister(key: str, **fields: Any) -> str:
    return HEAD + f"{key}: {json.dumps({'s3_paths': ['data/'], 'batch_size': 1, **fields})}\n"


def items(*values: Any, batch_size: int = 1) -> str:
    return HEAD + f"item_list: {json.dumps({'items': values, 'batch_size': batch_size})}\n"


THIRD_FILE_IS_BAD = {"data/1.jsonl": "1\n" * 9, "data/2.jsonl": "1\n" * 9, "data/3.jsonl": "1\n" * 6 + "{not json}\n" + "1\n"}
CASES = {
    "malformed job file": Case(("job.yaml:",), job=HEAD + "item_list: {items: [1\n"),
    "malformed api file": Case(("cortex.yaml:",), api="- name: good\n   kind: BatchAPI\n"),
    "unknown key": Case(("job.yaml:3", "wokers"), job="api: {file: cortex.yaml}\nworkers: 1\nwokers: 2\nitem_list: {items: [1], batch_size: 1}\n"),
    "unknown key of the api": Case(("cortex.yaml:6", "pth"), api=GOOD_API + "    pth: handler.py\n"),
    "unknown key inside": Case(("job.yaml:3", "batchsize"), job=HEAD + "item_list: {items: [1], batch_size: 1, batchsize: 2}\n"),
    "two sources": Case(("job.yaml:", "file_path_lister"), job=GOOD_JOB + "file_path_lister: {s3_paths: [data/], batch_size: 1}\n"),
    "no source": Case(("job.yaml", "item_list, file_path_lister, or delimited_files"), job=HEAD),
    "no workers": Case(("job.yaml:2", "workers", "greater than or equal to 1"), job=GOOD_JOB.replace("workers: 1", "workers: 0")),
    "no workers by flag": Case(("--workers", "greater than or equal to 1"), arguments=("--workers", "0")),
    "a flag that sets nothing": Case(("--set", "config.KEY=VALUE"), arguments=("--set", "threshold=1")),
    "a job id that is none": Case(("job id", "16 hex digits"), arguments=("--job-id", "today")),
    "no items": Case(("job.yaml:3", "items", "at least 1"), job=items()),
    "no batch size": Case(("job.yaml:3", "batch_size"), job=HEAD + "item_list: {items: [1]}\n"),
    "item too large": Case(("job.yaml:3", "item 1", "262143"), job=items("small", "x" * (FULL - 2))),
    "batch too large": Case(
        ("job.yaml:3", "batch 0", "262143", "batch_size"), job=items("x" * (FULL // 2), "y" * (FULL // 2 - 7), batch_size=2)
    ),
    "glob that does not compile": Case(
        ("file_path_lister", "includes", "**.[png", "not closed"),
        job=lister("file_path_lister", includes=["**.[png"]),
        files={"data/a.png": ""},
    ),
    "glob that lets nothing through": Case(
        ("file_path_lister", "no files match", "data/"), job=lister("file_path_lister", includes=["**.jpg"]), files={"data/a.png": ""}
    ),
    "path that is not there": Case(("delimited_files", "no files match", "data/"), job=lister("delimited_files")),
    "no paths": Case(("job.yaml:3", "s3_paths", "at least 1"), job=lister("delimited_files", s3_paths=[])),
    "a scheme that nobody reads": Case(("file_path_lister", "gs://bucket/", "s3"), job=lister("file_path_lister", s3_paths=["gs://bucket/"])),
    "bad line, dry run": Case(("3.jsonl:7",), job=lister("delimited_files"), files=THIRD_FILE_IS_BAD, arguments=("--dry-run",)),
    "line too large, dry run": Case(
        ("a.jsonl:2", "262"),
        job=lister("delimited_files"),
        files={"data/a.jsonl": "1\n" + json.dumps("x" * FULL) + "\n"},
        arguments=("--dry-run",),
    ),
    "argument that Argo would expand": Case(("{{",), api=POD),
    "name too long": Case(("cortex.yaml:1", "name", "42"), api=GOOD_API.replace("good", "a" * 43)),
    "project too large": Case(("32", "handler.bin", ".cortexignore"), files={"handler.bin": "x" * (32 * 2**20)}),
    "no handler file": Case(("cortex.yaml:5", "handler.py"), handler=None),
    "handler that is not Python": Case(("handler.py:1",), handler="class Handler\n"),
    "no api file": Case(("nowhere.yaml",), job=GOOD_JOB.replace("cortex.yaml", "nowhere.yaml")),
    "an api that the file has not": Case(("cortex.yaml", "other", "good"), job=GOOD_JOB.replace("cortex.yaml", "cortex.yaml, name: other")),
}
NOT_FOUND = {"no api file", "an api that the file has not"}


def write(case: Case, project: Path) -> Path:
    texts = {"job.yaml": case.job, "cortex.yaml": case.api, **case.files}
    if case.handler is not None:
        texts["handler.py"] = case.handler
    for name, text in texts.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project / "job.yaml"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_that_says_where(shell: Terminal, name: str) -> None:
    case = CASES[name]
    file = write(case, shell.folder / "project")
    refused = shell.run("submit", file, *case.arguments, code=None)
    print(refused.code, refused.err)
    assert False
