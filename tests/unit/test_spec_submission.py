"""Submissions: every row of spec/cortex.md section 4, in its order, with its words and codes; job files on top."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from batchflow.errors import InvalidInput, NotFound
from batchflow.spec.jobfile import load_submission
from batchflow.spec.model import MAX_BATCH_BYTES, DeadLetterQueue, DelimitedFiles, FilePathLister, ItemList, Submission
from batchflow.spec.submission import parse_submission

ITEMS = {"items": [1, "two", {"three": None}], "batch_size": 2}
FILES = {"s3_paths": ["s3://b/p"], "batch_size": 1}
QUEUE = {"arn": "arn:aws:sqs:us-west-2:1:dead.fifo", "max_receive_count": 3}
BODY = {"workers": 1, "item_list": ITEMS}


def refusal(body: Any, *, strict: bool = True) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        parse_submission(body, api="a", strict=strict)
    assert raised.value.where == ""
    return raised.value


def test_every_field() -> None:
    body = {"workers": 2, "timeout": 60, "sqs_dead_letter_queue": QUEUE, "config": {"k": [1]}, "item_list": ITEMS}
    assert parse_submission(body, api="a", strict=True) == Submission(
        api="a",
        workers=2,
        source=ItemList(items=[1, "two", {"three": None}], batch_size=2),
        timeout_s=60,
        dead_letter_queue=DeadLetterQueue("arn:aws:sqs:us-west-2:1:dead.fifo", 3),
        config={"k": [1]},
    )


@pytest.mark.parametrize(("key", "source"), [("file_path_lister", FilePathLister), ("delimited_files", DelimitedFiles)])
def test_sources_of_files(key: str, source: type[FilePathLister | DelimitedFiles]) -> None:
    given = {"s3_paths": ["s3://b/p", "s3://b/q/"], "includes": ["**.png"], "excludes": ["**/x/**"], "batch_size": 7}
    expected = source(s3_paths=("s3://b/p", "s3://b/q/"), includes=("**.png",), excludes=("**/x/**",), batch_size=7)
    assert parse_submission({"workers": 1, key: given}, api="a", strict=True).source == expected
    assert parse_submission({"workers": 1, key: FILES}, api="a", strict=True).source == source(s3_paths=("s3://b/p",), batch_size=1)


def test_null_means_absent_and_unknown_keys_are_ignored_unless_strict() -> None:
    body = {**BODY, "timeout": None, "sqs_dead_letter_queue": None, "config": None, "file_path_lister": None, "delimited_files": None}
    expected = parse_submission(BODY, api="a", strict=True)
    assert parse_submission(body, api="a", strict=True) == expected
    lenient = {**BODY, "worker": 3, "item_list": {**ITEMS, "itmes": 1}}
    assert parse_submission(lenient, api="a", strict=False) == expected
    assert str(refusal({**BODY, "worker": 3})) == 'key "worker" is not supported; did you mean "workers"?'
    assert str(refusal(lenient)) == 'item_list: key "itmes" is not supported; did you mean "items"?'


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        ({"workers": "1"}, "error", 'workers: must be an integer (got "1")'),
        ({"workers": True}, "error", "workers: must be an integer (got true)"),
        ({"workers": 1.0}, "error", "workers: must be an integer (got 1.0)"),
        ({"timeout": "1h"}, "error", 'timeout: must be an integer (got "1h")'),
        ({"config": []}, "error", "config: must be a map (got a list)"),
        ({"sqs_dead_letter_queue": "arn"}, "error", 'sqs_dead_letter_queue: must be a map (got "arn")'),
        ({"item_list": [1]}, "error", "item_list: must be a map (got a list)"),
        ({"item_list": {"items": {}, "batch_size": 1}}, "error", "item_list: items: must be a list (got a map)"),
        (
            {"item_list": {"items": [0, float("nan")], "batch_size": 1}},
            "error",
            "item_list: items: index 1: is nan, a number that JSON doesn't have",
        ),
        ({"file_path_lister": {**FILES, "s3_paths": [1]}}, "error", "file_path_lister: s3_paths: index 0: must be a string (got 1)"),
        ({"delimited_files": {**FILES, "includes": "x"}}, "error", 'delimited_files: includes: must be a list (got "x")'),
        (
            {"item_list": None},
            "job.specify_exactly_one_key",
            "specify exactly one of the following keys: item_list, file_path_lister, or delimited_files",
        ),
        (
            {"file_path_lister": FILES},
            "job.conflicting_fields",
            "please specify either the item_list or file_path_lister field (but not more than one at the same time)",
        ),
        (
            {"item_list": None, "file_path_lister": FILES, "delimited_files": FILES},
            "job.conflicting_fields",
            "please specify either the item_list or file_path_lister field (but not more than one at the same time)",
        ),
        ({"item_list": {"items": [], "batch_size": 1}}, "configreader.too_few_elements", "items: must contain at least 1 elements"),
        ({"item_list": {"batch_size": 1}}, "configreader.too_few_elements", "items: must contain at least 1 elements"),
        (
            {"item_list": {"items": [1, "x" * 262_142], "batch_size": 1}},
            "batchapi.item_size_exceeds_limit",
            "item 1 has size 262144 bytes which exceeds the limit (262141 bytes)",
        ),
        (
            {"item_list": {"items": [1], "batch_size": 0}},
            "configreader.must_be_greater_than_or_equal_to",
            "item_list: batch_size: must be greater than or equal to 1 (got 0)",
        ),
        (
            {"item_list": {"items": [1]}},
            "configreader.must_be_greater_than_or_equal_to",
            "item_list: batch_size: must be greater than or equal to 1 (got 0)",
        ),
        (
            {"item_list": None, "delimited_files": {**FILES, "batch_size": -2}},
            "configreader.must_be_greater_than_or_equal_to",
            "delimited_files: batch_size: must be greater than or equal to 1 (got -2)",
        ),
        ({"workers": 0}, "configreader.must_be_greater_than_or_equal_to", "workers: must be greater than or equal to 1 (got 0)"),
        ({"workers": None}, "configreader.must_be_greater_than_or_equal_to", "workers: must be greater than or equal to 1 (got 0)"),
        ({"timeout": 0}, "configreader.must_be_greater_than_or_equal_to", "timeout: must be greater than or equal to 1 (got 0)"),
        ({"sqs_dead_letter_queue": {**QUEUE, "arn": ""}}, "configreader.cannot_be_empty", "sqs_dead_letter_queue: arn: cannot be empty"),
        (
            {"sqs_dead_letter_queue": {**QUEUE, "arn": "arn:aws:sqs:us-west-2:1:dead"}},
            "error",
            'sqs_dead_letter_queue: arn: "arn:aws:sqs:us-west-2:1:dead" is not the ARN of a FIFO queue',
        ),
        ({"sqs_dead_letter_queue": {}}, "configreader.cannot_be_empty", "sqs_dead_letter_queue: arn: cannot be empty"),
        (
            {"sqs_dead_letter_queue": {**QUEUE, "max_receive_count": 0}},
            "configreader.must_be_greater_than_or_equal_to",
            "sqs_dead_letter_queue: max_receive_count: must be greater than or equal to 1 (got 0)",
        ),
        (
            {"item_list": None, "file_path_lister": {**FILES, "s3_paths": []}},
            "configreader.too_few_elements",
            "file_path_lister: s3_paths: must contain at least 1 elements",
        ),
        (
            {"item_list": None, "delimited_files": {"batch_size": 1}},
            "configreader.too_few_elements",
            "delimited_files: s3_paths: must contain at least 1 elements",
        ),
    ],
)
def test_each_rule_has_cortex_code_and_message(change: dict[str, Any], kind: str, what: str) -> None:
    error = refusal({**BODY, **change}, strict=False)
    assert (error.kind, error.what) == (kind, what)


def test_the_first_failure_wins_in_cortex_order() -> None:
    """Everything is wrong at first; mending the one that is told brings up the next."""
    big = "x" * MAX_BATCH_BYTES
    body: dict[str, Any] = {
        "workers": 0,
        "timeout": 0,
        "sqs_dead_letter_queue": {"arn": "", "max_receive_count": "0"},
        "item_list": {"items": [], "batch_size": 0},
        "file_path_lister": {"s3_paths": [], "batch_size": 0},
    }
    told = []
    mends = [
        lambda: body["sqs_dead_letter_queue"].update(max_receive_count=0),
        lambda: body.pop("file_path_lister"),
        lambda: body["item_list"].update(items=[big]),
        lambda: body["item_list"].update(items=["x" * 200_000, "y" * 100_000]),
        lambda: body["item_list"].update(batch_size=2),
        lambda: body.update(workers=1),
        lambda: body.update(timeout=1),
        lambda: body["sqs_dead_letter_queue"].update(arn=QUEUE["arn"]),
        lambda: body["sqs_dead_letter_queue"].update(max_receive_count=1),
        lambda: body["item_list"].update(batch_size=1),
    ]
    for mend in mends:
        told.append(refusal(body).what.split(" ")[:3])
        mend()
    assert [" ".join(words) for words in told] == [
        "sqs_dead_letter_queue: max_receive_count: must",
        "please specify either",
        "items: must contain",
        "item 0 has",
        "item_list: batch_size: must",
        "workers: must be",
        "timeout: must be",
        "sqs_dead_letter_queue: arn: cannot",
        "sqs_dead_letter_queue: max_receive_count: must",
        "cannot enqueue batch",
    ]
    assert parse_submission(body, api="a", strict=True).workers == 1


@pytest.mark.parametrize(("letters", "fits"), [(MAX_BATCH_BYTES - 5, True), (MAX_BATCH_BYTES - 4, False)])
def test_a_batch_is_smaller_than_262144_bytes(letters: int, fits: bool) -> None:
    """A batch of one string is its letters, two quotes and two brackets."""
    item = "x" * letters
    assert (len(orjson.dumps([item])) < MAX_BATCH_BYTES) is fits
    body = {"workers": 1, "item_list": {"items": [1, item], "batch_size": 1}}
    if fits:
        assert parse_submission(body, api="a", strict=True)
    else:
        error = refusal(body)
        assert error.what == "item 1 has size 262142 bytes which exceeds the limit (262141 bytes)"
        assert error.hint == "put its data into a file, and list that"


@pytest.mark.parametrize(("letters", "fits"), [(131_068, True), (131_069, False)])
def test_a_batch_counts_its_commas_and_bytes_not_characters(letters: int, fits: bool) -> None:
    """["é…", 12345]: each é is two bytes of UTF-8."""
    items = ["é" * (letters // 2) + "x" * (letters % 2), "x" * 131_068]
    assert (len(orjson.dumps(items)) < MAX_BATCH_BYTES) is fits
    body = {"workers": 1, "item_list": {"items": items, "batch_size": 5}}
    if fits:
        assert parse_submission(body, api="a", strict=True)
    else:
        error = refusal(body)
        assert error.what == "cannot enqueue batch 0 because its size of 262144 bytes exceeds the 262143 bytes limit"
        assert error.hint == "lower batch_size (it is 5)"


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_map(body: Any) -> None:
    assert refusal(body, strict=False).what.startswith("must be a map (got ")


# Job files


def job(tmp_path: Path, text: str, name: str = "job.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def file_refusal(path: Path, **overrides: Any) -> str:
    with pytest.raises(InvalidInput) as raised:
        load_submission(path, overrides=overrides)
    return str(raised.value)


JOB = """\
api: digits
workers: 2
file_path_lister:
  s3_paths: [images/, ./more, "../up/a.png", ., "s3://b/x/", /abs/dir/, "file:///y"]
  batch_size: 3
"""
CORTEX = """\
- {name: digits, kind: BatchAPI, pod: {containers: [{name: c, image: i, command: [x]}]}}
- {name: other, kind: BatchAPI, pod: {containers: [{name: c, image: i, command: [x]}]}}
"""


def test_paths_are_relative_to_the_file_and_keep_a_trailing_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    job(tmp_path / "jobs", JOB)
    monkeypatch.chdir(tmp_path)
    source = load_submission(Path("jobs/job.yaml"), overrides={}).source
    assert source == FilePathLister(
        s3_paths=(
            f"{tmp_path}/jobs/images/",
            f"{tmp_path}/jobs/more",
            f"{tmp_path}/up/a.png",
            f"{tmp_path}/jobs/",
            "s3://b/x/",
            "/abs/dir/",
            "file:///y",
        ),
        batch_size=3,
    )


def test_the_home_folder_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    path = job(tmp_path, JOB.replace("[images/,", "[~/images/,"))
    source = load_submission(path, overrides={}).source
    assert isinstance(source, FilePathLister)
    assert source.s3_paths[0] == "/home/someone/images/"


def test_an_api_is_a_name_or_one_of_a_file(tmp_path: Path) -> None:
    path = job(tmp_path, JOB)
    assert (load_submission(path, overrides={}).api, load_submission(path, overrides={}).api_file) == ("digits", "")
    (tmp_path / "cortex.yaml").write_text(CORTEX)
    assert load_submission(path, overrides={}).api_file == str(tmp_path / "cortex.yaml")
    deployed = load_submission(job(tmp_path, JOB.replace("digits", "deployed")), overrides={})
    assert (deployed.api, deployed.api_file) == ("deployed", "")
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "mine.yaml").write_text(CORTEX)
    named = load_submission(job(tmp_path, JOB.replace("digits", "{file: apis/../apis/mine.yaml, name: other}")), overrides={})
    assert (named.api, named.api_file) == ("other", str(tmp_path / "apis" / "mine.yaml"))
    (tmp_path / "apis" / "mine.yaml").write_text(CORTEX.splitlines()[1])
    alone = load_submission(job(tmp_path, JOB.replace("digits", "{file: apis/mine.yaml}")), overrides={})
    assert (alone.api, alone.api_file) == ("other", str(tmp_path / "apis" / "mine.yaml"))


@pytest.mark.parametrize(
    ("api", "error"),
    [
        ("3", "job.yaml:1: api: must be an api's name, or a map of file and name"),
        (
            "No",
            "job.yaml:1: api: must be an api's name, or a map of file and name",  # YAML's no
        ),
        ("b-x", 'job.yaml:1: api: cannot begin with "b-"; choose another name'),
        ("{name: digits}", "job.yaml:1: api: file: must be defined"),
        ("{file: cortex.yaml, nmae: x}", 'job.yaml:1: api: key "nmae" is not supported; did you mean "name"?'),
        ("{file: cortex.yaml}", "cortex.yaml: holds several apis; name one of digits, other"),
        ("null", "job.yaml:1: api: must be defined"),
    ],
)
def test_apis_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str, error: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cortex.yaml").write_text(CORTEX)
    assert file_refusal(job(tmp_path, JOB.replace("digits", api))) == error


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match=r"^job.yaml: no such file$"):
        load_submission(Path("job.yaml"), overrides={})
    path = job(tmp_path, JOB.replace("digits", "{file: apis.yaml, name: new}"))
    with pytest.raises(NotFound, match=r"^apis.yaml: no such file$"):
        load_submission(path, overrides={})
    (tmp_path / "apis.yaml").write_text(CORTEX)
    with pytest.raises(NotFound, match=r'^apis.yaml: there is no api "new"; there is digits, other$'):
        load_submission(path, overrides={})


def test_an_invalid_cortex_yaml_beside_the_job_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cortex.yaml").write_text("- name: digits\n")
    assert file_refusal(job(tmp_path, JOB)) == "cortex.yaml:1: digits: kind: must be defined"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("workers: 2", "worker: 2", 'job.yaml:2: key "worker" is not supported; did you mean "workers"?'),
        ("workers: 2", "workers: 0", "job.yaml:2: workers: must be greater than or equal to 1 (got 0)"),
        ("workers: 2", "workers: two", 'job.yaml:2: workers: must be an integer (got "two")'),
        ("api: digits\n", "", "job.yaml:1: api: must be defined"),
        ("  batch_size: 3", "  batchsize: 3", 'job.yaml:5: file_path_lister: key "batchsize" is not supported; did you mean "batch_size"?'),
        ("  batch_size: 3", "", "job.yaml:3: file_path_lister: batch_size: must be greater than or equal to 1 (got 0)"),
        (
            "file_path_lister",
            "item_list: {items: [1], batch_size: 1}\ndelimited_files",
            "job.yaml:4: please specify either the item_list or file_path_lister field (but not more than one at the same time)",
        ),
        (
            "file_path_lister",
            "sqs_dead_letter_queue:\n  arn: ''\n  max_receive_count: 1\nfile_path_lister",
            "job.yaml:4: sqs_dead_letter_queue: arn: cannot be empty",
        ),
        (
            JOB[JOB.index("file") :],
            "item_list:\n  batch_size: 1\n  items:\n    - 1\n    - 2020-01-01\n",
            "job.yaml:7:7: 2020-01-01 is a date, which JSON doesn't have; put it in quotes",
        ),
        (
            JOB[JOB.index("file") :],
            f"item_list:\n  batch_size: 1\n  items:\n    - 1\n    - {'x' * MAX_BATCH_BYTES}\n",
            "job.yaml:7: item 1 has size 262146 bytes which exceeds the limit (262141 bytes); put its data into a file, and list that",
        ),
        (
            JOB[JOB.index("file") :],
            "",
            "job.yaml:1: specify exactly one of the following keys: item_list, file_path_lister, or delimited_files",
        ),
        (JOB, "- 1", "job.yaml:1: must be a map (got a list)"),
        (JOB, "", "job.yaml: is empty"),
    ],
)
def test_job_file_errors_name_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, error: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_refusal(job(tmp_path, JOB.replace(old, new))) == error


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    text = JOB + "config: &shared {a: 1, deep: {x: 1, y: [2]}}\n"
    overrides = {"workers": 5, "config.a": {"b": None}, "config.deep.x": "new", "config.new.er": 0.5}
    submission = load_submission(job(tmp_path, text), overrides=overrides)
    assert submission.workers == 5
    assert submission.config == {"a": {"b": None}, "deep": {"x": "new", "y": [2]}, "new": {"er": 0.5}}
    assert load_submission(job(tmp_path, JOB), overrides={"config.k": 1}).config == {"k": 1}
    assert load_submission(job(tmp_path, JOB.replace("workers: 2\n", "")), overrides={"workers": 1}).workers == 1


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("workers", 0, "--workers: must be greater than or equal to 1 (got 0)"),
        ("workers", "3", '--workers: must be an integer (got "3")'),
        ("timeout", 3, '--set: "timeout" can\'t be set; set config.<key>, or config.<key>.<key>'),
        ("config", {}, '--set: "config" can\'t be set; set config.<key>, or config.<key>.<key>'),
        ("config..a", 1, '--set: "config..a" can\'t be set; set config.<key>, or config.<key>.<key>'),
        ("config.a.b", 1, '--set config.a.b: "a" is not a map'),
        ("config.b", float("inf"), "--set config.b: b: is inf, a number that JSON doesn't have; put it in quotes"),
        ("config" + ".b" * 200, 1, "--set config" + ".b" * 200 + ": " + "b: " * 20 + "is nested deeper than 100 levels"),
    ],
)
def test_overrides_refused(tmp_path: Path, key: str, value: Any, error: str) -> None:
    assert file_refusal(job(tmp_path, JOB + "config: {a: 1}\n"), **{key: value}) == error


def test_a_job_file_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = {"api": "digits", "workers": 1, "item_list": {"items": ["2020-01-01"], "batch_size": 1}}
    submission = load_submission(job(tmp_path, json.dumps(body), "job.json"), overrides={})
    assert submission.source == ItemList(items=["2020-01-01"], batch_size=1)
    error = file_refusal(job(tmp_path, json.dumps({**body, "worker": 1}, indent=1), "job.json"))
    assert error == 'job.json:10: key "worker" is not supported; did you mean "workers"?'


@pytest.mark.parametrize("name", ["job.yaml", "job.json"])
def test_a_hundred_thousand_items(tmp_path: Path, name: str) -> None:
    items = [{"path": f"s3://bucket/{index}.png", "index": index} for index in range(100_000)]
    head = {"api": "digits", "workers": 1}
    if name == "job.json":
        text = json.dumps({**head, "item_list": {"items": items, "batch_size": 10}})
    else:
        lines = (f"  - {{path: {item['path']}, index: {item['index']}}}\n" for item in items)
        text = "api: digits\nworkers: 1\nitem_list:\n  batch_size: 10\n  items:\n" + "".join(lines)
    source = load_submission(job(tmp_path, text, name), overrides={}).source
    assert source == ItemList(items=items, batch_size=10)
