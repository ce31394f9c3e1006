"""One suite for every store: a directory, S3 on moto's server."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.store.directory import DirectoryStore
from batchflow.store.open import open_store
from batchflow.store.protocol import Store
from batchflow.store.s3 import PART_BYTES

TIMEOUT_S = 120
# Sorted by their UTF-8 bytes; `-` and `.` come before `/`, so no walk of folders by name gives this order.
ORDERED = ["a-b", "a.txt", "a/b", "a/c/d", "a0", "b/Z", "b/a", "b/é", "b/日", "b/\N{GRINNING FACE}", "ab", "é"]


@pytest.fixture(params=["directory", "s3-on-moto"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    if request.param == "directory":
        return open_store(f"{tmp_path}/store")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("moto"))
    bucket = f"store-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/some/prefix")


def test_what_was_put_is_got(store: Store) -> None:
    data = bytes(range(256)) * 1000
    store.put("jobs/a/1/status.json", data)
    assert store.get("jobs/a/1/status.json") == data
    store.put("jobs/a/1/status.json", b"")
    assert store.get("jobs/a/1/status.json") == b""


class Content(io.RawIOBase):
    """So many bytes, of a pattern that a lost or doubled part breaks; `at_end` runs before its end is told."""

    def __init__(self, size: int, at_end: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self._data = io.BytesIO(os.urandom(1021) * (size // 1021 + 1))
        self._data.truncate(size)
        self._at_end = at_end
        self.largest_read = 0

    @property
    def whole(self) -> bytes:
        return self._data.getvalue()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._data.readinto(buffer)
        self.largest_read = max(self.largest_read, size)
        if not size:
            self._at_end()
        return size


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 7])
@pytest.mark.parametrize("told", [0, 1], ids=["told-none", "told-all"])
def test_a_file_is_stored_in_pieces_whatever_its_size(store: Store, size: int, told: int) -> None:
    store.put("uploads/a", b"old")
    content = Content(size)
    store.put_file("uploads/a", io.BufferedReader(content), told * size)
    assert store.get("uploads/a") == content.whole
    assert list(store.list("")) == ["uploads/a"]
    assert content.largest_read <= PART_BYTES


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, 5 * PART_BYTES + 7])
def test_a_file_is_read_in_pieces_whatever_its_size(store: Store, size: int) -> None:
    content = Content(size)
    store.put_file("uploads/a", io.BufferedReader(content), size)
    stream = store.open("uploads/a")
    assert stream is not None
    with stream:
        pieces = list(iter(lambda: stream.read(100_003), b""))
        assert stream.read(1) == b""
    assert all(len(piece) == 100_003 for piece in pieces[:-1])
    assert b"".join(pieces) == content.whole


def test_a_stream_that_is_not_read_to_its_end_is_closed(store: Store) -> None:
    store.put("a", bytes(3 * PART_BYTES))
    for _ in range(40):  # more than a client has connections
        stream = store.open("a")
        assert stream is not None and stream.read(10) == bytes(10)
        stream.close()
    assert store.get("b") is None


@pytest.mark.parametrize("size", [0, 10, PART_BYTES, 2 * PART_BYTES + 1])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_whose_content_turns_out_bad_at_its_end_is_not_stored(store: Store, size: int, before: bytes | None) -> None:
    if before is not None:
        store.put("uploads/a", before)

    def bad() -> None:
        raise InvalidInput("the content is bad")

    with pytest.raises(InvalidInput, match="the content is bad"):
        store.put_file("uploads/a", io.BufferedReader(Content(size, bad)), size)
    assert store.get("uploads/a") == before
    assert unfinished(store) == []


def unfinished(store: Store) -> list[str]:
    """What a write that failed has left behind."""
    if isinstance(store, DirectoryStore):
        return os.listdir(Path(store.url, ".drafts"))
    bucket = store.url.split("/")[2]
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def test_a_stream_is_stored_from_where_it_is(store: Store) -> None:
    stream = io.BytesIO(b"0123456789")
    stream.seek(4)
    store.put_file("a", stream, 6)
    assert store.get("a") == b"456789"


@pytest.mark.parametrize("key", ["a", "a/b/c", "jobs/x/status.json/y"])
def test_a_key_that_is_not_there_is_none(store: Store, key: str) -> None:
    store.put("jobs/x/status.json", b"{}")
    store.put("a/b/c/d", b"{}")
    assert store.get(key) is None
    assert store.open(key) is None


def test_create_writes_only_what_is_not_there(store: Store) -> None:
    assert store.create("a/b", b"first") is True
    assert store.create("a/b", b"second") is False
    assert store.get("a/b") == b"first"
    store.delete(["a/b"])
    assert store.create("a/b", b"third") is True


def test_of_many_that_create_a_key_at_once_exactly_one_wins(store: Store) -> None:
    for round_ in range(5):
        start = threading.Barrier(8)

        def create(number: int, round_: int = round_, start: threading.Barrier = start) -> bool:
            start.wait(TIMEOUT_S)
            return store.create(f"race/{round_}", str(number).encode())

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert won.count(True) == 1
        assert store.get(f"race/{round_}") == str(won.index(True)).encode()


def test_readers_see_the_old_bytes_or_the_new_ones(store: Store) -> None:
    versions = [bytes([n]) * 200_000 for n in range(10)]
    store.put("k", versions[0])
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set():
            assert store.get("k") in versions
            assert list(store.list("")) == ["k"]
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for version in versions * 3:
                store.put("k", version)
        finally:
            done.set()
        assert all(reader.result(TIMEOUT_S) for reader in readers)


def test_keys_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    for key in reversed(ORDERED):
        store.put(key, b"")
    assert list(store.list("")) == sorted(ORDERED, key=str.encode)


@pytest.mark.parametrize("prefix", ["a", "a/", "a-", "a/c", "a/c/", "b/", "b/é", "ab", "a.", "c", "a/b/", ".", "b/."])
def test_a_prefix_is_any_string(store: Store, prefix: str) -> None:
    for key in ORDERED:
        store.put(key, b"")
    assert list(store.list(prefix)) == sorted((key for key in ORDERED if key.startswith(prefix)), key=str.encode)


@pytest.mark.parametrize(
    ("prefix", "names"), [("", ["a", "b"]), ("a/", ["c"]), ("b/", []), ("a/c/", []), ("a/c/d/", []), ("none/", []), ("a-b/", [])]
)
def test_folders_are_the_names_before_the_next_slash(store: Store, prefix: str, names: list[str]) -> None:
    for key in ORDERED:
        store.put(key, b"")
    assert list(store.folders(prefix)) == names


def test_folders_come_in_the_order_of_their_keys_and_once_each(store: Store) -> None:
    names = ["a-b", "a.txt", "a", "a0", "é", "日", "\N{GRINNING FACE}"]  # `a/…` comes after `a.txt/…`
    for name in reversed(names):
        for file in ("x", "y/z"):
            store.put(f"jobs/{name}/{file}", b"")
    assert list(store.folders("jobs/")) == names
    store.delete(["jobs/a/x", "jobs/a/y/z"])
    assert list(store.folders("jobs/")) == [name for name in names if name != "a"]


@pytest.mark.parametrize("prefix", ["a", "/", "../", "a//", "a/../"])
def test_what_is_no_folder_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="of the store"):
        list(store.folders(prefix))


def test_deleting_takes_what_is_there_and_ignores_what_is_not(store: Store) -> None:
    for key in ORDERED:
        store.put(key, b"")
    store.delete(["a/b", "a/c/d", "never", "never/there", "a0/x"])
    assert list(store.list("a")) == ["a-b", "a.txt", "a0", "ab"]
    store.delete([])
    store.put("a/b", b"again")
    assert store.get("a/b") == b"again"


def test_thousands_of_keys_are_listed_and_deleted_while_they_are_listed(store: Store) -> None:
    keys = [f"outcomes/pod-{n % 7}/{n:06d}.jsonl" for n in range(2500)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"{}"), keys))
    store.put("kept", b"")
    assert list(store.list("outcomes/")) == sorted(keys)
    store.delete(store.list("outcomes/"))
    assert list(store.list("")) == ["kept"]


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".", "a\0b"])
def test_a_bad_key_is_refused_everywhere(store: Store, key: str) -> None:
    for call in (
        lambda: store.put(key, b""),
        lambda: store.put_file(key, io.BytesIO(), 0),
        lambda: store.create(key, b""),
        lambda: store.get(key),
        lambda: store.open(key),
        lambda: store.delete([key]),
    ):
        with pytest.raises(InvalidInput, match="is not a key of the store"):
            call()


@pytest.mark.parametrize("prefix", ["../", "a/../", "/", "a//b", "../../etc/pass"])
def test_a_bad_prefix_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="is not a key of the store"):
        list(store.list(prefix))


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert list(store.list("")) == []
    assert list(store.list("jobs/a/")) == []


def test_a_store_opened_again_by_its_url_has_the_same_keys(store: Store) -> None:
    store.put("a/b", b"1")
    again = open_store(store.url)
    assert again.url == store.url
    assert again.get("a/b") == b"1"


def test_a_directory_store_keeps_nothing_but_the_keys(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("a/b/c", b"1")
    assert store.create("a/b/c", b"2") is False
    store.delete(["a/b/c"])
    assert [path.name for path in tmp_path.rglob("*") if path.name != ".drafts"] == []


def test_what_a_killed_process_was_writing_goes_a_day_later(tmp_path: Path) -> None:
    drafts = tmp_path / ".drafts"
    drafts.mkdir()
    for name, age_s in (("old", 90_000), ("young", 80_000)):
        (drafts / name).write_bytes(b"half")
        os.utime(drafts / name, (time.time() - age_s,) * 2)
    store = DirectoryStore(tmp_path)
    assert store.get("a") is None
    assert len(os.listdir(drafts)) == 2
    store.put("a", b"1")
    assert os.listdir(drafts) == ["young"]


def test_the_folder_of_drafts_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / ".drafts").mkdir()
    (tmp_path / ".drafts" / "left-by-a-killed-process").write_bytes(b"half")
    store = open_store(str(tmp_path))
    assert list(store.list("")) == []
    assert list(store.list(".dr")) == []
    assert list(store.folders("")) == []
    with pytest.raises(InvalidInput):
        store.get(".drafts/left-by-a-killed-process")


def test_a_write_survives_deletes_that_remove_its_folder(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)

    def write_and_delete(number: int) -> None:
        for round_ in range(100):
            key = f"folder/deeper/{number}"
            if round_ % 2:
                store.put(key, b"1")
            else:
                assert store.create(key, b"1")
            store.delete([key])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_delete, range(4)))
    assert list(store.list("")) == []


@pytest.mark.parametrize("url", ["", "relative/dir", "s3://", "s3://x", "s3://bucket/a//b", "s3://bucket/../b"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_store(url)


def test_a_directory_that_can_not_be_written_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unreachable, match=str(tmp_path)):
        open_store(f"{tmp_path}/file/store").put("a", b"")


def test_a_file_that_can_not_be_read_is_unreachable(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(Unreachable, match=str(tmp_path)):
        store.open("a")


def test_a_bucket_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    store = open_store("s3://no-such-bucket-here/x")
    with pytest.raises(NotFound, match='bucket "no-such-bucket-here" not found'):
        store.get("a")
    with pytest.raises(NotFound, match='bucket "no-such-bucket-here" not found'):
        store.open("a")
    with pytest.raises(NotFound, match='bucket "no-such-bucket-here" not found'):
        store.put_file("a", io.BytesIO(b"1"), 1)
    with pytest.raises(NotFound, match='bucket "no-such-bucket-here" not found'):
        list(store.list(""))


def test_a_key_that_is_too_long_for_s3_is_refused(monkeypatch: pytest.MonkeyPatch, moto: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    bucket = f"store-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    store = open_store(f"s3://{bucket}/prefix")
    longest = "é" * 508 + "a"  # 1,017 bytes
    store.put_file(longest, io.BytesIO(b"1"), 1)
    assert list(store.list("")) == [longest]
    with pytest.raises(InvalidInput, match="S3 takes names of up to 1024 bytes"):
        store.put_file(f"{longest}a", io.BytesIO(b"1"), 1)
