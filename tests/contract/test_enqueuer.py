"""The enqueue step on the real SQLite queue, the real directory store and real files."""

from __future__ import annotations

import json
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from batchflow.enqueuer import enqueue, queue_name
from batchflow.enqueuer.batching import Batch, Position
from batchflow.enqueuer.sending import CALL_BYTES, UNCONFIRMED_PER_THREAD, Confirmed, Sender
from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.queues.limits import size_bytes
from batchflow.queues.protocol import Delivery, Depth, Queue, Refused
from batchflow.queues.sqlite import SqliteQueues
from batchflow.records import FAILED, SUCCEEDED, Checkpoint, FinalStatus, JobRef, Message, Outcome, SubmissionRecord, batch_id
from batchflow.settings import Settings
from batchflow.store.directory import DirectoryStore
from batchflow.store.jobs import JobRecords
from batchflow.store.open import open_sources

JOB = JobRef("digits", "7fffffffffffffff")
SETTINGS = Settings(sources=("file",), retry_s=60)
SOURCES = open_sources(SETTINGS)


@dataclass
class FaultyQueue:
    """A real queue; before each send `fault` may raise, or name messages to refuse instead of sending them."""

    inner: Queue
    fault: Callable[[Sequence[Message]], list[Refused]]
    calls: list[list[Message]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.inner.url

    def send(self, messages: Sequence[Message]) -> list[Refused]:
        self.calls.append(list(messages))
        refused = self.fault(messages)
        turned_away = [entry.message for entry in refused]
        taken = [message for message in messages if message not in turned_away]
        return refused + (self.inner.send(taken) if taken else [])

    def receive(self, limit: int, wait_s: float, visibility_s: int) -> list[Delivery]:
        return self.inner.receive(limit, wait_s, visibility_s)

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self.inner.delete(deliveries)

    def extend(self, deliveries: Sequence[Delivery], visibility_s: int) -> None:
        self.inner.extend(deliveries, visibility_s)

    def depth(self) -> Depth:
        return self.inner.depth()

    def close(self) -> None:
        self.inner.close()


class FaultyQueues(SqliteQueues):
    def __init__(self, directory: Path, fault: Callable[[Sequence[Message]], list[Refused]] = lambda _: []) -> None:
        super().__init__(directory)
        self.fault = fault
        self.made: list[FaultyQueue] = []

    def create(self, name: str, *, visibility_s: int, tags: Mapping[str, str]) -> Queue:
        self.made.append(FaultyQueue(super().create(name, visibility_s=visibility_s, tags=tags), self.fault))
        return self.made[-1]


@dataclass
class Job:
    folder: Path
    run: int = 1
    fault: Callable[[Sequence[Message]], list[Refused]] = lambda _: []
    settings: Settings = SETTINGS
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.queues = FaultyQueues(self.folder / "queues", self.fault)
        self.records = JobRecords(DirectoryStore(self.folder / "store"), replace(JOB, run=self.run))

    @property
    def inputs(self) -> Path:
        path = self.folder / "inputs"
        path.mkdir(exist_ok=True)
        return path

    def submit(self, **source: Any) -> Job:
        record = SubmissionRecord(JOB.api, "a" * 32, JOB.job_id, "2024-05-01T12:00:00Z", {"workers": 2, **source})
        assert self.records.create_submission(record)
        return self

    def submit_lines(self, batch_size: int = 1) -> Job:
        return self.submit(delimited_files={"s3_paths": [f"{self.inputs}/"], "batch_size": batch_size})

    def enqueue(self, **options: Any) -> Checkpoint:
        return enqueue(
            self.records, queues=self.queues, sources=SOURCES, settings=self.settings, stop=self.stop, **{"checkpoint_s": 0.0, **options}
        )

    def url(self) -> str:
        checkpoint = self.records.checkpoint()
        assert checkpoint is not None
        return checkpoint.queue_url

    def has_queue(self) -> bool:
        try:
            self.queues.open(self.url()).depth()
        except NotFound:
            return False
        return True

    def received(self) -> dict[int, str]:
        """The bodies in the queue by index; fails if one is there twice."""
        bodies: dict[int, str] = {}
        queue = self.queues.open(self.url())
        while deliveries := queue.receive(10, 0, 60):
            for delivery in deliveries:
                index = int(delivery.message.attributes["batch_index"])
                assert index not in bodies
                bodies[index] = delivery.message.body
        queue.close()
        return bodies


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def lines(start: int, stop: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % n for n in range(start, stop))


def numbers(bodies: dict[int, str]) -> list[int]:
    return [item["n"] for _, body in sorted(bodies.items()) for item in json.loads(body)]


@pytest.mark.parametrize("run", [1, 2, 99])
def test_a_queue_s_name_fits_sqs_and_tells_runs_and_stores_apart(run: int) -> None:
    job = JobRef("a" * 42, "7" * 16, run)
    name = queue_name(job, "s3://bucket/prefix")
    assert name.startswith("cx_") and name.endswith(f"_b_{'a' * 42}_{'7' * 16}.fifo")
    assert len(name) <= 80
    assert name not in (queue_name(job, "s3://bucket/other"), queue_name(replace(job, run=3), "s3://bucket/prefix"))


def test_every_batch_is_in_the_queue_once_and_the_records_say_so(job: Job) -> None:
    (job.inputs / "a.json").write_bytes(lines(0, 250))
    (job.inputs / "b.json").write_bytes(lines(250, 1001))
    last = job.submit_lines(batch_size=4).enqueue()
    assert (last.done, last.total, last.next_index, last.error) == (True, 251, 251, "")
    assert last == job.records.checkpoint()
    document = json.loads(job.records.document() or b"")
    assert (document["total_batch_count"], document["sqs_url"]) == (251, job.url())
    assert [Path(file.path).name for file in job.records.inputs() or ()] == ["a.json", "b.json"]
    bodies = job.received()
    assert numbers(bodies) == list(range(1001))
    assert bodies[250] == '[{"n":1000}]'


def test_a_message_is_the_bare_array_with_the_job_s_attributes(job: Job) -> None:
    job.submit(item_list={"items": [{"a": 1}, 2, "x"], "batch_size": 2}).enqueue()
    found = {d.message.group: d.message for d in job.queues.open(job.url()).receive(10, 0, 60)}
    assert {group: message.body for group, message in found.items()} == {"0": '[{"a":1},2]', "1": '["x"]'}
    expected = {"api_name": JOB.api, "job_id": JOB.job_id, "batch_index": "1", "batch_id": batch_id(JOB.job_id, 1), "attempt": "1"}
    assert found["1"].attributes == expected


def test_paths_are_enqueued_as_they_were_listed(job: Job) -> None:
    for name in ("a.png", "b.jpg", "c.png"):
        (job.inputs / name).touch()
    job.submit(file_path_lister={"s3_paths": [f"{job.inputs}/"], "includes": ["**.png"], "batch_size": 5}).enqueue()
    assert job.received() == {0: json.dumps([f"{job.inputs}/a.png", f"{job.inputs}/c.png"], separators=(",", ":"))}


def test_files_without_items_make_a_job_of_no_batches(job: Job) -> None:
    (job.inputs / "empty").touch()
    last = job.submit_lines().enqueue()
    assert (last.done, last.total, last.next_index) == (True, 0, 0)
    assert json.loads(job.records.document() or b"")["total_batch_count"] == 0


def test_a_finished_enqueuer_that_runs_again_does_nothing(job: Job) -> None:
    last = job.submit(item_list={"items": [1], "batch_size": 1}).enqueue()
    again = Job(job.folder, fault=_never)
    assert again.enqueue() == last
    assert again.queues.made == []


def _never(_: Sequence[Message]) -> list[Refused]:
    raise AssertionError("nothing is to be sent")


def test_calls_are_filled_by_count_and_by_bytes(job: Job) -> None:
    items = [1] * 25 + ["x" * 100_000] * 5
    job.submit(item_list={"items": items, "batch_size": 1}).enqueue()
    calls = job.queues.made[0].calls
    assert sorted(len(call) for call in calls) == [1, 2, 7, 10, 10]
    assert all(sum(map(size_bytes, call)) <= CALL_BYTES for call in calls)
    assert len(job.received()) == 30


@pytest.mark.parametrize("seed", range(3))
def test_calls_that_fail_and_entries_that_are_refused_are_sent_again_alone(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    lock = threading.Lock()
    refusals: set[str] = set()

    def fault(messages: Sequence[Message]) -> list[Refused]:
        with lock:
            if rng.random() < 0.15:
                raise Unreachable("SQS does not answer")
            refused = [Refused(message, "throttled", permanent=False) for message in messages if rng.random() < 0.1]
            refusals.update(entry.message.group for entry in refused)
            return refused

    job = Job(tmp_path, fault=fault)
    (job.inputs / "a").write_bytes(lines(0, 400))
    last = job.submit_lines().enqueue()
    assert (last.done, last.total) == (True, 400)
    assert numbers(job.received()) == list(range(400))
    assert refusals
    sent = [message.group for call in job.queues.made[0].calls for message in call]
    assert {group for group in sent if sent.count(group) > 1} < set(sent)


def test_a_batch_that_is_refused_for_good_ends_the_job_by_name(tmp_path: Path) -> None:
    def fault(messages: Sequence[Message]) -> list[Refused]:
        return [Refused(message, "it smells", permanent=True) for message in messages if message.group == "13"]

    job = Job(tmp_path, fault=fault).submit(item_list={"items": list(range(20)), "batch_size": 1})
    with pytest.raises(InvalidInput, match="batch 13: it smells"):
        job.enqueue()
    checkpoint = job.records.checkpoint()
    assert checkpoint is not None and "batch 13" in checkpoint.error and not checkpoint.done
    assert not job.has_queue()


def test_a_queue_that_stays_away_ends_the_step_and_the_next_try_finishes(tmp_path: Path) -> None:
    def away(messages: Sequence[Message]) -> list[Refused]:
        if any(int(message.group) >= 50 for message in messages):
            raise Unreachable("SQS does not answer")
        return []

    job = Job(tmp_path, fault=away, settings=replace(SETTINGS, retry_s=0.3))
    (job.inputs / "a").write_bytes(lines(0, 100))
    with pytest.raises(Unreachable, match="SQS does not answer"):
        job.submit_lines().enqueue()
    checkpoint = job.records.checkpoint()
    assert checkpoint is not None and not checkpoint.error and not checkpoint.done
    assert checkpoint.next_index <= 50
    again = Job(tmp_path)
    assert again.enqueue().total == 100
    assert numbers(again.received()) == list(range(100))


def test_the_checkpoint_never_passes_a_batch_that_is_not_in_the_queue(tmp_path: Path) -> None:
    slow, others = threading.Event(), threading.Event()
    delivered: list[int] = []

    def fault(messages: Sequence[Message]) -> list[Refused]:
        if messages[0].group == "10":
            assert slow.wait(30)
        delivered.append(int(messages[0].group))
        if len(delivered) == 4:
            others.set()
        return []

    queue = FaultyQueue(SqliteQueues(tmp_path).create("q.fifo", visibility_s=60, tags={}), fault)
    with Sender(JOB, queue, Confirmed(0, Position()), retry_s=5, tick=lambda: None, threads=3) as sender:
        for index in range(50):
            sender.send(Batch(index, "[1]", 1, Position(index + 1)))
        assert others.wait(30)
        assert sender.confirmed in (Confirmed(0, Position()), Confirmed(10, Position(10)))
        slow.set()
        sender.finish()
        assert sender.confirmed == Confirmed(50, Position(50))


class FirstWaits:
    """A queue to which the first call gets only when `enough` calls were begun and no more are; `tick` is the sender's."""

    def __init__(self, directory: Path, *, enough: int) -> None:
        self.queue = FaultyQueue(SqliteQueues(directory).create("q.fifo", visibility_s=60, tags={}), self._fault)
        self.most_calls = 0  # that were begun when the first got there
        self.most_bytes = 0  # in memory then
        self._enough = enough
        self._lock = threading.Lock()
        self._calls = 0
        self._seen: list[int] = []
        self._go = threading.Event()

    def _fault(self, messages: Sequence[Message]) -> list[Refused]:
        self.queue.calls.clear()
        with self._lock:
            self._calls += 1
        if messages[0].group == "0":
            assert self._go.wait(60)
        return []

    def tick(self) -> None:
        with self._lock:
            self._seen.append(self._calls)
            still = self._calls >= self._enough and self._seen[-5:] == [self._calls] * 5
        if still and not self._go.is_set():
            self.most_calls, self.most_bytes = self._calls, tracemalloc.get_traced_memory()[0]
            self._go.set()


def test_a_call_that_waits_holds_up_the_others_before_memory_fills(tmp_path: Path) -> None:
    threads, calls, body_bytes = 2, 100, 200_000  # one batch is a call
    first = FirstWaits(tmp_path, enough=UNCONFIRMED_PER_THREAD * threads)
    tracemalloc.start()
    try:
        with Sender(JOB, first.queue, Confirmed(0, Position()), retry_s=60, tick=first.tick, threads=threads) as sender:
            for index in range(calls):
                sender.send(Batch(index, f'["{"x" * body_bytes}"]', 1, Position(index + 1)))
            sender.finish()
    finally:
        tracemalloc.stop()
    assert sender.confirmed == Confirmed(calls, Position(calls))
    assert first.most_calls == UNCONFIRMED_PER_THREAD * threads
    assert first.most_bytes < 5 * body_bytes, "what was sent is kept"
    first.queue.close()


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("seed", range(5))
def test_an_enqueuer_that_is_cut_off_anywhere_goes_on_with_the_same_batches(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    job = Job(tmp_path)
    for name in "abc":
        (job.inputs / name).write_bytes(lines(100 * ord(name), 100 * ord(name) + rng.randrange(1, 100)))
    job.submit_lines(batch_size=3)
    saved: list[Checkpoint] = []
    for _ in range(20):
        records, survives = job.records, rng.randrange(1, 6)

        class Dying(JobRecords):
            left = survives

            def save_checkpoint(self, checkpoint: Checkpoint) -> None:
                super().save_checkpoint(checkpoint)
                saved.append(checkpoint)
                self.left -= 1
                if not self.left:
                    raise Killed

        job = Job(tmp_path)
        job.records = Dying(records.store, records.job)
        try:
            job.enqueue(senders=2)
        except Killed:
            continue
        break
    last = Job(tmp_path).enqueue()
    assert [checkpoint.next_index for checkpoint in saved] == sorted(checkpoint.next_index for checkpoint in saved)
    whole = [n for name in "abc" for n in map(_number, (job.inputs / name).read_bytes().splitlines())]
    assert last.done and last.total == -(-len(whole) // 3)
    assert numbers(job.received()) == whole


def _number(line: bytes) -> int:
    return int(json.loads(line)["n"])


def test_the_listing_stays_as_it_was_fixed_first(job: Job) -> None:
    (job.inputs / "a").write_bytes(lines(0, 5))
    job.stop.set()
    assert not job.submit_lines().enqueue().done
    again = Job(job.folder)
    again.enqueue()
    (job.inputs / "b").write_bytes(lines(5, 9))
    later = Job(job.folder, run=2)
    assert later.enqueue().total == 5


def test_a_stopped_enqueuer_saves_its_place_and_the_next_try_goes_on(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def fault(messages: Sequence[Message]) -> list[Refused]:
        if int(messages[0].group) >= 100:
            job.stop.set()
        return []

    job.queues.fault = fault
    (job.inputs / "a").write_bytes(lines(0, 2000))
    last = job.submit_lines().enqueue(checkpoint_s=1e9)
    assert not last.done and not last.error
    assert 0 < last.next_index < 2000
    assert last == job.records.checkpoint()
    assert job.has_queue()
    again = Job(tmp_path)
    assert again.enqueue().total == 2000
    assert numbers(again.received()) == list(range(2000))


def test_a_stopped_enqueuer_does_not_wait_for_a_queue_that_is_away(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def fault(messages: Sequence[Message]) -> list[Refused]:
        job.stop.set()
        raise Unreachable("SQS does not answer")

    job.queues.fault = fault
    assert not job.submit(item_list={"items": [1], "batch_size": 1}).enqueue().done


def final(job: Job, run: int = 1) -> None:
    job.records.save_final(FinalStatus(run, {"status": "stopped"}))


def test_a_job_that_ended_before_the_enqueuer_began_leaves_no_queue(job: Job) -> None:
    job.queues.fault = _never
    job.submit(item_list={"items": [1], "batch_size": 1})
    final(job)
    assert not job.enqueue().done
    assert not job.has_queue()


def test_a_job_that_is_ended_while_it_is_enqueued_leaves_no_queue(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def fault(messages: Sequence[Message]) -> list[Refused]:
        if messages[0].group == "50":
            final(job)
        return []

    job.queues.fault = fault
    (job.inputs / "a").write_bytes(lines(0, 5000))
    assert not job.submit_lines().enqueue().done
    assert not job.has_queue()


def test_a_job_that_ended_at_the_last_moment_leaves_no_queue(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.submit(item_list={"items": [1], "batch_size": 1})
    job.queues.fault = lambda _: final(job) or []
    job.enqueue(checkpoint_s=1e9)
    assert not job.has_queue()


def test_a_queue_that_cleanup_took_away_is_no_error_of_a_job_that_ended(tmp_path: Path) -> None:
    job = Job(tmp_path)

    def fault(messages: Sequence[Message]) -> list[Refused]:
        final(job)
        raise NotFound("the queue does not exist")

    job.queues.fault = fault
    assert not job.submit(item_list={"items": [1], "batch_size": 1}).enqueue(checkpoint_s=1e9).done


def test_a_later_run_has_a_queue_of_its_own_with_only_what_has_no_outcome(job: Job) -> None:
    (job.inputs / "a").write_bytes(lines(0, 60))
    first = job.submit_lines(batch_size=2).enqueue()
    done = [0, 1, 2, 15, 27, 28, 29]
    job.records.create_outcomes("pod", 0, [Outcome(index, FAILED if index == 15 else SUCCEEDED, 1, 0.1) for index in done])
    final(job)
    document = job.records.document()
    later = Job(job.folder, run=2)
    last = later.enqueue()
    assert (last.run, last.done, last.total) == (2, True, 30)
    assert last.queue_url != first.queue_url
    assert sorted(later.received()) == [index for index in range(30) if index not in done]
    assert later.records.document() == document


def test_a_later_run_of_a_job_that_was_never_enqueued_sends_everything(job: Job) -> None:
    job.stop.set()
    job.submit(item_list={"items": [1, 2, 3], "batch_size": 1}).enqueue()
    final(job)
    later = Job(job.folder, run=2)
    assert later.enqueue().total == 3
    assert sorted(later.received()) == [0, 1, 2]


@pytest.mark.parametrize("content", [b'{"n": 1}\n{oops}\n', b'{"n": 1}\n"' + b"x" * 262_144 + b'"\n'], ids=["malformed", "too large"])
def test_bad_input_is_recorded_in_one_line_and_leaves_no_queue(job: Job, content: bytes) -> None:
    (job.inputs / "a").write_bytes(content)
    job.submit_lines()
    with pytest.raises(InvalidInput) as caught:
        job.enqueue()
    assert str(caught.value).startswith(f"{job.inputs}/a:2: item 1: ")
    checkpoint = job.records.checkpoint()
    assert checkpoint is not None and checkpoint.error == str(caught.value) and not checkpoint.done
    assert "\n" not in checkpoint.error
    assert not job.has_queue()
    assert job.records.document() is None
    with pytest.raises(InvalidInput) as again:
        Job(job.folder).enqueue()
    assert str(again.value) == checkpoint.error


def test_a_source_without_files_is_recorded_and_makes_no_queue(job: Job) -> None:
    job.submit_lines()
    with pytest.raises(InvalidInput, match="no files match"):
        job.enqueue()
    checkpoint = job.records.checkpoint()
    assert checkpoint is not None and "no files match" in checkpoint.error
    assert job.queues.made == []


class LameStore(DirectoryStore):
    """A real store of which every third call fails."""

    calls = 0

    def _limp(self) -> None:
        LameStore.calls += 1
        if LameStore.calls % 3 == 0:
            raise Unreachable("the store does not answer")

    def put(self, key: str, data: bytes) -> None:
        self._limp()
        super().put(key, data)

    def get(self, key: str) -> bytes | None:
        self._limp()
        return super().get(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._limp()
        return super().list(prefix)


def test_a_store_that_fails_now_and_then_is_tried_again(job: Job) -> None:
    job.submit(item_list={"items": [1, 2, 3], "batch_size": 1})
    job.records = JobRecords(LameStore(job.folder / "store"), JOB)
    assert job.enqueue().total == 3
    assert sorted(job.received()) == [0, 1, 2]
