"""Many records at a time: in their order, as a stream, and only so many ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.errors import Unreachable
from batchflow.store import reading
from batchflow.store.directory import DirectoryStore
from batchflow.store.reading import read_all

KEYS = [f"a/{number:03d}" for number in range(100)]


class Slow(DirectoryStore):
    """A real store: an answer takes longer the earlier its key is, and `fails` gets none."""

    def __init__(self, root: Path, fails: str = "") -> None:
        super().__init__(root)
        self.fails = fails
        self.asked = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            self.asked += 1
        time.sleep(0.0002 * (100 - int(key[2:])))
        if key == self.fails:
            raise Unreachable("no answer")
        return super().get(key)


def test_records_come_in_the_order_of_their_keys_and_a_missing_one_is_none(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    for key in KEYS[1:]:
        store.put(key, key.encode())
    assert list(read_all(store, KEYS)) == [None, *(key.encode() for key in KEYS[1:])]


def test_keys_are_listed_no_further_than_is_read_ahead(tmp_path: Path) -> None:
    listed = []

    def keys() -> Iterator[str]:
        for key in KEYS:
            listed.append(key)
            yield key

    found = read_all(Slow(tmp_path), keys())
    assert next(found) is None
    assert len(listed) <= reading._AHEAD
    found.close()


def test_the_first_failure_ends_the_reading(tmp_path: Path) -> None:
    store = Slow(tmp_path, fails=KEYS[3])
    with pytest.raises(Unreachable):
        list(read_all(store, KEYS))
    assert store.asked < len(KEYS)
