"""A submission's body before its rules: what is no JSON, of the wrong type, too large; and what Cortex's clients may send all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.command import Json
from tests.acceptance.gateway.kit import Gateway, is_error, item_list

BODY_LIMIT = 10 * 2**20
FIFO = "arn:aws:sqs:us-west-2:123456789012:failed.fifo"


@pytest.fixture(scope="module", autouse=True)
def no_job(gateway: Gateway) -> Iterator[None]:
    """Whatever is asked for here, no job may come of it."""
    yield
    assert gateway.job_ids("plain") == []


BAD_JSON: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n\t ",
    "a word": b"nul",
    "cut off": b'{"workers": 1, "item_list": {"items": [1',
    "two documents": b"{} {}",
    "a trailing comma": b'{"workers": 1,}',
    "single quotes": b"{'workers': 1}",
    "a comment": b'{"workers": 1} // one',
    "YAML": b"workers: 1",
    "NaN": b'{"workers": 1, "item_list": {"items": [NaN], "batch_size": 1}}',
    "Infinity": b'{"workers": 1, "item_list": {"items": [-Infinity], "batch_size": 1}}',
    "a byte order mark": b'\xef\xbb\xbf{"workers": 1}',
    "UTF-16": '{"workers": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"workers": 1}'.encode("utf-16-le"),
    "UTF-32": '{"workers": 1}'.encode("utf-32"),
    "bytes that are no UTF-8": b'{"workers": 1, "config": {"a": "\xff\xfe"}}',
    "a surrogate as UTF-8": b'{"workers": 1, "config": {"a": "\xed\xa0\x80"}}',
    "a control character in a string": b'{"workers": 1, "config": {"a": "\x01"}}',
    "NUL": b'\0{"workers": 1}',
    "leading zeros": b'{"workers": 01}',
    "brackets without end": b"[" * 200_000,
    "maps without end": b'{"a":' * 200_000,
    "deep nesting": b'{"workers": 1, "item_list": {"batch_size": 1, "items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\xca\xc8\xcc)V\xb22\xaa\x05\x00",
    "a form": b"workers=1&items=2",
    "a list": b"[]",
    "a string": b'"workers"',
    "a number": b"1",
    "true": b"true",
    "a file": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n{}\r\n--x--\r\n",
}


@pytest.mark.parametrize("query", ["", "?dryRun=true"], ids=["submission", "dry run"])
@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_no_json_object_is_answered_by_the_parsers_text(gateway: Gateway, name: str, query: str) -> None:
    answer = gateway.post(f"/batch/plain{query}", BAD_JSON[name])
    parsers = answer.json()["message"].partition("\n\n")[0]
    assert parsers
    is_error(answer, "error", parsers, schema_of=gateway)


WRONG_TYPES: list[tuple[str, Any]] = [
    ("workers", "1"),
    ("workers", 1.5),
    ("workers", True),
    ("workers", [1]),
    ("timeout", "3600"),
    ("timeout", 0.5),
    ("config", [1]),
    ("config", "a"),
    ("item_list", []),
    ("item_list.items", {"a": 1}),
    ("item_list.items", "abc"),
    ("item_list.batch_size", "1"),
    ("item_list.batch_size", False),
    ("file_path_lister", "s3://bucket/a"),
    ("file_path_lister.s3_paths", "s3://bucket/a"),
    ("file_path_lister.s3_paths", [1]),
    ("file_path_lister.includes", "**"),
    ("delimited_files.excludes", {"a": 1}),
    ("delimited_files.batch_size", {}),
    ("sqs_dead_letter_queue", FIFO),
    ("sqs_dead_letter_queue.arn", 1),
    ("sqs_dead_letter_queue.max_receive_count", "3"),
]


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES, ids=lambda value: str(value))
def test_a_wrong_type_wins_over_a_broken_rule_and_is_named(gateway: Gateway, field: str, value: Any) -> None:
    head, _, tail = field.partition(".")
    body: Json = {"workers": 0, "timeout": 0}
    body[head] = {"batch_size": 0, tail: value} if tail else value
    answer = gateway.post("/batch/plain", body)
    parsers = answer.json()["message"].partition("\n\n")[0]
    is_error(answer, "error", parsers, schema_of=gateway)
    assert (tail or head) in parsers


HUGE = "9" * 400
NUMBERS = {
    "workers of 20 digits": f'{{"workers": {10**20}, "item_list": {{"items": [1], "batch_size": 1}}}}',
    "workers of 400 digits": f'{{"workers": {HUGE}, "item_list": {{"items": [1], "batch_size": 1}}}}',
    "workers of 5,000 digits": f'{{"workers": {"9" * 5000}, "item_list": {{"items": [1], "batch_size": 1}}}}',
    "an exponent": '{"workers": 1e400, "item_list": {"items": [1], "batch_size": 1}}',
    "a batch_size of 20 digits": f'{{"workers": 1, "item_list": {{"items": [1], "batch_size": {10**20}}}}}',
    "a timeout of 400 digits": f'{{"workers": 1, "timeout": {HUGE}, "item_list": {{"items": [1], "batch_size": 1}}}}',
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_field_that_is_a_number_beyond_64_bits_is_no_number(gateway: Gateway, name: str) -> None:
    answer = gateway.post("/batch/plain?dryRun=1", NUMBERS[name].encode())
    is_error(answer, "error", answer.json()["message"].partition("\n\n")[0], schema_of=gateway)


TAKEN: dict[str, bytes] = {
    "unknown keys": json.dumps(
        {**item_list(), "color": {"red": 1}, "item_list": {"items": [1], "batch_size": 1, "x": 2}, "api_name": "z"}
    ).encode(),
    "null": json.dumps(
        {**item_list(), "timeout": None, "config": None, "sqs_dead_letter_queue": None, "file_path_lister": None, "delimited_files": None}
    ).encode(),
    "a key that is there twice": b'{"workers": 0, "workers": 1, "item_list": {"items": [1], "batch_size": 0, "batch_size": 1}}',
    "escaped keys": b'{"\\u0077orkers": 1, "item_list": {"items": [1], "batch_size": 1}}',
    "white space around": b' \r\n\t{"workers": 1, "item_list": {"items": [1], "batch_size": 1}}\n\n',
    "text that Argo would expand": json.dumps(item_list(["{{workflow.name}}"], config={"{{a}}": "{{b}}"})).encode(),
    "nesting as deep as anybody needs": b'{"workers": 1, "item_list": {"batch_size": 1, "items": [' + b"[" * 90 + b"]" * 90 + b"]}}",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_cortex_took_is_taken(gateway: Gateway, name: str) -> None:
    answer = gateway.post("/batch/plain?dryRun=true", TAKEN[name])
    assert (answer.status, answer.text) == (200, "validations passed")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "image/png", ""])
def test_a_body_is_json_whatever_it_is_said_to_be(gateway: Gateway, content_type: str) -> None:
    """curl -d says that it sends a form."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = gateway.request("POST", "/batch/plain?dryRun=true", json.dumps(item_list()).encode(), headers=headers)
    assert (answer.status, answer.text) == (200, "validations passed")


def test_a_body_without_a_length_is_taken(gateway: Gateway) -> None:
    body = json.dumps(item_list()).encode()
    answer = gateway.post("/batch/plain?dryRun=true", body)
    chunked = gateway.request("POST", "/batch/plain?dryRun=true", iter([body[:10], body[10:11], body[11:]]))
    assert chunked.same_as(answer)


def padded(size: int) -> bytes:
    """A good body of that many bytes."""
    head, tail = b'{"workers": 1, "item_list": {"batch_size": 1, "items": [1]}', b"}"
    return head + b" " * (size - len(head) - len(tail)) + tail


def pieces(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 65_536] for at in range(0, len(body), 65_536))


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("over", [0, 1, 2**20, 20 * 2**20])
def test_a_body_may_have_10_mib_and_no_byte_more(gateway: Gateway, chunked: bool, over: int) -> None:
    body = padded(BODY_LIMIT + over)
    answer = gateway.request("POST", "/batch/plain?dryRun=true", pieces(body) if chunked else body)
    if over:
        is_error(answer, "error", "http: request body too large")
    else:
        assert (answer.status, answer.text) == (200, "validations passed")


def test_a_large_body_is_refused_before_its_json_is_looked_at(gateway: Gateway) -> None:
    is_error(gateway.post("/batch/plain", b"{" * (BODY_LIMIT + 1)), "error", "http: request body too large")


@pytest.mark.parametrize(
    "body", [json.dumps(item_list()).encode(), b"no json", b"", padded(BODY_LIMIT + 1)], ids=["good", "bad", "empty", "large"]
)
@pytest.mark.parametrize("query", ["", "?dryRun=true"])
def test_an_api_that_is_not_deployed_is_said_first(gateway: Gateway, body: bytes, query: str) -> None:
    answer = gateway.post(f"/batch/nobody{query}", body)
    is_error(answer, "resources.api_not_deployed", "nobody is not deployed")
