"""Schedulers that are killed, before any write that one makes and at random moments, or that work at once."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from batchflow.callrecords import Fate
from batchflow.deployments.starting import Starter
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Namespace, ended, scheduler_process, until, waiting

KILLS = 6


class Killed(BaseException):
    """Nothing of the scheduler runs any further."""


class Mortal(DirectoryStore):
    """Its user is killed when it is about to write for the `lives`th time, but for logs: those have threads of their own."""

    def __init__(self, root: Path, lives: int) -> None:
        super().__init__(root)
        self.lives = lives

    def put(self, key: str, data: bytes) -> None:
        if "/logs/" not in key:
            self._live()
        super().put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._live()
        return super().create(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        self._live()
        super().delete(keys)

    def _live(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise Killed


# To start a call: claim, decide, claim, claim, submitted, no longer waiting. To end it: ended, release.
@pytest.mark.parametrize("lives", range(9))
def test_killed_before_any_of_its_writes_it_neither_loses_a_call_nor_runs_one_twice(space: Namespace, lives: int) -> None:
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}", exit=number) for number in range(2)]
    store = Mortal(space.folder / "store", lives)
    mortal = Namespace(space.folder, store=store).scheduler()
    deadline = time.monotonic() + HANG_S
    while store.lives >= 0:
        assert time.monotonic() < deadline
        try:
            mortal.tick()
        except Killed:
            break
        time.sleep(0.02)
    scheduler = space.scheduler()
    assert [ended(scheduler, call).error for call in calls] == ["", "process exited with code 1"]
    scheduler.tick()
    assert (records.running(), list(records.waiting())) == ([], [])
    assert (space.began(), space.most_at_once()) == (["call-0", "call-1"], 1)
    assert len(space.runs()) == 2


def test_killed_while_it_drops_a_call_it_is_dropped_all_the_same(space: Namespace) -> None:
    records = space.deploy()
    call = space.enter(records, "late")
    call.decide(Fate("purged from queue"))  # and then its dropper was killed
    scheduler = space.scheduler()
    assert ended(scheduler, call).error == "purged from queue"
    assert (list(records.waiting()), space.runs()) == ([], [])


def test_a_slot_too_many_is_given_back_in_the_end(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two schedulers took one at the same moment, and were killed before they counted."""
    monkeypatch.setattr("batchflow.deployments.starting.ABANDONED_S", 0.5)
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}") for number in range(2)]
    for call in calls:
        records.claim(call.ref.call, "killed")
    scheduler = space.scheduler()
    scheduler.tick()
    assert space.runs() == [], "nobody can know that there is a slot for it"
    assert [ended(scheduler, call).error for call in calls] == ["", ""]
    assert (space.most_at_once(), sorted(space.began())) == (1, ["call-0", "call-1"])


def test_a_replica_that_was_never_noted_keeps_its_slot_though_its_call_is_completed(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    staying = space.enter(records, "staying", deadline_s=4, stays=True)
    following = space.enter(records, "following")
    with pytest.raises(Killed):  # after its claim, its decision, its claim and the workflow
        Namespace(space.folder, store=Mortal(space.folder / "store", lives=3)).scheduler().tick()
    deadline = time.monotonic() + HANG_S
    while staying.ending() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "submitted" not in staying.names()
    scheduler = space.scheduler()
    assert [ended(scheduler, call).error for call in (staying, following)] == ["", ""]
    assert staying.stop_reason() == "deadline of 4s exceeded"
    assert (space.began(), space.most_at_once()) == (["staying", "following"], 1)


def test_a_scheduler_that_resumes_what_another_has_just_done_takes_no_slot_away(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    call = space.enter(records, "call", gate=space.gate("call"))
    scheduler = space.scheduler()
    until(scheduler, space.began)
    record = records.load()
    assert record is not None
    late = Starter(space.engine, space.settings, lambda: space.rules, time.time)
    late.go_on(records, record, call.ref.call)
    assert records.running() == [call.ref.call]
    space.open("call")
    assert ended(scheduler, call).error == ""
    assert (space.began(), len(space.notes("up"))) == (["call"], 1)


class Eventful(DirectoryStore):
    """Something happens in the moment before a call gets its slot."""

    def __init__(self, root: Path, event: Callable[[], object]) -> None:
        super().__init__(root)
        self._event: Callable[[], object] | None = event

    def put(self, key: str, data: bytes) -> None:
        event = self._event
        if event and "/running/" in key:
            self._event = None
            event()
        super().put(key, data)


def test_two_schedulers_that_take_the_last_slot_at_once(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}") for number in range(2)]
    store = Eventful(space.folder / "store", lambda: records.claim(calls[1].ref.call, "other"))
    scheduler = Namespace(space.folder, store=store).scheduler()
    scheduler.tick()
    assert (records.running(), space.runs()) == ([calls[1].ref.call], [])
    assert [ended(scheduler, call).error for call in calls] == ["", ""]
    assert space.most_at_once() == 1


@pytest.mark.parametrize("flag", ["paused", "terminating"])
def test_nothing_starts_after_a_deployment_was_paused_or_deleted(space: Namespace, flag: str) -> None:
    records = space.deploy()
    call = space.enter(records, "waits")
    store = Eventful(space.folder / "store", lambda: records.set_flag(flag, True))
    Namespace(space.folder, store=store).scheduler().tick()
    assert (records.running(), waiting(records), space.runs()) == ([], [call.ref.call], [])


class Schedulers:
    """Processes, each with a number."""

    def __init__(self, space: Namespace, lease_s: float) -> None:
        self._space = space
        self._lease_s = lease_s
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int) -> None:
        self._running[number] = scheduler_process(self._space, self._lease_s, f"scheduler-{number}")

    def kill(self, number: int) -> None:
        process = self._running.pop(number)
        process.kill()
        process.wait()

    def terminate(self, number: int) -> None:
        process = self._running.pop(number)
        process.terminate()
        assert process.wait(HANG_S) == 0

    def close(self) -> None:
        for number in [*self._running]:
            self.kill(number)


@pytest.mark.parametrize(("lease_s", "seed"), [(1.0, 1), (0.0, 2), (0.0, 3)], ids=["one leads", "both lead", "both lead, too"])
def test_two_schedulers_killed_at_random_moments(space: Namespace, lease_s: float, seed: int) -> None:
    """Never more replicas than allowed, none delivered twice, every call completed."""
    chance = random.Random(seed)
    records = space.deploy(replicas=2)
    calls = [space.enter(records, f"call-{number}", work_s=chance.uniform(0, 1), exit=number % 2) for number in range(12)]
    schedulers = Schedulers(space, lease_s)
    deadline = time.monotonic() + 2 * HANG_S
    try:
        for number in (0, 1):
            schedulers.start(number)
        kills = 0
        while not all(call.ending() for call in calls) or records.running():
            assert time.monotonic() < deadline, [call.ref.call for call in calls if not call.ending()]
            time.sleep(chance.uniform(0.5, 3))
            if kills < KILLS:
                number = chance.randrange(2)
                schedulers.kill(number)
                schedulers.start(number)
                kills += 1
    finally:
        schedulers.close()
    endings = [call.ending() for call in calls]
    assert [ending and ending.error for ending in endings] == ["", "process exited with code 1"] * 6
    assert sorted(space.began()) == sorted(f"call-{number}" for number in range(12))
    assert space.most_at_once() == 2
    assert len(space.notes("up")) == 12
    assert kills > 1
    scheduler = space.scheduler()
    until(scheduler, lambda: not list(records.waiting()))


def test_when_the_leader_stops_in_good_order_another_goes_on(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    schedulers = Schedulers(space, lease_s=6)
    try:
        schedulers.start(0)
        first = space.enter(records, "first")
        wait_for_end(space, first.ref.call)
        schedulers.start(1)
        schedulers.terminate(0)
        second = space.enter(records, "second")
        wait_for_end(space, second.ref.call)
        schedulers.terminate(1)
    finally:
        schedulers.close()
    assert space.began() == ["first", "second"]


def wait_for_end(space: Namespace, call: str) -> None:
    records = space.deployments.find("app")
    assert records is not None
    deadline = time.monotonic() + HANG_S
    while records.call(call).ending() is None:
        assert time.monotonic() < deadline, f"{call} has not ended"
        time.sleep(0.1)


def test_killing_the_scheduler_kills_no_replica(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    call = space.enter(records, "call", gate=space.gate("call"))
    schedulers = Schedulers(space, lease_s=1)
    try:
        schedulers.start(0)
        deadline = time.monotonic() + HANG_S
        while not space.began():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        schedulers.kill(0)
    finally:
        schedulers.close()
    [[pid, *_]] = space.notes("up")
    os.kill(pid, 0)
    space.open("call")
    assert ended(space.scheduler(), call).error == ""
