"""The listing of a job's files: in parts, fixed once, whoever lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.errors import NotFound, Unreachable
from batchflow.store import listing
from batchflow.store.directory import DirectoryStore
from batchflow.store.listing import create_listing, read_listing
from batchflow.store.protocol import SourceFile, Store

PREFIX = "jobs/a/6ffffffffffffff0/"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(listing, "PART_FILES", 3)
    return DirectoryStore(tmp_path)


def files(count: int, etag: str = "1") -> list[SourceFile]:
    return [SourceFile(f"s3://bucket/é\n{index}", etag, index) for index in range(count)]


def parts(store: Store) -> int:
    return sum(1 for _ in store.list(f"{PREFIX}inputs/"))


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (3, 1), (4, 2), (10, 4)])
def test_what_was_listed_is_read_in_its_order_part_by_part(store: Store, count: int, expected: int) -> None:
    assert read_listing(store, PREFIX) is None
    create_listing(store, PREFIX, files(count))
    assert list(read_listing(store, PREFIX) or ()) == files(count)
    assert parts(store) == expected


def test_only_a_part_is_in_memory(store: Store) -> None:
    def listed() -> Iterator[SourceFile]:
        for index, file in enumerate(files(10)):
            assert parts(store) == index // 3
            yield file

    create_listing(store, PREFIX, listed())
    assert parts(store) == 4


def test_the_first_complete_listing_stays_and_the_parts_of_another_are_not_mixed_in(store: Store) -> None:
    def overtaken() -> Iterator[SourceFile]:
        yield from files(4, "slow")
        create_listing(store, PREFIX, files(5, "quick"))
        yield from files(4, "slow")

    create_listing(store, PREFIX, overtaken())
    assert list(read_listing(store, PREFIX) or ()) == files(5, "quick")


def test_a_listing_that_was_cut_off_counts_for_nothing(store: Store) -> None:
    def cut_off() -> Iterator[SourceFile]:
        yield from files(7)
        raise Unreachable("the bucket does not answer")

    with pytest.raises(Unreachable):
        create_listing(store, PREFIX, cut_off())
    assert parts(store) == 2
    assert read_listing(store, PREFIX) is None


def test_a_part_that_is_gone_is_no_short_listing(store: Store) -> None:
    create_listing(store, PREFIX, files(7))
    store.delete([list(store.list(f"{PREFIX}inputs/"))[1]])
    found = read_listing(store, PREFIX)
    assert found is not None
    with pytest.raises(NotFound, match="a part of the listing"):
        list(found)
