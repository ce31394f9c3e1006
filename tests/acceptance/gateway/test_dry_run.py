"""`dryRun`: the examples of filtering in Cortex's documentation, and that nothing comes of a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Json
from tests.acceptance.gateway.kit import Answer, Gateway, files_of, item_list
from tests.acceptance.gateway.s3 import s3_put

FILES = ("img_1.png", "img_2.jpg", "img_3.jpg", "img_4.gif")
IMAGES = [f"s3://bucket/images/{name}" for name in FILES]
TRUE = ["true", "t", "1", "T", "True", "TRUE"]
FALSE = ["false", "f", "0", "F", "False", "FALSE", ""]

# The documentation's examples of filtering: what is asked for, and what "would be selected".
EXAMPLES: dict[str, tuple[Json, list[str]]] = {
    "all files of a folder": ({"s3_paths": ["s3://bucket/images/"]}, IMAGES),
    "all files of a prefix": ({"s3_paths": ["s3://bucket/images/img"]}, IMAGES),
    "specific files": ({"s3_paths": ["s3://bucket/images/img_1.png", "s3://bucket/images/img_2.jpg"]}, IMAGES[:2]),
    "only JPG files": ({"s3_paths": ["s3://bucket/images/"], "includes": ["**.jpg"]}, IMAGES[1:3]),
    "all JPG files but one": ({"s3_paths": ["s3://bucket/images/"], "includes": ["**.jpg"], "excludes": ["**_3.jpg"]}, IMAGES[1:2]),
    "all files but GIFs": ({"s3_paths": ["s3://bucket/images/"], "excludes": ["**.gif"]}, IMAGES[:3]),
    # Further ones, of spec/cortex.md section 5.
    "a bucket": ({"s3_paths": ["s3://bucket"]}, IMAGES),
    "overlapping entries": ({"s3_paths": ["s3://bucket/images/img_2", "s3://bucket/images/"]}, [IMAGES[1], *IMAGES]),
    "alternatives": ({"s3_paths": ["s3://bucket/"], "includes": ["**.{gif,png}"]}, [IMAGES[0], IMAGES[3]]),
    "an entry without a file beside one with": ({"s3_paths": ["s3://bucket/none", "s3://bucket/images/img_4"]}, IMAGES[3:]),
}


@pytest.fixture(scope="module", autouse=True)
def bucket(moto: str) -> None:
    s3_put(moto, "bucket")
    s3_put(moto, "bucket/images/")  # as consoles make folders; it is no file
    for name in FILES:
        s3_put(moto, f"bucket/images/{name}", b'{"a": 1}\n')


def is_text(answer: Answer, status: int, text: str) -> None:
    assert (answer.status, answer.type.partition(";")[0], answer.text) == (status, "text/plain", text)


@pytest.mark.parametrize("source", ["file_path_lister", "delimited_files"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_files_are_listed_as_documented(gateway: Gateway, name: str, source: str) -> None:
    filters, selected = EXAMPLES[name]
    before = files_of(Path(gateway.store))
    answer = gateway.post("/batch/plain?dryRun=true", {"workers": 1, source: {**filters, "batch_size": 2}})
    is_text(answer, 200, "".join(f"{path}\n" for path in selected) + "validations passed")
    assert files_of(Path(gateway.store)) == before


@pytest.mark.parametrize("query", [f"dryRun={word}" for word in TRUE] + ["a=b&dryRun=true", "dryRun=true&jobID=1"])
@pytest.mark.parametrize("path", ["/batch/plain", "/some/other_path.v1"])
def test_every_spelling_of_true_is_a_dry_run(gateway: Gateway, path: str, query: str) -> None:
    before = files_of(Path(gateway.store))
    is_text(gateway.post(f"{path}?{query}", item_list()), 200, "validations passed")
    assert files_of(Path(gateway.store)) == before


@pytest.mark.parametrize("word", FALSE)
def test_what_is_no_dry_run_is_answered_in_json(gateway: Gateway, word: str) -> None:
    answer = gateway.post(f"/batch/plain?dryRun={word}", item_list(workers=0))
    assert (answer.status, answer.json()["kind"]) == (400, "configreader.must_be_greater_than_or_equal_to")


def test_bad_json_is_answered_in_json(gateway: Gateway) -> None:
    assert gateway.post("/batch/plain?dryRun=true", b"{").json()["kind"] == "error"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"file_path_lister": {"s3_paths": ["s3://bucket/none"], "batch_size": 1}}, "file_path_lister: no s3 files match search criteria"),
        ({"delimited_files": {"s3_paths": ["s3://no-bucket"], "batch_size": 1}}, 'delimited_files: bucket "no-bucket" not found'),
        ({"file_path_lister": {"s3_paths": [], "batch_size": 1}}, "file_path_lister: s3_paths: must contain at least 1 elements"),
    ],
)
def test_a_failure_is_text_between_line_ends(gateway: Gateway, source: Any, message: str) -> None:
    is_text(gateway.post("/batch/plain?dryRun=true", {"workers": 1, **source}), 400, f"\n{message}\n")


def test_paths_are_utf_8_and_stay_as_they_are(gateway: Gateway, moto: str) -> None:
    s3_put(moto, "odd-names")
    names = ["a//b", "a b+c", "é/日", "%2e%2e", "new%0Aline"]
    for name in ["a//b", "a%20b%2Bc", "%C3%A9/%E6%97%A5", "%252e%252e", "new%250Aline"]:
        s3_put(moto, f"odd-names/{name}", b"1")
    answer = gateway.post(
        "/batch/plain?dryRun=true", {"workers": 1, "file_path_lister": {"s3_paths": ["s3://odd-names/"], "batch_size": 1}}
    )
    lines = answer.body.decode("utf-8").split("\n")
    assert lines[-1] == "validations passed"
    assert sorted(lines[:-1]) == sorted(f"s3://odd-names/{name}" for name in names)


def test_a_long_listing_is_whole(gateway: Gateway, moto: str) -> None:
    """More than S3 lists at a time."""
    s3_put(moto, "long-listing")
    for number in range(1_100):
        s3_put(moto, f"long-listing/{number:04}")
    body = {"workers": 1, "file_path_lister": {"s3_paths": ["s3://long-listing/"] * 3, "excludes": ["**7"], "batch_size": 1}}
    answer = gateway.post("/batch/plain?dryRun=true", json.dumps(body).encode())
    once = "".join(f"s3://long-listing/{number:04}\n" for number in range(1_100) if number % 10 != 7)
    is_text(answer, 200, once * 3 + "validations passed")
