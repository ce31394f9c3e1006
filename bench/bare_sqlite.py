"""The other side on SQLite: the least SQL that moves batches through the same file; no dedup, groups, receipts or outcomes.

    python -m bench.bare_sqlite send URL FILE
    python -m bench.bare_sqlite work URL PORT COUNT

The last line is {"count", "first", "last"}.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from bench.bare_sqs import CALL, post

INSERT = "INSERT INTO messages (visible_at, grp, dedup, attributes, body) VALUES (?, ?, ?, ?, ?)"
TAKE = "UPDATE messages SET visible_at = ?1 + 60 WHERE id IN (SELECT id FROM messages WHERE visible_at <= ?1 LIMIT 10) RETURNING id, body"
DELETE = "DELETE FROM messages WHERE id = ?"


def send(connection: sqlite3.Connection, lines: Sequence[str]) -> int:
    """A transaction for each ten."""
    numbered = enumerate(lines)
    while call := list(islice(numbered, CALL)):
        now = time.time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [(now, str(index), f"{index}-1", '{"attempt":"1"}', f"[{line}]") for index, line in call])
        connection.execute("COMMIT")
    return len(lines)


def work(connection: sqlite3.Connection, handler: http.client.HTTPConnection, count: int) -> int:
    """Take ten, post each, delete the ten."""
    left = count
    while left:
        taken = connection.execute(TAKE, (time.time(),)).fetchall()
        for _, body in taken:
            post(handler, body)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(DELETE, [(row_id,) for row_id, _ in taken])
        connection.execute("COMMIT")
        left -= len(taken)
    return count


def main() -> None:
    what, url, *rest = sys.argv[1:]
    connection = sqlite3.connect(url.removeprefix("sqlite://"), timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    if what == "send":
        lines = Path(rest[0]).read_text().splitlines()
        began = time.monotonic()
        count = send(connection, lines)
    else:
        handler = http.client.HTTPConnection("127.0.0.1", int(rest[0]))
        began = time.monotonic()
        count = work(connection, handler, int(rest[1]))
    print(json.dumps({"count": count, "first": began, "last": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
