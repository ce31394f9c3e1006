"""One suite for users' files: local paths, and S3 on moto's server."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from backports import zstd

from batchflow.errors import InvalidInput, Unreachable
from batchflow.settings import Settings
from batchflow.store.open import open_sources
from batchflow.store.protocol import Sources
from tests.contract.cutting_proxy import CuttingProxy

NAMES = ["a-b", "a.txt", "a/.hidden", "a/b", "a/c/d e", "a0", "img/1.png", "img/1.png.bak", "img_2.png", "é", "日"]
LOCAL = Settings(sources=("file",))


@dataclass(frozen=True)
class Place:
    """Where a test puts files: `root` and a name make a path."""

    sources: Sources
    root: str
    write: Callable[[str, bytes], Any]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, moto: str) -> Place:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    name = f"files-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Place(open_sources(Settings()), f"s3://{name}/", lambda key, data: client.put_object(Bucket=name, Key=key, Body=data))


@pytest.fixture
def directory(tmp_path: Path) -> Place:
    def write(name: str, data: bytes) -> None:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return Place(open_sources(LOCAL), f"{tmp_path}/files/", write)


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    place: Place = request.getfixturevalue(request.param)
    return place


def content(place: Place, name: str) -> bytes:
    (file,) = place.sources.list(place.root + name)
    with place.sources.open(file) as stream:
        return stream.read()


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/c", "img", "img/1.png", "img/", "a-", "é", "nothing", "nothing/at/all"])
def test_a_prefix_is_a_raw_string_and_the_order_is_that_of_bytes(place: Place, prefix: str) -> None:
    for name in NAMES:
        place.write(name, name.encode())
    listed = list(place.sources.list(place.root + prefix))
    assert [f.path for f in listed] == [place.root + name for name in sorted(NAMES, key=str.encode) if name.startswith(prefix)]
    assert [f.size_bytes for f in listed] == [len(f.path.removeprefix(place.root).encode()) for f in listed]
    assert all(f.etag for f in listed)


@pytest.mark.parametrize("suffix", ["", ".txt", ".gz", ".GZ", ".bz2", ".zst"])
def test_content_is_decompressed_by_its_suffix_and_seekable(place: Place, suffix: str) -> None:
    data = b"".join(b'{"line": %d}\n' % n for n in range(300_000))
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd.compress}.get(suffix.lower(), bytes)
    place.write("data" + suffix, compress(data))
    (file,) = place.sources.list(place.root + "data")
    with place.sources.open(file) as stream:
        assert stream.read(5) == data[:5]
        assert stream.seek(2_000_003) == 2_000_003
        assert stream.tell() == 2_000_003
        assert stream.read(100_000) == data[2_000_003:2_100_003]
        assert stream.seek(7) == 7
        assert stream.readline() == data[7 : data.index(b"\n") + 1]
        stream.seek(0)
        assert stream.read() == data
        assert stream.read() == b""


def test_compressed_files_of_several_parts_are_read_whole(place: Place) -> None:
    place.write("two.gz", gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert content(place, "two.gz") == b"one\ntwo\n"


@pytest.mark.parametrize("name", ["empty.json", "empty.gz"])
def test_an_empty_file_has_no_content(place: Place, name: str) -> None:
    place.write(name, gzip.compress(b"") if name.endswith(".gz") else b"")
    assert content(place, name) == b""


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.gz", b"not compressed at all"),
        ("a.bz2", b"not compressed at all"),
        ("a.zst", b"not compressed at all"),
        ("b.gz", gzip.compress(b"x" * 9999, mtime=0)[:-9]),
        ("b.bz2", bz2.compress(os.urandom(9999))[:-9]),
        ("b.zst", zstd.compress(os.urandom(9999))[:-9]),
    ],
)
def test_a_broken_compressed_file_is_named(place: Place, name: str, data: bytes) -> None:
    place.write(name, data)
    with pytest.raises(InvalidInput) as caught:
        content(place, name)
    assert str(caught.value).startswith(f"{place.root}{name}: not a whole ")


def test_a_file_that_changed_since_it_was_listed_is_refused(place: Place) -> None:
    place.write("a.json", b"one")
    (file,) = place.sources.list(place.root)
    place.write("a.json", b"another")
    with pytest.raises(InvalidInput, match=r"a\.json: changed while the job was reading it"):
        place.sources.open(file).read()


def test_a_file_that_is_gone_is_refused(bucket: Place, directory: Place) -> None:
    directory.write("a.json", b"one")
    (file,) = directory.sources.list(directory.root)
    os.remove(file.path)
    with pytest.raises(InvalidInput, match=r"a\.json: changed while the job was reading it"):
        directory.sources.open(file)
    bucket.write("a.json", b"one")
    (file,) = bucket.sources.list(bucket.root)
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    client.delete_object(Bucket=bucket.root[5:-1], Key="a.json")
    with pytest.raises(InvalidInput, match=r"a\.json: changed while the job was reading it"):
        bucket.sources.open(file)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_changes_while_it_is_read_is_refused(place: Place, suffix: str) -> None:
    noise = os.urandom(8_000_000)
    data = gzip.compress(noise) if suffix else noise
    place.write("a" + suffix, data)
    (file,) = place.sources.list(place.root)
    with place.sources.open(file) as stream:
        stream.read(10)
        place.write("a" + suffix, bytes(len(data)) if suffix == "" else gzip.compress(bytes(10)))
        with pytest.raises(InvalidInput, match="changed while the job was reading it"):
            # S3's open connection goes on with the old content; a new one, as after a break, must not get the new.
            stream.seek(5_000_000)
            stream.seek(0)
            while stream.read(100_000):
                pass


@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
def test_after_a_broken_connection_the_same_content_goes_on_or_the_file_is_refused(
    bucket: Place, moto: str, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    data = os.urandom(6_000_000)
    bucket.write("a", data)
    (file,) = bucket.sources.list(bucket.root)
    proxy = CuttingProxy(moto, 3_000_000, lambda: changed and bucket.write("a", bytes(len(data))))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    expected = pytest.raises(InvalidInput, match="changed while the job was reading it") if changed else nullcontext()
    with expected, open_sources(Settings()).open(file) as stream:
        assert stream.read() == data
    assert proxy.cuts == 1
    proxy.close()


def test_closing_a_decompressed_stream_closes_the_file(directory: Place) -> None:
    directory.write("a.gz", gzip.compress(b"x"))
    (file,) = directory.sources.list(directory.root)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    stream = directory.sources.open(file)
    assert isinstance(stream, io.BufferedReader)
    stream.close()
    stream.close()
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


def test_folder_markers_of_s3_are_left_out(bucket: Place) -> None:
    bucket.write("a/", b"")
    bucket.write("a/b", b"1")
    bucket.write("odd//key?versionId=3", b"2")
    assert [f.path for f in bucket.sources.list(bucket.root)] == [f"{bucket.root}a/b", f"{bucket.root}odd//key?versionId=3"]
    assert content(bucket, "odd") == b"2"


def test_a_bare_bucket_is_everything_in_it(bucket: Place) -> None:
    bucket.write("a/b", b"1")
    assert [f.path for f in bucket.sources.list(bucket.root.rstrip("/"))] == [f"{bucket.root}a/b"]


def test_a_bucket_that_is_not_there_is_named(bucket: Place) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(bucket.sources.list("s3://no-such-bucket-here/x"))
    assert (str(caught.value), caught.value.kind) == ('bucket "no-such-bucket-here" not found', "aws.bucket_not_found")


def test_links_are_followed_but_not_in_circles_and_only_files_are_listed(directory: Place, tmp_path: Path) -> None:
    files = tmp_path / "files"
    directory.write("real/a", b"1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_bytes(b"2")
    (files / "linked").symlink_to(tmp_path / "elsewhere")
    (files / "file").symlink_to(tmp_path / "elsewhere" / "b")
    (files / "real" / "up").symlink_to(files)
    (files / "self").symlink_to(files / "self")
    (files / "broken").symlink_to(files / "nowhere")
    os.mkfifo(files / "pipe")
    assert [f.path for f in directory.sources.list(directory.root)] == [directory.root + n for n in ("file", "linked/b", "real/a")]


def test_a_file_url_is_the_local_path(directory: Place) -> None:
    directory.write("a b", b"1")
    for prefix in (f"file://{directory.root}a%20b", f"file://localhost{directory.root}a b"):
        assert [f.path for f in directory.sources.list(prefix)] == [f"{directory.root}a b"]
    with pytest.raises(InvalidInput, match="another machine"):
        list(directory.sources.list("file://server/share/x"))


def test_a_name_that_is_not_utf_8_is_refused(directory: Place, tmp_path: Path) -> None:
    directory.write("a", b"1")
    try:
        (tmp_path / "files" / os.fsdecode(b"b\xff")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        list(directory.sources.list(directory.root))


@pytest.mark.parametrize("path", ["/etc/hostname", "file:///etc/hostname", "relative", "", "http://host/a", "gs://bucket/a", "s3:/a"])
def test_on_a_cluster_only_s3_is_read(path: str) -> None:
    with pytest.raises(InvalidInput, match="BATCHFLOW_SOURCES") as caught:
        list(open_sources(Settings()).list(path))
    assert caught.value.kind == "aws.invalid_s3_path"


@pytest.mark.parametrize("path", ["relative", "./a", "", "http://host/a", "s3://", "s3:///a"])
def test_what_is_neither_s3_nor_an_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(open_sources(LOCAL).list(path))
    assert caught.value.kind == "aws.invalid_s3_path"


def test_an_s3_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"^s3://bucket/x: ListObjectsV2 failed"):
        list(open_sources(Settings()).list("s3://bucket/x"))
