"""Apis and submissions survive being stored, and stored documents are checked when they come back."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from batchflow.errors import InvalidInput
from batchflow.spec.api import parse_api
from batchflow.spec.model import DeadLetterQueue, DelimitedFiles, FilePathLister, ItemList, Submission
from batchflow.spec.stored import api_document, api_from_document, api_id, submission_document, submission_from_document

POD = {
    "name": "a",
    "kind": "BatchAPI",
    "pod": {"containers": [{"name": "c", "image": "i", "command": ["x"], "compute": {"cpu": None, "mem": "1Gi"}}]},
    "batchflow": {"on_job_complete": False},
}
HANDLER = {"name": "a", "kind": "BatchAPI", "predictor": {"type": "python", "path": "h.py", "config": {"é": [1, 0.5, None]}}}


@pytest.mark.parametrize("entry", [POD, HANDLER])
@pytest.mark.parametrize(("project", "has_hook"), [(None, True), ("ab" * 32, False)])
def test_an_api_comes_back_as_it_was(entry: dict[str, Any], project: str | None, has_hook: bool) -> None:
    api = replace(parse_api(entry, where="here"), project=project, has_hook=has_hook)
    document = api_document(api)
    assert document == {"api": entry, "project": project, "has_hook": has_hook}
    assert api_from_document(orjson.loads(orjson.dumps(document))) == api


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"api": POD},
        {"api": [], "project": None, "has_hook": True},
        {"api": POD, "project": 3, "has_hook": True},
        {"api": POD, "project": None, "has_hook": None},
    ],
)
def test_a_document_of_another_shape_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"^stored api: is not what batchflow stores for an api; deploy the api again$"):
        api_from_document(document)


def test_a_stored_entry_is_checked_again() -> None:
    with pytest.raises(InvalidInput, match=r"^stored api: a \(BatchAPI\): pod: port: must be an integer"):
        api_from_document({"api": {**POD, "pod": {**POD["pod"], "port": "80"}}, "project": None, "has_hook": True})


def test_an_api_id_is_of_the_content() -> None:
    document = api_document(parse_api(POD, where=""))
    backwards = {key: document[key] for key in reversed(document)}
    backwards["api"] = {key: document["api"][key] for key in reversed(document["api"])}
    assert api_id(document) == api_id(backwards) == "2e76a7eb519cf9b850ec5690790f91a5"
    assert api_id({**document, "project": "ab" * 32}) != api_id(document)


ARN = "arn:aws:sqs:us-west-2:1:dead.fifo"
FILES = {"s3_paths": ("s3://b/p", "/dir/"), "batch_size": 2}


@pytest.mark.parametrize(
    ("submission", "document"),
    [
        (
            Submission(api="a", workers=1, source=ItemList(items=[{"é": None}, 0.5, []], batch_size=1)),
            {"workers": 1, "item_list": {"items": [{"é": None}, 0.5, []], "batch_size": 1}},
        ),
        (
            Submission(
                "a",
                1,
                FilePathLister(**FILES),
                timeout_s=5,
                dead_letter_queue=DeadLetterQueue("arn:aws:sqs:us-west-2:1:dead.fifo", 3),
                config={},
            ),
            {
                "workers": 1,
                "timeout": 5,
                "sqs_dead_letter_queue": {"arn": ARN, "max_receive_count": 3},
                "config": {},
                "file_path_lister": {"s3_paths": ["s3://b/p", "/dir/"], "batch_size": 2},
            },
        ),
        (
            Submission("a", 1, DelimitedFiles(**FILES, includes=("**.json",), excludes=("*",)), config={"k": {"l": [1]}}),
            {
                "workers": 1,
                "config": {"k": {"l": [1]}},
                "delimited_files": {"s3_paths": ["s3://b/p", "/dir/"], "includes": ["**.json"], "excludes": ["*"], "batch_size": 2},
            },
        ),
    ],
)
def test_a_submission_comes_back_as_it_was(submission: Submission, document: dict[str, Any]) -> None:
    assert submission_document(submission) == document
    assert submission_from_document(orjson.loads(orjson.dumps(document)), api="a") == submission


def test_a_stored_submission_is_checked_again() -> None:
    with pytest.raises(InvalidInput, match=r'^key "worker" is not supported'):
        submission_from_document({"worker": 1}, api="a")
