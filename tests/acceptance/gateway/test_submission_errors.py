"""Every row of Cortex's table of errors (spec/cortex.md section 4) as a client sees it, in its order and words.

Not here: an api of another kind, which there is none of until job deployments come. The limits are those of the documentation that users
have, 256 KiB, not of Cortex's code.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.command import Json
from tests.acceptance.gateway.kit import Gateway, is_error, item_list
from tests.acceptance.gateway.s3 import s3_put

ITEM_LIMIT = 262_141  # an item alone in its batch, between two brackets, stays below 256 KiB
FIFO = "arn:aws:sqs:us-west-2:123456789012:failed.fifo"
PATHS = ["/batch/plain", "/plain", "/batch/renamed", "/some/other_path.v1"]
BUCKET = "submission-errors"


@dataclass(frozen=True)
class Rule:
    """A row: what breaks it, the answer's kind and message, and whether the schema's address follows (†)."""

    name: str
    breaks: Callable[[Json], Any]
    kind: str
    message: str
    schema: bool = True


TOO_SMALL = "configreader.must_be_greater_than_or_equal_to"
AT_LEAST_1 = "must be greater than or equal to 1 (got 0)"


def source_of(body: Json) -> Json:
    return dict(body)[next(key for key in body if key in ("item_list", "file_path_lister", "delimited_files"))]  # type: ignore[no-any-return]


def dead_letters(body: Json) -> Json:
    queue: Json = body.setdefault("sqs_dead_letter_queue", {"arn": FIFO, "max_receive_count": 1})
    return queue


def rules(source: str) -> list[Rule]:
    """The rows that every source can break, in their order, with what is special to this one."""
    other = "item_list" if source != "item_list" else "file_path_lister"
    two = Rule(
        "several sources",
        lambda body: body.update({other: {"batch_size": 1}}),
        "job.conflicting_fields",
        "please specify either the item_list or file_path_lister field (but not more than one at the same time)",
    )
    common = [
        Rule("batch_size", lambda body: source_of(body).update(batch_size=0), TOO_SMALL, f"{source}: batch_size: {AT_LEAST_1}"),
        Rule("workers", lambda body: body.update(workers=0), TOO_SMALL, f"workers: {AT_LEAST_1}"),
        Rule("timeout", lambda body: body.update(timeout=0), TOO_SMALL, f"timeout: {AT_LEAST_1}"),
        Rule(
            "arn",
            lambda body: dead_letters(body).update(arn=""),
            "configreader.cannot_be_empty",
            "sqs_dead_letter_queue: arn: cannot be empty",
        ),
        Rule(
            "receive count",
            lambda body: dead_letters(body).update(max_receive_count=0),
            TOO_SMALL,
            f"sqs_dead_letter_queue: max_receive_count: {AT_LEAST_1}",
        ),
    ]
    return [two, *(ITEMS if source == "item_list" else []), *common, *(_files(source) if source != "item_list" else [])]


ITEMS = [
    Rule(
        "no items",
        lambda body: source_of(body).update(items=[]),
        "configreader.too_few_elements",
        "items: must contain at least 1 elements",
    )
]
BIG_ITEM = Rule(
    "big item",
    lambda body: source_of(body).update(items=[1, "x" * (ITEM_LIMIT - 1)]),
    "batchapi.item_size_exceeds_limit",
    f"item 1 has size {ITEM_LIMIT + 1} bytes which exceeds the limit ({ITEM_LIMIT} bytes)",
)
NO_SOURCE = Rule(
    "no source",
    lambda body: [body.pop(key, None) for key in ("item_list", "file_path_lister", "delimited_files")],
    "job.specify_exactly_one_key",
    "specify exactly one of the following keys: item_list, file_path_lister, or delimited_files",
)


def _files(source: str) -> list[Rule]:
    """The rows about files that a body may break together; each is without the schema's address."""
    return [
        Rule(
            "no paths",
            lambda body: source_of(body).update(s3_paths=[]),
            "configreader.too_few_elements",
            f"{source}: s3_paths: must contain at least 1 elements",
            schema=False,
        )
    ]


def s3_rules(source: str) -> list[Rule]:
    """The rows about paths, from the one that is found last to the one that is found first: `s3_paths` has one value only."""
    return [
        Rule(
            "nothing matches",
            lambda body: source_of(body).update(s3_paths=[f"s3://{BUCKET}/nothing"]),
            "batchapi.no_s3_files_found",
            f"{source}: no s3 files match search criteria",
            schema=False,
        ),
        Rule(
            "globs let nothing through",
            lambda body: source_of(body).update(includes=["**.jpg"]),
            "batchapi.no_s3_files_found",
            f"{source}: no s3 files match search criteria",
            schema=False,
        ),
        Rule(
            "no such bucket",
            lambda body: source_of(body).update(s3_paths=["s3://no-such-bucket/a"]),
            "aws.bucket_not_found",
            f'{source}: bucket "no-such-bucket" not found',
            schema=False,
        ),
    ]


BODIES: dict[str, Json] = {
    "item_list": item_list(),
    "file_path_lister": {"workers": 1, "file_path_lister": {"s3_paths": [f"s3://{BUCKET}/a"], "batch_size": 1}},
    "delimited_files": {"workers": 1, "delimited_files": {"s3_paths": [f"s3://{BUCKET}/a"], "batch_size": 1}},
}


def broken() -> Iterator[tuple[str, Json, Rule]]:
    """Bodies that break one rule, and bodies that break this and every later one: an id, the body, the rule that is answered."""
    for source, good in BODIES.items():
        ordered = rules(source)
        for index, rule in enumerate(ordered):
            for name, later in (("alone", []), ("first of several", ordered[index + 1 :])):
                body = copy.deepcopy(good)
                for one in [*reversed(later), rule]:
                    one.breaks(body)
                yield f"{source}-{rule.name}-{name}", body, rule
        for rule in [NO_SOURCE, *([BIG_ITEM] if source == "item_list" else s3_rules(source))]:
            body = copy.deepcopy(good)
            rule.breaks(body)
            yield f"{source}-{rule.name}-alone", body, rule
    body = copy.deepcopy(BODIES["item_list"])
    for rule in [*reversed(rules("item_list")[2:]), BIG_ITEM]:
        rule.breaks(body)
    yield "item_list-big item-first of several", body, BIG_ITEM


BROKEN = {name: (body, rule) for name, body, rule in broken()}


@pytest.fixture(scope="module", autouse=True)
def bucket(moto: str, gateway: Gateway) -> Iterator[None]:
    """A bucket with one file; whatever is asked for here, no job may come of it."""
    s3_put(moto, BUCKET)
    s3_put(moto, f"{BUCKET}/a")
    yield
    assert gateway.job_ids("plain") == gateway.job_ids("renamed") == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BROKEN)
def test_the_first_rule_that_a_body_breaks_is_answered_in_cortex_words(gateway: Gateway, path: str, name: str) -> None:
    body, rule = BROKEN[name]
    is_error(gateway.post(path, body), rule.kind, rule.message, schema_of=gateway if rule.schema else None)


@pytest.mark.parametrize("name", BROKEN)
def test_a_dry_run_says_the_same_as_text(gateway: Gateway, name: str) -> None:
    body, _ = BROKEN[name]
    as_json = gateway.post("/batch/plain", body).json()["message"]
    dry = gateway.post("/batch/plain?dryRun=true", body)
    assert (dry.status, dry.type.partition(";")[0], dry.text) == (400, "text/plain", f"\n{as_json}\n")


@pytest.mark.parametrize("source", ["file_path_lister", "delimited_files"])
@pytest.mark.parametrize("field", ["includes", "excludes"])
@pytest.mark.parametrize("pattern", ["[", "[]", "a[z-a]b", "{[}"])
def test_a_bad_glob_is_named(gateway: Gateway, source: str, field: str, pattern: str) -> None:
    body = copy.deepcopy(BODIES[source])
    body[source].update({field: ["**", pattern], "s3_paths": ["s3://no-such-bucket/a", "nonsense"]})
    answer = gateway.post("/batch/plain", body)
    document = answer.json()
    assert answer.status == 400 and list(document) == ["kind", "message"] and document["kind"] == "error"
    assert re.fullmatch(re.escape(f"{source}: {field}: {pattern}: ") + r"[^\n]+", document["message"]), document


@pytest.mark.parametrize("source", ["file_path_lister", "delimited_files"])
@pytest.mark.parametrize(
    "path",
    ["", "a", "/etc/passwd", "file:///etc/passwd", "s3:/bucket/a", "s3://", "s3:///a", "gs://bucket/a", "https://x.example/a", "~/a"],
)
def test_what_is_no_s3_path_is_refused_also_on_a_laptop(gateway: Gateway, source: str, path: str) -> None:
    """The laptop's own files are for who sits there."""
    body = copy.deepcopy(BODIES[source])
    body[source]["s3_paths"] = [path]
    answer = gateway.post("/batch/plain", body)
    document = answer.json()
    assert answer.status == 400 and list(document) == ["kind", "message"] and document["kind"] == "aws.invalid_s3_path"
    assert re.fullmatch(re.escape(f'{source}: "{path}" is not a valid s3 path (e.g. s3://') + r"[^\n)]+\)", document["message"]), document


@pytest.mark.parametrize("number", [0, -1, -(2**31)])
def test_a_number_that_is_too_small_is_shown(gateway: Gateway, number: int) -> None:
    answer = gateway.post("/batch/plain", item_list(workers=number))
    is_error(answer, TOO_SMALL, f"workers: must be greater than or equal to 1 (got {number})", schema_of=gateway)


@pytest.mark.parametrize("body", [{"item_list": {"items": [1], "batch_size": 1}}, item_list() | {"workers": None}], ids=["absent", "null"])
def test_what_is_absent_or_null_is_zero(gateway: Gateway, body: Json) -> None:
    is_error(gateway.post("/batch/plain", body), TOO_SMALL, f"workers: {AT_LEAST_1}", schema_of=gateway)


def test_the_largest_item_is_taken(gateway: Gateway) -> None:
    body = item_list(["x" * (ITEM_LIMIT - 2)])
    assert gateway.post("/batch/plain?dryRun=true", body).text == "validations passed"


def test_a_batch_that_is_too_large_is_refused(gateway: Gateway) -> None:
    half = "x" * (ITEM_LIMIT // 2)
    answer = gateway.post("/batch/plain", item_list([half, half, half], batch_size=2))
    assert (answer.status, answer.json()["kind"]) == (400, "error")
    assert "batch 0" in answer.json()["message"] and "262143 bytes limit" in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["/nobody", "/", "/batch", "/batch/", "/batch/plain/more", "/some", "/some/other_path.v1/more", "/renamed", "/%0A/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_no_endpoint_is_answered_in_both_systems_words(gateway: Gateway, path: str, method: str) -> None:
    answer = gateway.request(method, path, b"{}" if method == "POST" else None)
    document = answer.json()
    assert answer.status == 404 and sorted(document) == ["code", "kind", "message"], answer
    assert all(isinstance(value, str) and value for value in document.values())
