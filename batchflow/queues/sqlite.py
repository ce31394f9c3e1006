"""The queue of local runs: one SQLite file a queue, shared by the run's processes and their threads."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

import orjson

from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.limits import MAX_VISIBILITY_S, check_count, check_name, refused
from batchflow.queues.protocol import Delivery, Depth, Queue, Refused
from batchflow.records import Message

__all__ = ["SqliteQueue", "SqliteQueues"]

DEDUP_S: Final = 300.0  # SQS FIFO's deduplication interval
BUSY_S: Final = 30.0  # how long a transaction waits for those of other processes
POLL_MIN_S: Final = 0.002
POLL_MAX_S: Final = 0.05
PURGE_ROWS: Final = 20  # of expired dedup ids, each send: twice what a send adds, so that the table shrinks
_SCHEME: Final = "sqlite://"
_SUFFIX: Final = ".db"

# Times are the wall clock's: processes share it, and it may be set back. So a message is sent with `visible_at` 0, and a time further
# ahead than any that is ever written counts as past.
# AUTOINCREMENT: an id is never used again, so that an old receipt can't name a newer message.
# A row's body comes last, so that reading the columns before it does not touch its overflow pages.
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visible_at REAL NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0,
    grp TEXT NOT NULL,
    dedup TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX messages_visible ON messages (visible_at);
CREATE INDEX messages_grp ON messages (grp);
CREATE TABLE sent (grp TEXT NOT NULL, dedup TEXT NOT NULL, expires REAL NOT NULL, UNIQUE (grp, dedup));
"""
_COLUMNS: Final = 4  # of a message that is sent: grp, dedup, attributes, body
_REMEMBERED: Final = f"expires > ?1 AND expires <= ?1 + {DEDUP_S}"
# Of a call's messages one statement, not one each: a thread has to get the interpreter's lock again after every step.
_ADD: Final = f"""
INSERT INTO messages (visible_at, grp, dedup, attributes, body)
SELECT 0, * FROM (VALUES %s) WHERE NOT EXISTS (SELECT 1 FROM sent WHERE grp = column1 AND dedup = column2 AND {_REMEMBERED})
"""
_REMEMBER: Final = f"""
INSERT INTO sent (grp, dedup, expires) SELECT column1, column2, ?1 + {DEDUP_S} FROM (VALUES %s) WHERE TRUE
ON CONFLICT DO UPDATE SET expires = excluded.expires WHERE NOT ({_REMEMBERED})
"""
_FORGET: Final = f"""
DELETE FROM sent WHERE rowid IN (SELECT rowid FROM sent ORDER BY rowid LIMIT {PURGE_ROWS}) AND NOT ({_REMEMBERED})
"""
_HIDDEN: Final = f"visible_at > ?1 AND visible_at <= ?1 + {MAX_VISIBILITY_S}"
_ANY_VISIBLE: Final = f"SELECT 1 FROM messages WHERE visible_at <= ?1 OR visible_at > ?1 + {MAX_VISIBILITY_S} LIMIT 1"
# Only a group's oldest message is ever given out: while that one is hidden, the others wait.
_NEXT: Final = f"""
SELECT id, receives + 1, grp, dedup, attributes, body FROM messages AS message
WHERE NOT ({_HIDDEN}) AND NOT EXISTS (SELECT 1 FROM messages AS older WHERE older.grp = message.grp AND older.id < message.id)
ORDER BY visible_at, id LIMIT ?2
"""
_HIDE: Final = "UPDATE messages SET visible_at = ?, receives = ? WHERE id = ?"
# As long as nobody received it again, its holder may still delete or extend what is hidden for too long.
_HELD: Final = "id = ? AND receives = ? AND visible_at > ?"
_DEPTH: Final = f"SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM messages WHERE {_HIDDEN})"


class SqliteQueues:
    """Queues below one directory, which is made at need; their URLs are `sqlite:///<directory>/<name>.db`."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    def create(self, name: str, *, visibility_s: int, tags: Mapping[str, str]) -> Queue:
        """As in the Protocol; every receive says its visibility, and nothing looks for a file by tags."""
        path = self._file(name)
        if not path.exists():
            _create_file(path)
        return SqliteQueue(path, self._clock)

    def open(self, url: str) -> Queue:
        return SqliteQueue(_path(url), self._clock)

    def find(self, name: str) -> Queue | None:
        path = self._file(name)
        return SqliteQueue(path, self._clock) if path.exists() else None

    def list(self, prefix: str) -> Iterator[str]:
        names = (path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*.fifo{_SUFFIX}"))
        return (name for name in names if name.startswith(prefix))

    def open_arn(self, arn: str) -> Queue:
        """The queue that the ARN's last part names, made at first use: a local run needs nothing that was set up before."""
        return self.create(_name(arn), visibility_s=0, tags={})

    def has_arn(self, arn: str) -> bool:
        check_name(_name(arn))
        return True

    def remove(self, url: str) -> None:
        path = _path(url)
        for draft in path.parent.glob(f".{path.name}.*"):  # of a maker that was killed
            draft.unlink(missing_ok=True)
        if not path.exists():
            return
        with _translated(path), closing(_connect(path)) as connection:
            # Who has the file open keeps it after the unlink, but finds no table there.
            connection.executescript("BEGIN IMMEDIATE; ALTER TABLE messages RENAME TO removed; COMMIT")
        _unlink(path)

    def _file(self, name: str) -> Path:
        return self._directory / (check_name(name) + _SUFFIX)


def _name(arn: str) -> str:
    if not arn.startswith("arn:"):
        raise InvalidInput(f'"{arn}" is not the ARN of a queue', hint="an example: arn:aws:sqs:us-west-2:123456789012:failed.fifo")
    return arn.rpartition(":")[2]


class SqliteQueue:
    """One connection, opened at first use; threads take turns at it."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch, the same for all that use the file."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @property
    def url(self) -> str:
        return f"{_SCHEME}{self._path}"

    def send(self, messages: Sequence[Message]) -> list[Refused]:
        check_count(len(messages))
        bad = refused(messages)
        never = {id(entry.message) for entry in bad}
        new: dict[tuple[str, str], tuple[str, ...]] = {}  # of those with the same id the first
        for m in messages:
            if id(m) not in never:
                new.setdefault((m.group, m.dedup), (m.group, m.dedup, orjson.dumps(dict(m.attributes)).decode(), m.body))
        if not new:
            return bad
        with self._transaction() as connection:
            now = self._clock()
            values, bound = _values(len(new)), (now, *chain.from_iterable(new.values()))
            connection.execute(_ADD % values, bound)
            connection.execute(_REMEMBER % values, bound)
            connection.execute(_FORGET, (now,))
        return bad

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        check_count(limit)
        deadline = time.monotonic() + wait_s
        delay_s = POLL_MIN_S
        while True:
            found = self._take(limit, visibility_s)
            left_s = deadline - time.monotonic()
            if found or left_s <= 0:
                return found
            time.sleep(min(delay_s, left_s))
            delay_s = min(delay_s * 2, POLL_MAX_S)

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        with self._transaction() as connection:
            now = self._clock()
            connection.executemany(f"DELETE FROM messages WHERE {_HELD}", [(*_ids(d), now) for d in deliveries])

    def extend(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        with self._transaction() as connection:
            now = self._clock()
            rows = [(now + visibility_s, *_ids(d), now) for d in deliveries]
            connection.executemany(f"UPDATE messages SET visible_at = ? WHERE {_HELD}", rows)

    def depth(self) -> Depth:
        with self._open() as connection:
            total, in_flight = connection.execute(_DEPTH, (self._clock(),)).fetchone()
        return Depth(total - in_flight, in_flight)

    def close(self) -> None:
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    def _take(self, limit: int, visibility_s: int) -> list[Delivery]:
        with self._open() as connection:
            # An empty poll must not take the write lock from those who have something to write.
            if connection.execute(_ANY_VISIBLE, (self._clock(),)).fetchone() is None:
                return []
        with self._transaction() as connection:
            now = self._clock()
            rows = connection.execute(_NEXT, (now, limit)).fetchall()
            connection.executemany(_HIDE, [(now + visibility_s, receives, row_id) for row_id, receives, *_ in rows])
        return [
            Delivery(Message(body, group, dedup, orjson.loads(attributes)), f"{row_id}:{receives}", receives)
            for row_id, receives, group, dedup, attributes, body in rows
        ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path):
            if self._connection is None:
                self._connection = _connect(self._path)
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


@cache
def _values(count: int) -> str:
    """Of so many messages, bound from the second parameter on."""
    firsts = range(2, 2 + count * _COLUMNS, _COLUMNS)
    return ", ".join(f"(?{first}, ?{first + 1}, ?{first + 2}, ?{first + 3})" for first in firsts)


def _connect(path: Path) -> sqlite3.Connection:
    """To an existing file; a missing one is not made again."""
    if not path.exists():
        raise NotFound(f"queue {path.name.removesuffix(_SUFFIX)} does not exist", where=str(path))
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    # NORMAL loses nothing when a process is killed. A power cut may take the last commits, each whole: a send (its batch has no outcome
    # then, the job does not succeed, and `resume` sends it again), or a delete (the batch is handled twice, and counted once).
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _create_file(path: Path) -> None:
    """Make the queue's file elsewhere and link it: it is there whole or not at all, and of several makers one wins."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.executescript(_SCHEMA)
            with suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            _unlink(draft)
    except (OSError, sqlite3.Error) as error:
        raise Unreachable(f"the queue's file can't be made: {error}", where=str(path)) from error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        gone = not path.exists()
        if gone:  # who had just opened the file when it was removed has made those beside it again
            _unlink(path)
        if gone or "no such table" in str(error):
            raise NotFound(f"queue {path.name.removesuffix(_SUFFIX)} does not exist any more", where=str(path)) from error
        raise Unreachable(f"the queue's file can't be used: {error}", where=str(path)) from error


def _unlink(path: Path) -> None:
    """The file, and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _path(url: str) -> Path:
    path = Path(url.removeprefix(_SCHEME))
    if not (url.startswith(_SCHEME) and path.is_absolute() and path.suffix == _SUFFIX):
        raise InvalidInput(f'"{url}" is not the URL of a local queue')
    return path


def _ids(delivery: Delivery) -> tuple[int, int]:
    row_id, _, receives = delivery.receipt.partition(":")
    return int(row_id), int(receives)
