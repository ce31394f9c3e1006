"""What only the SQLite queue has: several processes at one file, and DLQs that need no setting up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.limits import MAX_VISIBILITY_S
from batchflow.queues.protocol import Depth, Queue
from batchflow.queues.sqlite import DEDUP_S, SqliteQueues
from batchflow.records import Message

PROCESS = Path(__file__).with_name("sqlite_process.py")
TIMEOUT_S = 120


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(PROCESS), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def test_processes_share_a_queue_and_each_message_is_delivered_once(tmp_path: Path) -> None:
    queue = SqliteQueues(tmp_path).create("shared.fifo", visibility_s=60, tags={})
    receivers = [start(queue.url, "receive") for _ in range(3)]
    senders = [start(queue.url, "send", str(first), "1000") for first in (0, 1000, 2000)]
    try:
        assert [sender.wait(TIMEOUT_S) for sender in senders] == [0, 0, 0]
        found = [int(number) for receiver in receivers for number in receiver.communicate(timeout=TIMEOUT_S)[0].split()]
    finally:
        for process in senders + receivers:
            process.kill()
            process.communicate()
    assert [receiver.returncode for receiver in receivers] == [0, 0, 0]
    assert sorted(found) == list(range(3000))
    queue.close()


def test_a_dlq_that_is_not_there_is_made_at_first_use(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path)
    queue = queues.open_arn("arn:aws:sqs:us-west-2:123456789012:failed.fifo")
    assert queue.send([Message("[1]", "1", "1")]) == []
    again = queues.open_arn("arn:aws:sqs:eu-west-1:000000000000:failed.fifo")
    assert again.receive(1, 0, 60)[0].message.body == "[1]"
    queue.close()
    again.close()


def test_removing_leaves_no_file(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path)
    queue = queues.create("a.fifo", visibility_s=60, tags={})
    queue.send([Message("[1]", "1", "1")])
    queues.remove(queue.url)
    assert list(tmp_path.iterdir()) == []
    queue.close()


def test_who_had_just_opened_a_queue_that_is_removed_leaves_no_file(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path)
    queue = queues.create("a.fifo", visibility_s=60, tags={})
    with queue._open():  # type: ignore[attr-defined]
        queues.remove(queue.url)
    with pytest.raises(NotFound):
        queue.depth()
    queue.close()
    assert list(tmp_path.iterdir()) == []


def test_removing_takes_along_what_a_killed_maker_left(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path)
    queue = queues.create("a.fifo", visibility_s=60, tags={})
    (tmp_path / ".a.fifo.db.0123").touch()
    (tmp_path / ".a.fifo.db.0123-wal").touch()
    queues.remove(queue.url)
    assert list(tmp_path.iterdir()) == []


def test_a_queue_that_can_not_be_made_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable, match="can't be made"):
        SqliteQueues(tmp_path / "file" / "queues").create("a.fifo", visibility_s=60, tags={})


def test_a_name_can_be_used_again_after_its_queue_was_removed(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path)
    old = queues.create("a.fifo", visibility_s=60, tags={})
    old.send([Message("[1]", "1", "1")])
    queues.remove(old.url)
    new = queues.create("a.fifo", visibility_s=60, tags={})
    assert new.send([Message("[2]", "2", "2")]) == []
    with pytest.raises(NotFound):
        old.depth()
    assert [d.message.body for d in new.receive(10, 0, 60)] == ["[2]"]
    old.close()
    new.close()


def test_opening_makes_no_file(tmp_path: Path) -> None:
    queue = SqliteQueues(tmp_path).open(f"sqlite://{tmp_path}/never.fifo.db")
    with pytest.raises(NotFound, match=r"never\.fifo does not exist"):
        queue.depth()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_queue_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.fifo.db").write_bytes(b"no database" * 100)
    queue = SqliteQueues(tmp_path).open(f"sqlite://{tmp_path}/a.fifo.db")
    with pytest.raises(Unreachable, match=r"a\.fifo\.db"):
        queue.depth()
    queue.close()


@pytest.mark.parametrize("url", ["", "https://sqs/1/a.fifo", "sqlite://a.fifo.db", "sqlite:///a.fifo"])
def test_what_is_no_local_queue_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput):
        SqliteQueues(tmp_path).open(url)


@dataclass
class Clock:
    """A wall clock that goes where it is set."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clocked(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    queue = SqliteQueues(tmp_path, clock=clock).create("a.fifo", visibility_s=60, tags={})
    yield queue
    queue.close()


def received(queue: Queue) -> list[str]:
    return [delivery.message.body for delivery in queue.receive(10, 0, 60)]


@pytest.mark.parametrize("step_s", [-1, -1e9, 1e9])
def test_what_was_sent_is_visible_whatever_the_clock_does(clocked: Queue, clock: Clock, step_s: float) -> None:
    clocked.send([Message("[1]", "1", "1")])
    clock.now += step_s
    clocked.send([Message("[2]", "2", "2")])
    clock.now += step_s
    assert clocked.depth() == Depth(visible=2, in_flight=0)
    assert received(clocked) == ["[1]", "[2]"]


def test_first_deliveries_are_in_the_order_of_the_sends(clocked: Queue, clock: Clock) -> None:
    for number in range(10):
        clock.now -= number
        clocked.send([Message(f"[{number}]", str(9 - number), "1")])
    assert received(clocked) == [f"[{number}]" for number in range(10)]


def test_a_message_that_is_hidden_for_longer_than_sqs_can_is_visible(clocked: Queue, clock: Clock) -> None:
    clocked.send([Message("[1]", "1", "1")])
    clocked.receive(1, 0, MAX_VISIBILITY_S)
    assert (received(clocked), clocked.depth()) == ([], Depth(visible=0, in_flight=1))
    clock.now -= 1
    assert clocked.depth() == Depth(visible=1, in_flight=0)
    assert received(clocked) == ["[1]"]
    assert clocked.depth() == Depth(visible=0, in_flight=1)


def test_a_holder_may_delete_or_extend_after_the_clock_was_set_back(clocked: Queue, clock: Clock) -> None:
    clocked.send([Message("[1]", "1", "1"), Message("[2]", "2", "2")])
    first, second = clocked.receive(10, 0, 60)
    clock.now -= 1e6
    clocked.delete([first])
    clocked.extend([second], 60)
    assert clocked.depth() == Depth(visible=0, in_flight=1)
    clock.now += 60
    assert received(clocked) == ["[2]"]


@pytest.mark.parametrize(("step_s", "dropped"), [(DEDUP_S - 1, True), (DEDUP_S, False), (0, True), (-1, False)])
def test_a_repeat_is_dropped_for_five_minutes_and_never_for_longer(clocked: Queue, clock: Clock, step_s: float, dropped: bool) -> None:
    clocked.send([Message("[1]", "1", "1")])
    clocked.delete(clocked.receive(1, 0, 60))
    clock.now += step_s
    clocked.send([Message("[1]", "1", "1")])
    assert received(clocked) == ([] if dropped else ["[1]"])
