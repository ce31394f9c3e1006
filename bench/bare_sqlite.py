"""The least SQL that moves batches through the same file; no dedup, groups, receipts or outcomes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence

__all__ = ["BareSqlite"]

INSERT = "INSERT INTO messages (visible_at, grp, dedup, attributes, body) VALUES (0, ?, ?, ?, ?)"
TAKE = "UPDATE messages SET visible_at = ?1 + 60 WHERE id IN (SELECT id FROM messages WHERE visible_at <= ?1 LIMIT ?2) RETURNING id, body"
DELETE = "DELETE FROM messages WHERE id = ?"


class BareSqlite:
    """A queue's file; threads take turns at its one connection, and every call is a transaction."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url.removeprefix("sqlite://"), timeout=30, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._lock = threading.Lock()

    def send(self, numbered: Sequence[tuple[int, str]]) -> int:
        self._write(INSERT, [(str(index), f"{index}-1", '{"attempt":"1"}', body) for index, body in numbered])
        return len(numbered)

    def send_one(self, index: int, body: str) -> None:
        self.send([(index, body)])

    def receive(self, limit: int) -> list[tuple[int, str]]:
        with self._lock:
            return self._connection.execute(TAKE, (time.time(), limit)).fetchall()

    def delete(self, receipts: Sequence[int]) -> None:
        self._write(DELETE, [(receipt,) for receipt in receipts])

    def delete_one(self, receipt: int) -> None:
        self.delete([receipt])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
