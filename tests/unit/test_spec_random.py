"""Whatever comes in, a reader succeeds or raises InvalidInput; what it accepts can be stored."""

import json
import tempfile
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.errors import InvalidInput, SeveralErrors
from batchflow.spec.api import load_apis, parse_api
from batchflow.spec.jobfile import load_submission
from batchflow.spec.reader import MAX_TOLD
from batchflow.spec.stored import api_document, api_from_document, submission_document, submission_from_document
from batchflow.spec.submission import parse_submission
from batchflow.spec.yamltext import line_of

# fmt: off
WORDS = [
    "name", "kind", "networking", "endpoint", "handler", "predictor", "pod", "compute", "node_groups", "batchflow", "type", "path",
    "config", "python_path", "image", "env", "log_level", "shm_size", "dependencies", "pip", "models", "paths", "containers", "command",
    "args", "port", "readiness_probe", "liveness_probe", "http_get", "tcp_socket", "exec", "cpu", "mem", "gpu", "inf", "shm",
    "tolerations", "key", "operator", "workers", "timeout", "sqs_dead_letter_queue", "arn", "max_receive_count", "item_list", "items",
    "batch_size", "file_path_lister", "delimited_files", "s3_paths", "includes", "excludes", "BatchAPI", "python", "tensorflow", "h.py",
    "a", "200m", "1Gi", "on_job_complete", "memory_limit", "api", "file", "api_gateway", "public", "autoscaling", "update_strategy",
    "pre_stop", "max_concurrency", "protobuf_path", "processes_per_replica", "period_seconds", "failure_threshold", "quay.io/cortexlabs/x",
]
# fmt: on

EXAMPLES = 150
KINDS = ["BatchAPI", "RealtimeAPI", "AsyncAPI", "TaskAPI", "TrafficSplitter", "JobDeployment", "Other"]

words = st.sampled_from(WORDS)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=6))
odd = st.sampled_from([b"bytes", {1, 2}, {3: 4}, (1,), object(), "\ud800", 2**64])

containers = st.fixed_dictionaries(
    {"name": words, "image": words, "command": st.lists(words, min_size=1, max_size=2)}, optional={"compute": values, "env": values}
)
pods = st.fixed_dictionaries({"containers": st.lists(containers, min_size=1, max_size=2)}, optional={"port": st.integers(0, 70_000)})
handlers = st.fixed_dictionaries({"type": words, "path": words}, optional={"config": values, "env": values, "models": values})
networking = st.fixed_dictionaries({}, optional={"endpoint": words, "api_gateway": words | st.sampled_from(["public", "none"])})
entries = st.fixed_dictionaries(
    {"name": words, "kind": st.just("BatchAPI") | st.sampled_from(KINDS)},
    optional={"pod": pods, "handler": handlers, "batchflow": values, "networking": networking | values, "autoscaling": values, "x": values},
)
files = st.fixed_dictionaries({"s3_paths": st.lists(words, max_size=2), "batch_size": st.integers(0, 3)}, optional={"includes": values})
bodies = st.fixed_dictionaries(
    {"workers": st.integers(0, 3)},
    optional={
        "item_list": st.fixed_dictionaries({"items": st.lists(values, max_size=3), "batch_size": st.integers(0, 3)}),
        "file_path_lister": files,
        "delimited_files": files,
        "timeout": scalars,
        "config": values,
        "sqs_dead_letter_queue": values,
    },
)


@settings(deadline=None, max_examples=EXAMPLES)
@given(values | odd | entries)
def test_any_value_as_an_api(value: Any) -> None:
    try:
        api = parse_api(value, where="x")
    except InvalidInput as error:
        assert "\n" not in str(error)
        return
    assert api_from_document(orjson.loads(orjson.dumps(api_document(api)))) == api


@settings(deadline=None, max_examples=EXAMPLES)
@given(values | odd | bodies, st.booleans())
def test_any_value_as_a_submission(value: Any, strict: bool) -> None:
    try:
        submission = parse_submission(value, api="a", strict=strict)
    except InvalidInput as error:
        assert "\n" not in str(error)
        return
    assert submission_from_document(orjson.loads(orjson.dumps(submission_document(submission))), api="a") == submission


pieces = st.sampled_from(
    [*WORDS[:20], *"\n \t:-,[]{}&*!|>'\"#%@`?<~0123456789.", "- ", ": ", "\n  ", "&a ", "*a", "<<: ", "---\n", "...", "\\u", "é", "\0"]
)
texts = (
    st.lists(pieces, max_size=40).map("".join)
    | st.text(max_size=60)
    | st.lists(entries, max_size=3).map(lambda value: json.dumps(value, indent=1))
    | bodies.map(lambda value: json.dumps({"api": "a", **value}))
)


@settings(deadline=None, max_examples=EXAMPLES)
@given(texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60), st.sampled_from([".yaml", ".json"]))
def test_any_text_as_a_file(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file" + suffix)
        path.write_bytes(content)
        for read in (load_apis, lambda path: load_submission(path, overrides={})):
            try:
                read(path)
            except InvalidInput as error:
                told = error.errors if isinstance(error, SeveralErrors) else (error,)
                assert all(one.where.startswith(str(path)) for one in (error, *told))
                assert len(told) <= MAX_TOLD


UNKNOWN_AT: list[tuple[str | int, ...]] = [
    (),
    ("networking",),
    ("pod",),
    ("pod", "containers", 0),
    ("pod", "containers", 0, "compute"),
    ("pod", "containers", 0, "readiness_probe"),
    ("pod", "containers", 0, "readiness_probe", "http_get"),
    ("pod", "containers", 1),
    ("batchflow",),
    ("batchflow", "tolerations", 0),
]


def entry_with_unknown_keys(places: Iterable[int]) -> dict[str, Any]:
    probe = {"http_get": {"port": 80}}
    container = {"image": "i", "command": ["c"], "compute": {"cpu": 1}, "readiness_probe": probe}
    containers = [{"name": "a", **container}, {"name": "b", **deepcopy(container)}]
    entry = {"name": "a", "kind": "BatchAPI", "networking": {}, "pod": {"containers": containers}}
    entry["batchflow"] = {"tolerations": [{"key": "k"}]}
    for place in places:
        inner: Any = entry
        for key in UNKNOWN_AT[place]:
            inner = inner[key]
        inner[f"unknown{place}"] = 1
    return entry


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.sets(st.integers(0, len(UNKNOWN_AT) - 1), min_size=2))
def test_every_unknown_key_is_named_wherever_it_is(places: set[int]) -> None:
    try:
        parse_api(entry_with_unknown_keys(places), where="x")
    except SeveralErrors as error:
        assert sorted(one.what for one in error.errors) == sorted(f'key "unknown{place}" is not supported' for place in places)
    else:
        raise AssertionError("nothing was refused")


@settings(deadline=None, max_examples=EXAMPLES)
@given(texts, st.lists(words | st.integers(0, 3), max_size=4).map(tuple))
def test_a_line_is_one_of_the_text_or_none(text: str, keys: tuple[str | int, ...]) -> None:
    assert (
        0
        <= line_of(text, keys)
        <= text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    )
