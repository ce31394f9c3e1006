"""A tensorflow Handler's models from S3: moto's server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from batchflow.errors import InvalidInput
from batchflow.prepare.models import fetch_models
from batchflow.settings import Settings
from batchflow.spec.model import Model, Models
from batchflow.store.open import open_sources
from batchflow.store.sources import UserSources

Put = Callable[[str, bytes], str]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, moto: str) -> Put:
    """Puts an object into a bucket of the test's own; returns the bucket's address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    bucket = f"models-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)

    def put(key: str, data: bytes) -> str:
        client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}"

    return put


@pytest.fixture
def sources() -> UserSources:
    return open_sources(Settings())


def test_a_model_is_copied_as_it_is_stored(put: Put, sources: UserSources, tmp_path: Path) -> None:
    content = {
        f"2/{name}": bytes(range(256)) * 8192 for name in ("saved_model.pb", "variables/v.data-00000-of-00001", "assets/words.txt.gz")
    }
    bucket = ""
    for name, data in content.items():
        bucket = put(f"models/m/{name}", data)
    put("models/m/", b"")  # as the S3 console makes folders
    put("models/m-2/3/saved_model.pb", b"another")
    fetch_models(Models((Model("m", f"{bucket}/models/m"),)), sources, Path(), tmp_path)
    found = {str(path.relative_to(tmp_path / "m")): path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert found == content


def test_a_dir_is_listed_once_for_all_its_models(put: Put, sources: UserSources, tmp_path: Path) -> None:
    put("a/saved_model.pb", b"a")
    bucket = put("b/9/saved_model.pb", b"b")
    fetch_models(Models(dir=bucket), sources, Path(), tmp_path)
    assert (tmp_path / "a/1/saved_model.pb").read_bytes() == b"a"
    assert (tmp_path / "b/9/saved_model.pb").read_bytes() == b"b"


def test_a_key_that_is_a_file_and_a_folder_is_refused(put: Put, sources: UserSources, tmp_path: Path) -> None:
    put("m/variables", b"")
    put("m/variables/v", b"")
    bucket = put("m/saved_model.pb", b"")
    with pytest.raises(InvalidInput, match=r"m/variables: is a file and a folder; delete the file"):
        fetch_models(Models((Model("m", f"{bucket}/m"),)), sources, Path(), tmp_path)


def test_a_key_that_leaves_the_folder_is_refused(put: Put, sources: UserSources, tmp_path: Path) -> None:
    put("m/saved_model.pb", b"")
    bucket = put("m/variables/../../../outside", b"")
    with pytest.raises(InvalidInput, match=r"m/variables/\.\./\.\./\.\./outside: can't be the path of a file; rename it"):
        fetch_models(Models((Model("m", f"{bucket}/m"),)), sources, Path(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_named(put: Put, sources: UserSources, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r'^bucket "no-such-bucket" not found'):
        fetch_models(Models((Model("m", "s3://no-such-bucket/m"),)), sources, Path(), tmp_path)
