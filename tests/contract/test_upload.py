"""Local files of a job on a cluster: what is uploaded, and that the job then lists what was local."""

from __future__ import annotations

import gzip
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, BinaryIO

import boto3
import pytest

from batchflow.client.upload import upload_local_paths
from batchflow.enqueuer.batching import cut
from batchflow.enqueuer.listing import list_files
from batchflow.errors import InvalidInput, Unreachable
from batchflow.settings import Settings
from batchflow.spec.model import DelimitedFiles, FilePathLister, ItemList, Source, Submission
from batchflow.store.open import open_sources, open_store
from batchflow.store.protocol import Store

LOCAL = open_sources(Settings(sources=("file",)))
NAMES = [
    *("images.png", "images/img_1.png", "images/img_2.txt", "images/sub/img_3.png", "images2/x.png", "images-a"),
    *(
        "images/a b+c%20&=?#.png",
        "images/'\"<>\\*[x].png",
        "images/é",
        "images/日/\N{GRINNING FACE}",
        "images/.hidden",
        "images/tab\tand  spaces ",
    ),
]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, moto: str) -> Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    bucket = f"uploads-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/some/prefix")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        write(tmp_path / "data" / name, f"content of {name}".encode())
    return tmp_path / "data"


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def job(*entries: object, includes: tuple[str, ...] = (), excludes: tuple[str, ...] = ()) -> Submission:
    return submission(FilePathLister(tuple(map(str, entries)), 2, includes, excludes))


def submission(source: Source) -> Submission:
    return Submission("squares", 2, source)


def entries(of: Submission) -> tuple[str, ...]:
    assert not isinstance(of.source, ItemList)
    return of.source.s3_paths


def local_files(of: Submission) -> list[str]:
    assert not isinstance(of.source, ItemList)
    return [file.path for file in list_files(of.source, LOCAL)]


def stored_files(of: Submission) -> list[str]:
    """As an enqueuer lists them that reads S3 only."""
    assert not isinstance(of.source, ItemList)
    return [file.path for file in list_files(of.source, open_sources(Settings()))]


class Watched:
    """A real store; `before_put` is called with each file's key and content before it is put."""

    def __init__(self, store: Store, before_put: Callable[[str, BinaryIO], Any] = lambda *_: None) -> None:
        self.keys: list[str] = []
        self._store = store
        self._before_put = before_put

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_file(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        self._before_put(key, file)
        self._store.put_file(key, file, size_bytes)
        self.keys.append(key)


@pytest.mark.parametrize(
    "prefixes",
    [
        ["images/"],
        ["images"],
        ["images/img"],
        ["images/img_1.png"],
        ["images/sub"],
        [""],
        ["images2/", "images/"],
        ["images/", "images", "images/"],
        ["images/img", "images/", "images/img"],
        ["images/nothing", "images2/"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("globs", [{}, {"includes": ("**.png", "**日**"), "excludes": ("**/sub/**",)}], ids=["all", "globs"])
def test_the_job_lists_the_same_files_in_the_same_order(store: Store, folder: Path, prefixes: list[str], globs: dict[str, Any]) -> None:
    before = job(*(f"{folder}/{prefix}" for prefix in prefixes), **globs)
    if not local_files(before):
        with pytest.raises(InvalidInput, match="no files match"):
            upload_local_paths(before, store, LOCAL)
        return
    after = upload_local_paths(before, store, LOCAL)
    stored = stored_files(after)
    assert [Path(path).read_bytes() for path in local_files(before)] == [store.get(path.removeprefix(f"{store.url}/")) for path in stored]
    below = [path.removeprefix(f"{store.url}/uploads/").partition("/")[2] for path in stored]
    assert all(path.endswith(f"/{name}") for path, name in zip(local_files(before), below, strict=True))


def test_a_copy_is_named_by_a_hash_and_its_path_below_the_entrys_parent(store: Store, folder: Path) -> None:
    after = upload_local_paths(job(f"{folder}/images2/", f"{folder}/images2/x"), store, LOCAL)
    whole, part = entries(after)
    assert stored_files(after) == [f"{whole}images2/x.png", f"{part}x.png"]
    assert whole.startswith(f"{store.url}/uploads/")
    assert len(whole.removeprefix(f"{store.url}/uploads/")) == 64 + 1


@pytest.mark.parametrize("entry", ["{}/images2/", "{}//images2//", "{}/images/../images2/", "file://{}/images2/", "{}/link/"])
def test_however_an_entry_names_its_folder_the_files_are_there(store: Store, folder: Path, entry: str) -> None:
    (folder / "link").symlink_to(folder / "images2")
    after = upload_local_paths(job(entry.format(folder)), store, LOCAL)
    name = "link" if "link" in entry else "images2"
    assert stored_files(after) == [f"{entries(after)[0]}{name}/x.png"]


def test_the_globs_have_done_their_work(store: Store, folder: Path) -> None:
    after = upload_local_paths(job(f"{folder}/images/", includes=("/**/img_1.png",)), store, LOCAL)
    assert isinstance(after.source, FilePathLister)
    assert (after.source.includes, after.source.excludes, after.source.batch_size) == ((), (), 2)
    assert [path.rpartition("/")[2] for path in stored_files(after)] == ["img_1.png"]


def test_compressed_files_stay_compressed_and_give_the_same_batches(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.json.gz", gzip.compress(b'{"a": 1}\n{"a": 2}\n{"a": 3}'))
    write(tmp_path / "b.json", b"4 5")
    before = DelimitedFiles((f"{tmp_path}/",), 2)
    after = upload_local_paths(submission(before), store, LOCAL).source
    assert isinstance(after, DelimitedFiles)
    remote = open_sources(Settings())
    bodies = [batch.body for batch in cut(after, list_files(after, remote), remote)]
    assert bodies == [batch.body for batch in cut(before, list_files(before, LOCAL), LOCAL)] == ['[{"a":1},{"a":2}]', '[{"a":3},4]', "[5]"]


def test_the_same_files_are_not_sent_again_and_make_the_same_submission(store: Store, folder: Path) -> None:
    watched = Watched(store)
    progress: list[tuple[int, ...]] = []
    entry = f"{folder}/images/"
    first = upload_local_paths(job(entry, entry), watched, LOCAL)
    assert len(watched.keys) == len(set(watched.keys)) == len(local_files(job(entry)))
    os.utime(folder / "images" / "img_1.png", (1, 1))
    again = upload_local_paths(job(entry, entry), watched, LOCAL, on_progress=lambda *told: progress.append(told))
    assert again == first
    assert progress == [(len(watched.keys), len(watched.keys), 0)]
    folder.rename(folder.parent / "moved")
    assert upload_local_paths(job(*(entry.replace("/data/", "/moved/"),) * 2), watched, LOCAL) == first


@pytest.mark.parametrize("change", ["content", "name", "another"])
def test_other_files_make_another_submission(store: Store, folder: Path, change: str) -> None:
    first = upload_local_paths(job(f"{folder}/images2/"), store, LOCAL)
    if change == "content":
        (folder / "images2" / "x.png").write_bytes(b"other")
    elif change == "name":
        (folder / "images2" / "x.png").rename(folder / "images2" / "y.png")
    else:
        write(folder / "images2" / "y.png", b"")
    assert entries(upload_local_paths(job(f"{folder}/images2/"), store, LOCAL)) != entries(first)


def test_an_upload_that_was_cut_off_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / "data" / f"{number:02}", b"x" * number)
    before = job(f"{tmp_path}/data/")

    def cut_off(key: str, _: BinaryIO) -> None:
        if key.endswith("/30"):
            raise Unreachable("the store is out of reach")

    failing, watched = Watched(store, cut_off), Watched(store)
    with pytest.raises(Unreachable):
        upload_local_paths(before, failing, LOCAL)
    progress: list[tuple[int, ...]] = []
    after = upload_local_paths(before, watched, LOCAL, on_progress=lambda *told: progress.append(told))
    assert failing.keys and watched.keys
    assert sorted([*failing.keys, *watched.keys]) == [path.removeprefix(f"{store.url}/") for path in stored_files(after)]
    sent_bytes = sum(int(key[-2:]) for key in watched.keys)
    assert progress[0] == (len(failing.keys), 40, 0)
    assert [done for done, _, _ in progress] == list(range(len(failing.keys), 41))
    assert progress[-1] == (40, 40, sent_bytes)


@pytest.mark.parametrize(("size", "begun"), [(1000, False), (20_000_000, False), (20_000_000, True)])
def test_a_file_that_changes_meanwhile_is_refused_and_not_stored(store: Store, tmp_path: Path, size: int, begun: bool) -> None:
    """Even if its size and time stay what they were."""
    path = tmp_path / "data" / "a"
    write(path, b"1" * size)

    def change(_: str, content: BinaryIO) -> None:
        if begun:
            content.peek(1)  # type: ignore[attr-defined]
        times = path.stat()
        with path.open("r+b") as file:
            file.seek(size - 1)
            file.write(b"2")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(InvalidInput, match=r"a: changed while the job was reading it; submit the job again"):
        upload_local_paths(job(f"{tmp_path}/data/"), Watched(store, change), LOCAL)
    assert list(store.list("")) == []


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "longer"])
def test_a_file_that_is_gone_or_longer_is_refused(store: Store, tmp_path: Path, gone: bool) -> None:
    path = tmp_path / "data" / "a"
    write(path, b"1")

    def change(*_: object) -> None:
        path.unlink() if gone else path.write_bytes(b"12")

    with pytest.raises(InvalidInput, match=r"a: changed while the job was reading it"):
        upload_local_paths(job(f"{tmp_path}/data/"), Watched(store, change), LOCAL)
    assert list(store.list("")) == []


def test_after_an_error_no_other_file_is_read_to_its_end(store: Store, tmp_path: Path) -> None:
    for name in ("failing", "long"):
        write(tmp_path / name, b"x" * 1000)
    reading, left = threading.Event(), threading.Event()

    def behave(key: str, content: BinaryIO) -> None:
        if key.endswith("failing"):
            assert reading.wait(60)
            raise Unreachable("the store is out of reach")
        reading.set()
        try:
            while content.raw.read(1):  # type: ignore[attr-defined]
                time.sleep(0.01)
        except CancelledError:
            left.set()
            raise

    with pytest.raises(Unreachable):
        upload_local_paths(job(f"{tmp_path}/"), Watched(store, behave), LOCAL)
    assert left.is_set()


def test_s3_entries_stay_beside_local_ones(store: Store, folder: Path) -> None:
    store.put("theirs/a", b"1")
    after = upload_local_paths(job(f"{store.url}/theirs/", f"{folder}/images2/", f"{folder}/nothing/"), store, LOCAL)
    assert stored_files(after) == [f"{store.url}/theirs/a", f"{entries(after)[1]}images2/x.png"]
    assert len(entries(after)) == 2


def test_s3_entries_can_not_share_globs_with_local_ones(store: Store, folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^file_path_lister: s3_paths: local paths and s3:// paths can't share globs"):
        upload_local_paths(job("s3://bucket/x", f"{folder}/", excludes=("**.txt",)), store, LOCAL)


@pytest.mark.parametrize("source", [ItemList([1], 1), FilePathLister(("s3://bucket/a",), 1, includes=("**",))])
def test_a_job_without_local_paths_is_left_alone(tmp_path: Path, source: Source) -> None:
    assert upload_local_paths(submission(source), open_store(str(tmp_path)), LOCAL) == submission(source)


def test_a_store_that_pods_can_not_read_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^BATCHFLOW_STORE: pods can't read"):
        upload_local_paths(job(f"{folder}/"), open_store(f"{tmp_path}/store"), LOCAL)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("entry", ["gs://bucket/a", "relative", "file://server/share"])
def test_what_is_no_path_of_this_machine_is_refused(store: Store, entry: str) -> None:
    with pytest.raises(InvalidInput):
        upload_local_paths(job(entry), store, LOCAL)
