"""names/<row>/<n>.json: which job deployment each name stands for now. A name belongs to one of 256 rows, by its hash.

Of a row only the record with the highest number holds: {"ids": {name: deployment_id}, "token"}. It is never changed; who wants to change it
reads it and creates the next number, which one of several can. So no change undoes another one that its writer has not seen: who is to free
a name, and is late, finds it standing for another deployment, or its number taken, and never frees that other one's.

The KEPT before the highest stay, earlier ones are deleted. That is safe, since the highest number never goes down: a record is deleted only
by who has created a higher one. Whoever comes so late that even its number was deleted creates a record that is not the highest, so nobody
reads it; it sees that when it looks again. Being killed anywhere leaves a change made or not made. What stays for good are KEPT + 1 records
a row, however many names there were, and no clock is asked.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import orjson

from batchflow.errors import Unreachable
from batchflow.store.creation import create_own
from batchflow.store.protocol import Store

__all__ = ["Names"]

KEPT: Final = 8  # else who is slower than two others would write in vain
_DIGITS: Final = 12  # so that keys sort as their numbers


class _Row(NamedTuple):
    """What holds of one row: its highest number, and the deployment id of each name."""

    number: int
    ids: Mapping[str, str]


class Names:
    """A look-up costs a list and a get, a change twice that and a write or two."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, name: str) -> str | None:
        """The deployment id; None if the name is free."""
        return self._row(_prefix(name)).ids.get(name)

    def take(self, name: str, deployment_id: str) -> bool:
        """Have the name stand for a deployment; False if it stands for another, or was freed again meanwhile: no such id comes back."""
        prefix, is_written = _prefix(name), False
        while not is_written:
            row = self._row(prefix)
            if name in row.ids:
                return row.ids[name] == deployment_id
            is_written = self._write(prefix, row.number + 1, {**row.ids, name: deployment_id})
        return self.find(name) == deployment_id

    def free(self, name: str, deployment_id: str) -> None:
        """Have the name stand for nothing; no effect if it does not stand for that deployment."""
        prefix = _prefix(name)
        while (row := self._row(prefix)).ids.get(name) == deployment_id:
            self._write(prefix, row.number + 1, {other: id for other, id in row.ids.items() if other != name})

    def _row(self, prefix: str) -> _Row:
        while keys := list(self._store.list(prefix)):
            data = self._store.get(keys[-1])
            if data is not None:  # else it was overtaken and deleted in between
                return _Row(int(keys[-1].removeprefix(prefix).removesuffix(".json")), orjson.loads(data)["ids"])
        return _Row(0, {})

    def _write(self, prefix: str, number: int, ids: Mapping[str, str]) -> bool:
        """Whether that number is ours."""
        key = _key(prefix, number)
        if not create_own(self._store, key, orjson.dumps({"ids": ids, "token": secrets.token_hex(8)})):
            return False
        with suppress(Unreachable):  # the change is made, and the next one deletes them
            self._store.delete([old for old in self._store.list(prefix) if old < _key(prefix, number - KEPT)])
        return True


def _prefix(name: str) -> str:
    return f"names/{hashlib.sha256(name.encode()).hexdigest()[:2]}/"


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{max(number, 0):0{_DIGITS}d}.json"
