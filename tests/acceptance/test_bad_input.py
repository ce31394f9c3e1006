"""Bad input, a table: one line on stderr that says what, where and what to do; exit code 2; nothing left behind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Terminal

GOOD_API = "- name: good\n  kind: BatchAPI\n  handler:\n    type: python\n    path: handler.py\n"
GOOD_JOB = "api: {file: cortex.yaml}\nworkers: 1\nitem_list: {items: [1], batch_size: 1}\n"
HEAD = "api: {file: cortex.yaml}\nworkers: 1\n"
HANDLER = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): pass\n"
POD = """\
- name: good
  kind: BatchAPI
  pod:
    containers:
      - {name: server, image: any, command: [serve, "--prompt={{item}}"]}
"""
FULL = 262_144  # bytes, one more than a batch may have


@dataclass(frozen=True)
class Case:
    """A project that can't be used (`job`, `api` and `handler` are the texts of its files), and what its line says, in this order."""

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
LARGE_LINE = {"data/a.jsonl": "1\n" + json.dumps("x" * FULL) + "\n"}
CASES = {
    "malformed job file": Case(("job.yaml:4:1: is not valid YAML: ",), job=HEAD + "item_list: {items: [1\n"),
    "malformed api file": Case(("cortex.yaml:2:8: is not valid YAML: ",), api="- name: good\n   kind: BatchAPI\n"),
    "unknown key": Case(("job.yaml:4: ", '"wokers" is not supported', 'did you mean "workers"?'), job=GOOD_JOB + "wokers: 2\n"),
    "unknown key of the api": Case(
        ("cortex.yaml:6: good (BatchAPI): handler: ", '"pth"', '"path"?'), api=GOOD_API + "    pth: handler.py\n"
    ),
    "unknown key inside": Case(
        ("job.yaml:3: item_list: ", '"batchsize"', '"batch_size"?'), job=HEAD + "item_list: {items: [1], batch_size: 1, batchsize: 2}\n"
    ),
    "two sources": Case(
        ("job.yaml:4: please specify either", "not more than one"), job=GOOD_JOB + "file_path_lister: {s3_paths: [data/], batch_size: 1}\n"
    ),
    "no source": Case(("job.yaml:1: specify exactly one of", "item_list, file_path_lister, or delimited_files"), job=HEAD),
    "no workers": Case(
        ("job.yaml:2: workers: must be greater than or equal to 1 (got 0)",), job=GOOD_JOB.replace("workers: 1", "workers: 0")
    ),
    "no workers by flag": Case(("--workers: must be greater than or equal to 1 (got 0)",), arguments=("--workers", "0")),
    "a flag that sets nothing": Case(("--set: ", "config.KEY=VALUE", "for example"), arguments=("--set", "threshold=1")),
    "a job id that is none": Case(('"today" is not a job id', "16 hex digits"), arguments=("--job-id", "today")),
    "no items": Case(("job.yaml:3: items: must contain at least 1",), job=items()),
    "no batch size": Case(("job.yaml:3: item_list: batch_size: must be greater",), job=HEAD + "item_list: {items: [1]}\n"),
    "item too large": Case(("job.yaml:3: item 1 has size 262144 bytes", "262141", "into a file"), job=items("small", "x" * (FULL - 2))),
    "batch too large": Case(
        ("job.yaml:3: ", "batch 0", "262144 bytes", "262143", "lower batch_size"),
        job=items("x" * (FULL // 2), "y" * (FULL // 2 - 7), batch_size=2),
    ),
    "glob that does not compile": Case(
        ("job.yaml: file_path_lister: includes: **.[png: ", "not closed", "write"),
        job=lister("file_path_lister", includes=["**.[png"]),
        files={"data/a.png": ""},
    ),
    "glob that lets nothing through": Case(
        ("job.yaml: file_path_lister: no files match", "/data/"),
        job=lister("file_path_lister", includes=["**.jpg"]),
        files={"data/a.png": ""},
    ),
    "path that is not there": Case(("job.yaml: delimited_files: no files match", "/data/"), job=lister("delimited_files")),
    "no paths": Case(("job.yaml:3: delimited_files: s3_paths: must contain at least 1",), job=lister("delimited_files", s3_paths=[])),
    "a scheme that nobody reads": Case(
        ("job.yaml: file_path_lister: ", '"gs://bucket/"', "s3://"), job=lister("file_path_lister", s3_paths=["gs://bucket/"])
    ),
    "bad line, dry run": Case(
        ("data/3.jsonl:7: item 6: malformed JSON",), job=lister("delimited_files"), files=THIRD_FILE_IS_BAD, arguments=("--dry-run",)
    ),
    "line too large, dry run": Case(
        ("data/a.jsonl:2: item 1", "262146 bytes", "store it as a file"),
        job=lister("delimited_files"),
        files=LARGE_LINE,
        arguments=("--dry-run",),
    ),
    "argument that Argo would expand": Case(("good", "command", '"--prompt={{item}}" contains "{{"'), api=POD),
    "name too long": Case(("cortex.yaml:1: ", "name: ", "42 characters (got 43)", "shorter"), api=GOOD_API.replace("good", "a" * 43)),
    "project too large": Case(("project: ", "33554432", "handler.bin", ".cortexignore"), files={"handler.bin": "x" * (32 * 2**20)}),
    "no handler file": Case(("cortex.yaml:5: good (BatchAPI): handler: path: ", '"handler.py"', "relative to"), handler=None),
    "handler that is not Python": Case(("handler.py:1: is not valid Python",), handler="class Handler\n"),
    "no api file": Case(("nowhere.yaml: no such file",), job=GOOD_JOB.replace("cortex.yaml", "nowhere.yaml")),
    "an api that the file has not": Case(
        ("cortex.yaml: ", '"other"', "there is good"), job=GOOD_JOB.replace("cortex.yaml", "cortex.yaml, name: other")
    ),
}
NOT_FOUND = ("no api file", "an api that the file has not")  # as all that is not there: exit code 3


def write(case: Case, project: Path) -> Path:
    texts = {"job.yaml": case.job, "cortex.yaml": case.api, **case.files}
    if case.handler is not None:
        texts["handler.py"] = case.handler
    for name, text in texts.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project / "job.yaml"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_leaves_nothing_behind(shell: Terminal, name: str) -> None:
    case = CASES[name]
    file = write(case, shell.folder / "project")
    refused = shell.run("submit", file, "--local", *case.arguments, code=3 if name in NOT_FOUND else 2)
    assert re.fullmatch(f"batchflow: .*{'.*'.join(map(re.escape, case.says))}.*\n", refused.err), refused.err
    assert shell.processes() == {}
    assert [path.name for path in shell.folder.iterdir()] == ["project"]
    if "--dry-run" not in case.arguments:  # which has named the files by then
        assert refused.out == ""


@pytest.mark.parametrize("name", ["bad line, dry run", "line too large, dry run"])
def test_a_line_that_can_not_be_used_ends_the_job_before_any_worker_starts(shell: Terminal, name: str) -> None:
    case = CASES[name]
    file = write(case, shell.folder / "project")
    status = shell.run("submit", file, "--watch", "-o", "json", code=2).json()["job_status"]
    assert status["status"] == "enqueue_failed"
    assert re.fullmatch(f"{re.escape(str(file.parent))}/{'.*'.join(map(re.escape, case.says))}.*", status["message"]), status["message"]
    assert status["batch_metrics"]["succeeded"] == 0
    lines = shell.logs("good", status["job_id"])
    assert {line.partition("/")[0] for line in lines} <= {"enqueue", "cleanup"}
    shell.wait_until_alone()
    assert list((shell.store / "queues").glob("cx_*")) == []
