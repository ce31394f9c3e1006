"""A file of job deployments: what it may hold, and that every key that nobody knows is refused with its line."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchflow.errors import InvalidInput, SeveralErrors
from batchflow.spec.computeresource import Rules
from batchflow.spec.deploymentfile import check_job_deployments, job_deployments
from batchflow.spec.jobdeployment import parse_job_deployment, to_document
from batchflow.spec.reader import document_of, read_document

UNKNOWN = "zzzzzz"
MOUNTS = [
    {"type": "scratch", "mount_path": "/data"},
    {"type": "memory", "mount_path": "/dev/shm", "size_in_mb": 64},
    {"type": "secret", "mount_path": "/keys", "secret_name": "keys", "file_names": ["a"]},
    {"type": "shared", "mount_path": "/shared", "volume_id": "shared"},
]
FULL: dict[str, Any] = {
    "kind": "JobDeployment",
    "name": "one",
    "container_registry_settings": {"is_private": True, "credentials": {"name": "hub"}},
    "containers": [
        {
            "name": "a-0",
            "image": {"image": "a:1", "last_updated_at": "2026-11-22T10:58:55.000Z"},
            "exposed_port": 8000,
            "should_use_cached_image": True,
            "healthcheck": {"enabled": True, "port": 8000, "path": "/health"},
            "entrypoint_overrides": {"enabled": True, "entrypoint": ["a"], "cmd": ["b"]},
            "env": [{"name": "A", "value_or_reference_to_secret": "b", "type": "plain"}],
            "volume_mounts": MOUNTS,
        }
    ],
    "compute": {"name": "H100", "size": 1, "is_available": True},
    "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 1, "deadline_seconds": 600},
    "created_at": "2026-11-22T10:58:55.000Z",
    "endpoint_base_url": "https://batchflow.example.org/one",
}
LEAST: dict[str, Any] = {
    "kind": "JobDeployment",
    "name": "one",
    "containers": [{"image": "a:1", "exposed_port": 8000}],
    "compute": {"name": "H100", "size": 1},
    "scaling": {"max_replica_count": 1, "queue_message_ttl_seconds": 1, "deadline_seconds": 600},
}


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> int:
    """The number of job deployments in a file of this content."""
    monkeypatch.chdir(folder)
    file = folder / "deployment.yaml"
    file.write_text(yaml.safe_dump(value, sort_keys=False))
    documents = job_deployments(read_document(file))
    check_job_deployments(documents, Rules())
    return len(documents)


def with_unknown_key(value: Any, whole: Any = None, keys: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Copies of the document, each with an unknown key at the end of another one of its maps."""
    whole = value if whole is None else whole
    if isinstance(value, dict):
        copy = deepcopy(whole)
        inner = copy
        for key in keys:
            inner = inner[key]
        inner[UNKNOWN] = 1
        yield copy
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from with_unknown_key(inner, whole, (*keys, key))


@pytest.mark.parametrize("value", [FULL, LEAST, [LEAST], [FULL, {**LEAST, "name": "two"}]])
def test_one_or_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    assert check(tmp_path, monkeypatch, value) == (len(value) if isinstance(value, list) else 1)


def test_what_get_prints_can_be_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = to_document(parse_job_deployment(document_of(FULL), Rules()))
    assert check(tmp_path, monkeypatch, {"kind": "JobDeployment", **stored, "created_at": "x"}) == 1


@pytest.mark.parametrize("value", [None, [], "text", [{"name": "a", "kind": "BatchAPI"}], {"kind": "BatchAPI", "containers": []}, {"a": 1}])
def test_what_holds_none(value: Any) -> None:
    assert job_deployments(document_of(value)) == []


@pytest.mark.parametrize("document", list(with_unknown_key(FULL)))
def test_an_unknown_key_is_refused_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(tmp_path, monkeypatch, document)
    [line] = [number for number, text in enumerate((tmp_path / "deployment.yaml").read_text().splitlines(), 1) if UNKNOWN in text]
    assert refused.value.what == f'key "{UNKNOWN}" is not supported'
    assert refused.value.where.split(": ")[0] == f"deployment.yaml:{line}"


def test_verdas_api_ignores_what_it_does_not_know() -> None:
    documents = list(with_unknown_key(FULL))
    assert len(documents) > 10
    parsed = [parse_job_deployment(document_of(document), Rules()) for document in documents]
    assert set(parsed) == {parse_job_deployment(document_of(FULL), Rules())}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({**LEAST, "kind": None}, "deployment.yaml:1: has no kind; add kind: JobDeployment"),
        ({**LEAST, "kind": "jobDeployment"}, 'deployment.yaml:1: kind: "jobDeployment" is not supported; did you mean "JobDeployment"?'),
        (
            {**{key: value for key, value in LEAST.items() if key != "scaling"}, "scalling": {}},
            'deployment.yaml:1: scaling: should not be null or undefined; is "scalling" meant to be "scaling"?',
        ),
        ([LEAST, {"kind": "BatchAPI"}], "deployment.yaml:13: index 1: is not of kind JobDeployment, as others in this file are; "),
        ([LEAST, LEAST], 'deployment.yaml:14: name: "one" is there twice'),
        ({**LEAST, "name": "One"}, "deployment.yaml:2: name: should have lower-case letters, digits and dashes only, and neither "),
        ([LEAST, {**LEAST, "name": "two", "compute": {}}], "deployment.yaml:16: compute: name: should not be null or undefined"),
        ({**LEAST, "contaners": []}, 'deployment.yaml:13: key "contaners" is not supported; did you mean "containers"?'),
        ({**LEAST, "containers": [{"image": "a", "exposed_port": 1}]}, "deployment.yaml:4: containers: index 0: image: should name a tag "),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, error: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(tmp_path, monkeypatch, value)
    assert str(refused.value).startswith(error)


def test_every_unknown_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SeveralErrors) as refused:
        check(tmp_path, monkeypatch, [{**LEAST, "a": 1, "b": 2}, {**LEAST, "name": "two", "c": 3, "scaling": {}}])
    assert [error.what for error in refused.value.errors] == [
        'key "a" is not supported',
        'key "b" is not supported',
        "should not be null or undefined",
    ]
