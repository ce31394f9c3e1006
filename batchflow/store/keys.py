"""keys/: which job an `Idempotency-Key` stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from batchflow.records import KeyRecord
from batchflow.store.protocol import Store

__all__ = ["SubmissionKeys"]

_PREFIX: Final = "keys/"


class SubmissionKeys:
    """One object for each key, keys/<api>/<SHA-256 of the key>.json.

    Written before anything else of the job, so that whoever repeats a submission that was cut off goes on with its job.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, api: str, key: str) -> KeyRecord | None:
        data = self._store.get(_name(api, key))
        return None if data is None else KeyRecord.load(data)

    def claim(self, api: str, key: str, record: KeyRecord) -> KeyRecord:
        """The record that the key has from now on: the given one, or that of whoever was first."""
        name = _name(api, key)
        while not self._store.create(name, record.dump()):
            data = self._store.get(name)
            if data is not None:  # else it was pruned just now
                return KeyRecord.load(data)
        return record

    def list(self, api: str = "") -> Iterator[str]:
        """The names of an api's keys, or of all, for `record` and `delete`."""
        return self._store.list(f"{_PREFIX}{api}/" if api else _PREFIX)

    def record(self, name: str) -> tuple[str, KeyRecord] | None:
        """The api and what its key stands for; None if it is gone."""
        data = self._store.get(name)
        return None if data is None else (name.split("/")[1], KeyRecord.load(data))

    def delete(self, names: Iterable[str]) -> None:
        self._store.delete(names)


def _name(api: str, key: str) -> str:
    return f"{_PREFIX}{api}/{hashlib.sha256(key.encode()).hexdigest()}.json"
