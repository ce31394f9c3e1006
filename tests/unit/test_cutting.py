from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import smart_open
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.enqueuer import DryRun, check_source, dry_run, recut
from batchflow.enqueuer.batching import Batch, cut
from batchflow.enqueuer.listing import list_files
from batchflow.errors import InvalidInput, Unreachable
from batchflow.retry import Backoff
from batchflow.settings import Settings
from batchflow.spec.model import MAX_BATCH_BYTES, DelimitedFiles, FilePathLister, ItemList, Source
from batchflow.store.open import open_sources
from batchflow.store.protocol import SourceFile, Sources

LOCAL = open_sources(Settings(sources=("file",)))


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / name.replace("__", "/").replace("_", ".")).write_bytes(data)


def lines(folder: Path, batch_size: int = 2, **globs: tuple[str, ...]) -> DelimitedFiles:
    return DelimitedFiles((f"{folder}/",), batch_size, **globs)


def batches(source: Source, sources: Sources = LOCAL) -> list[Batch]:
    return list(cut(source, () if isinstance(source, ItemList) else list_files(source, sources), sources))


def bodies(source: Source) -> list[str]:
    return [batch.body for batch in batches(source)]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(1, 1, ["[0]"]), (4, 2, ["[0,1]", "[2,3]"]), (5, 2, ["[0,1]", "[2,3]", "[4]"]), (2, 9, ["[0,1]"])],
)
def test_an_item_list_is_cut_into_consecutive_slices(count: int, size: int, expected: list[str]) -> None:
    assert bodies(ItemList(list(range(count)), size)) == expected


def test_items_of_a_list_are_compact_json() -> None:
    assert bodies(ItemList([{"a": [1, None, "é b"]}, "x", 1.5], 3)) == ['[{"a":[1,null,"é b"]},"x",1.5]']


def test_a_path_lister_batches_whole_paths_across_its_entries(tmp_path: Path) -> None:
    write(tmp_path, a1=b"", a2=b"", b1=b"")
    source = FilePathLister((f"{tmp_path}/b", f"{tmp_path}/a", f"{tmp_path}/a2"), 3)
    named = [[Path(path).name for path in json.loads(body)] for body in bodies(source)]
    assert named == [["b1", "a1", "a2"], ["a2"]]
    assert json.loads(bodies(source)[0])[0] == f"{tmp_path}/b1"


def test_items_carry_over_between_files_and_only_the_last_batch_is_short(tmp_path: Path) -> None:
    write(tmp_path, a=b"1\n2\n3\n", b=b"", c=b"4", d=b"\n\n5\n6\n7\n")
    assert bodies(lines(tmp_path, 2)) == ["[1,2]", "[3,4]", "[5,6]", "[7]"]


def test_files_without_an_item_make_no_batch(tmp_path: Path) -> None:
    write(tmp_path, a=b"", b=b"\n \n")
    assert batches(lines(tmp_path)) == []


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed_files_are_read_and_read_on_as_plain_ones(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b'{"n": %d}\n' % n for n in range(5000))
    with smart_open.open(tmp_path / f"x.{suffix}", "wb") as file:
        file.write(content)
    assert not (tmp_path / f"x.{suffix}").read_bytes().startswith(b"{")
    whole = batches(lines(tmp_path, 7))
    assert [item["n"] for batch in whole for item in json.loads(batch.body)] == list(range(5000))
    middle = whole[300]
    rest = cut(lines(tmp_path, 7), list_files(lines(tmp_path), LOCAL), LOCAL, start=middle.end, index=301)
    assert list(rest) == whole[301:]


def test_a_bad_line_is_named_by_file_line_and_item(tmp_path: Path) -> None:
    write(tmp_path, **{f"{n}_json": b"{}\n" * 9 for n in "12"}, **{"3_json": b"{}\n" * 6 + b"{oops}\n{}\n"})
    with pytest.raises(InvalidInput, match=rf"^{tmp_path}/3.json:7: item 6: malformed JSON: .* at line 7"):
        batches(lines(tmp_path, 4))


def test_a_file_that_is_not_whole_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, x_gz=gzip.compress(b"1\n" * 100_000)[:-20])
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/x.gz: "):
        batches(lines(tmp_path))


def test_a_file_that_changed_since_it_was_listed_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, x=b"1\n")
    listed = list(list_files(lines(tmp_path), LOCAL))
    write(tmp_path, x=b"1\n2\n")
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/x: "):
        list(cut(lines(tmp_path), listed, LOCAL))


LARGEST = MAX_BATCH_BYTES - 1 - len('[""]')


def test_a_batch_just_below_the_limit_is_cut(tmp_path: Path) -> None:
    write(tmp_path, x=b'"' + b"x" * LARGEST + b'"\n')
    assert [len(body) for body in bodies(lines(tmp_path, 1))] == [MAX_BATCH_BYTES - 1]


def test_white_space_does_not_count_towards_the_limit(tmp_path: Path) -> None:
    write(tmp_path, x=b"[" + b" " * MAX_BATCH_BYTES + b"1\n]\n")
    assert bodies(lines(tmp_path, 1)) == ["[[1]]"]


def test_an_item_at_the_limit_is_refused_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, x=b'1\n"' + b"x" * (LARGEST + 1) + b'"\n')
    with pytest.raises(InvalidInput, match=rf"^{tmp_path}/x:2: item 1: the item has size 262142 bytes") as caught:
        batches(lines(tmp_path, 1))
    assert caught.value.kind == "batchapi.item_size_exceeds_limit"


def test_a_batch_at_the_limit_is_refused_with_the_place_of_the_item_that_is_too_much(tmp_path: Path) -> None:
    write(tmp_path, x=b'"' + b"x" * 100_000 + b'"\n' + b'"' + b"x" * 100_000 + b'"\n', y=b'"' + b"x" * 100_000 + b'"\n')
    with pytest.raises(InvalidInput, match=rf"^{tmp_path}/y:1: item 0: batch 0 .* its item number 3, .*smaller batch_size"):
        batches(lines(tmp_path, 50))


def test_an_item_list_names_the_item_that_is_too_large() -> None:
    with pytest.raises(InvalidInput, match=r"^item_list: item 1: "):
        batches(ItemList([1, "x" * MAX_BATCH_BYTES], 1))


def test_characters_that_sqs_refuses_are_escaped_to_the_same_json(tmp_path: Path) -> None:
    write(tmp_path, x=json.dumps({"a": "\uffff\ufffe\uffe9"}, ensure_ascii=False).encode())
    [body] = bodies(lines(tmp_path))
    assert body == '[{"a":"\\uffff\\ufffe\uffe9"}]'
    assert json.loads(body) == [{"a": "\uffff\ufffe\uffe9"}]


ITEMS = st.recursive(st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(ITEMS, st.sampled_from([None, 1]), st.sampled_from([" ", "\n", "\r\n\n"])), max_size=5), max_size=4),
    st.integers(1, 4),
)
def test_cutting_goes_on_behind_any_batch_with_exactly_the_same_batches(
    written: list[list[tuple[Any, int | None, str]]], size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, items in enumerate(written):
            text = "".join(json.dumps(item, indent=indent) + space for item, indent, space in items)
            Path(folder, f"{number}").write_text(text)
        source = lines(Path(folder), size)
        listed = list(list_files(source, LOCAL))
        whole = list(cut(source, listed, LOCAL))
        expected = [item for items in written for item, _, _ in items]
        assert [item for batch in whole for item in json.loads(batch.body)] == expected
        assert [batch.items for batch in whole[:-1]] == [size] * (len(whole) - 1)
        for batch in whole:
            rest = cut(source, listed, LOCAL, start=batch.end, index=batch.index + 1)
            assert [(it.index, it.body) for it in rest] == [(it.index, it.body) for it in whole[batch.index + 1 :]]
        assert recut(source, listed, LOCAL, {0, 2}) == {batch.index: batch.body for batch in whole if batch.index in (0, 2)}


@pytest.mark.parametrize("source", [ItemList(list(range(7)), 2), FilePathLister(("/etc/",), 2)], ids=["item_list", "file_path_lister"])
def test_lists_go_on_behind_any_batch(source: Source) -> None:
    listed = [SourceFile(f"/data/{n}", "", 0) for n in range(7)]
    whole = list(cut(source, listed, LOCAL))
    for batch in whole:
        assert list(cut(source, listed, LOCAL, start=batch.end, index=batch.index + 1)) == whole[batch.index + 1 :]


class Flaky(io.RawIOBase):
    """A file whose connection breaks after every `lasts` bytes."""

    def __init__(self, content: BinaryIO, lasts: int) -> None:
        self._content = content
        self._left = lasts

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._content.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            raise Unreachable("connection reset")
        data = self._content.read(min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._content.close()
        super().close()


class FlakySources:
    """The real local files behind a bad network."""

    def __init__(self, lasts: int) -> None:
        self._lasts = lasts

    def list(self, prefix: str) -> Iterator[SourceFile]:
        return LOCAL.list(prefix)

    def open(self, file: SourceFile) -> BinaryIO:
        return Flaky(LOCAL.open(file), self._lasts)  # type: ignore[return-value]


class Patient(Backoff):
    def __init__(self, tries: int) -> None:
        self.tries = self.left = tries

    def succeeded(self) -> None:
        self.left = self.tries

    def wait(self, error: Unreachable) -> None:
        self.left -= 1
        if self.left < 0:
            raise error


def test_a_file_whose_connection_breaks_is_read_on_where_it_was_left(tmp_path: Path) -> None:
    write(tmp_path, a=b"".join(b'{"n": %d}\n' % n for n in range(100)), b=b"1\n2\n")
    source = lines(tmp_path, 3)
    flaky = cut(source, list_files(source, LOCAL), FlakySources(lasts=45), backoff=Patient(1))
    assert [batch.body for batch in flaky] == bodies(source)


def test_a_file_that_breaks_without_any_progress_is_given_up(tmp_path: Path) -> None:
    write(tmp_path, a=b"[1, 2, 3, 4, 5]\n")
    source = lines(tmp_path)
    with pytest.raises(Unreachable, match="connection reset"):
        list(cut(source, list_files(source, LOCAL), FlakySources(lasts=5), backoff=Patient(3)))


def names(source: FilePathLister | DelimitedFiles) -> list[str]:
    return [Path(file.path).name for file in list_files(source, LOCAL)]


@pytest.mark.parametrize(
    ("includes", "excludes", "expected"),
    [
        ((), (), ["a.jpg", "a.png", "b.png"]),
        (("**.png",), (), ["a.png", "b.png"]),
        (("**.png", "**/a.*"), (), ["a.jpg", "a.png", "b.png"]),
        ((), ("**/a.*",), ["b.png"]),
        (("**.png",), ("**/b.png",), ["a.png"]),
        (("**.gif",), (), []),
    ],
)
def test_a_file_is_listed_if_any_include_and_no_exclude_matches(
    tmp_path: Path, includes: tuple[str, ...], excludes: tuple[str, ...], expected: list[str]
) -> None:
    write(tmp_path, a_jpg=b"", a_png=b"", b_png=b"")
    assert names(FilePathLister((f"{tmp_path}/",), 1, includes, excludes)) == expected


@pytest.mark.parametrize(
    ("source", "message", "kind"),
    [
        (FilePathLister(("/",), 1, includes=("**.[",)), "file_path_lister: includes: **.[: a character class that is not closed", "error"),
        (DelimitedFiles(("/",), 1, excludes=("[]",)), "delimited_files: excludes: []: an empty character class", "error"),
        (
            FilePathLister(("bucket/key",), 1),
            'file_path_lister: "bucket/key" is not a valid s3 path (e.g. s3://bucket/path)',
            "aws.invalid_s3_path",
        ),
        (DelimitedFiles(("s3://",), 1), 'delimited_files: "s3://" is not a valid s3 path (e.g. s3://bucket/path)', "aws.invalid_s3_path"),
        (DelimitedFiles(("/nowhere/x",), 1), "delimited_files: no files match search criteria; ", "batchapi.no_s3_files_found"),
    ],
)
def test_a_source_that_can_not_be_used_is_refused_in_cortex_s_words(source: Source, message: str, kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_source(source, LOCAL)
    assert str(caught.value).startswith(message)
    assert caught.value.kind == kind


def test_what_was_searched_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"{tmp_path}/x"):
        check_source(FilePathLister((f"{tmp_path}/x",), 1), LOCAL)


def test_a_check_reads_no_further_than_the_first_match(tmp_path: Path) -> None:
    write(tmp_path, a=b"", b=b"")
    check_source(FilePathLister((f"{tmp_path}/", "s3://needs-a-server/"), 1), LOCAL)


def test_a_dry_run_counts_and_names_files_as_they_are_cut(tmp_path: Path) -> None:
    write(tmp_path, a=b"1\n2\n3\n", b=b"4\n5\n")
    told: list[str] = []
    answer = dry_run(lines(tmp_path, 2), LOCAL, on_file=lambda file: told.append(Path(file.path).name))
    assert (answer, told) == (DryRun(items=5, batches=3), ["a", "b"])
    assert dry_run(ItemList([1, 2, 3], 2), LOCAL) == DryRun(items=3, batches=2)


def test_a_dry_run_finds_a_bad_line(tmp_path: Path) -> None:
    write(tmp_path, a=b"1\nx\n")
    with pytest.raises(InvalidInput, match=f"{tmp_path}/a:2: "):
        dry_run(lines(tmp_path), LOCAL)
