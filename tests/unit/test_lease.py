"""Of several schedulers one leads; clocks are the test's, the store is a folder."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchflow.deployments.lease import Lease
from batchflow.errors import Unreachable
from batchflow.store.directory import DirectoryStore

LENGTH_S = 15.0
LOOK_S = 5.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Forgetful(DirectoryStore):
    """Writes, and then says that another was first: as S3 does when its own answer was lost on the way."""

    def create(self, key: str, data: bytes) -> bool:
        super().create(key, data)
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def lease(store: DirectoryStore, clock: Clock) -> Lease:
    return Lease(store, length_s=LENGTH_S, clock=clock)


def numbers(store: DirectoryStore) -> list[int]:
    return [int(key.removeprefix("scheduler/").removesuffix(".json")) for key in store.list("scheduler/")]


def test_the_first_has_it_at_once_and_keeps_it_by_asking(store: DirectoryStore, clock: Clock) -> None:
    first, second = lease(store, clock), lease(store, clock)
    for _ in range(20):
        assert first.held()
        assert not second.held()
        clock.now += LOOK_S


def test_only_the_latest_record_is_kept(store: DirectoryStore, clock: Clock) -> None:
    holder = lease(store, clock)
    for number in range(1, 12):
        assert holder.held()
        assert numbers(store) == [number]
        clock.now += LOOK_S


def test_asking_often_costs_nothing(store: DirectoryStore, clock: Clock) -> None:
    holder = lease(store, clock)
    for _ in range(5):
        assert holder.held()
        clock.now += 0.9
    assert numbers(store) == [1]


def test_another_takes_over_when_it_has_seen_no_life_for_the_leases_length(store: DirectoryStore, clock: Clock) -> None:
    dead, heir = lease(store, clock), lease(store, clock)
    assert dead.held()
    clock.now += 100 * LENGTH_S  # by its own clock it has seen nothing yet
    waited_s = 0.0
    while not heir.held():
        clock.now += LOOK_S
        waited_s += LOOK_S
    assert waited_s == LENGTH_S
    assert not dead.held()


def test_a_sign_of_life_begins_the_wait_anew(store: DirectoryStore, clock: Clock) -> None:
    slow, other = lease(store, clock), lease(store, clock)
    assert slow.held()
    assert not other.held()
    clock.now += LENGTH_S - 1
    assert slow.held()
    clock.now += 1
    assert not other.held()
    clock.now += LENGTH_S
    assert other.held()


def test_one_that_was_given_back_is_taken_at_once(store: DirectoryStore, clock: Clock) -> None:
    first, second = lease(store, clock), lease(store, clock)
    assert first.held()
    assert not second.held()
    first.release()
    clock.now += LOOK_S
    assert second.held()
    assert lease(store, clock).held() is False
    assert not first.held()


def test_one_that_never_had_it_gives_nothing_back(store: DirectoryStore, clock: Clock) -> None:
    holder, other = lease(store, clock), lease(store, clock)
    assert holder.held()
    assert not other.held()
    other.release()
    clock.now += LOOK_S
    assert holder.held()


def test_an_answer_that_was_lost_does_not_lose_the_lease(tmp_path: Path, clock: Clock) -> None:
    holder = lease(Forgetful(tmp_path), clock)
    assert holder.held()
    clock.now += LOOK_S
    assert holder.held()


class Deaf(DirectoryStore):
    """Writes, and then does not answer, as often as it is told to."""

    lost = 0

    def create(self, key: str, data: bytes) -> bool:
        created = super().create(key, data)
        if self.lost:
            self.lost -= 1
            raise Unreachable("no answer")
        return created


@pytest.mark.parametrize("renewals", [0, 1, 2])
def test_a_lease_is_not_lost_to_nobody_when_no_answer_comes(tmp_path: Path, clock: Clock, renewals: int) -> None:
    store = Deaf(tmp_path)
    holder, other = lease(store, clock), lease(store, clock)
    for _ in range(renewals):
        assert holder.held()
        clock.now += LOOK_S
    store.lost = 1
    with pytest.raises(Unreachable):
        holder.held()
    clock.now += 1
    assert holder.held()
    assert not other.held()
    clock.now += LOOK_S
    assert holder.held()
    holder.release()
    assert other.held()


def test_it_is_given_back_also_when_no_answer_came_to_its_last_renewal(tmp_path: Path, clock: Clock) -> None:
    store = Deaf(tmp_path)
    holder = lease(store, clock)
    assert holder.held()
    clock.now += LOOK_S
    store.lost = 1
    with pytest.raises(Unreachable):
        holder.held()
    holder.release()
    assert lease(store, clock).held()


def test_one_that_slept_while_others_had_it_does_not_get_it_by_an_old_number(store: DirectoryStore, clock: Clock) -> None:
    sleeper, others = lease(store, clock), lease(store, clock)
    assert sleeper.held()
    while not others.held():
        clock.now += LOOK_S
    for _ in range(5):
        clock.now += LOOK_S
        assert others.held()
    assert not sleeper.held()  # its next number is free: the others have deleted theirs
    clock.now += LOOK_S
    assert others.held()
    assert len(numbers(store)) == 1


def test_a_store_out_of_reach_is_the_callers_to_handle_and_the_lease_is_kept(
    store: DirectoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = lease(store, clock)
    assert holder.held()
    clock.now += LOOK_S

    def refuse(key: str, data: bytes) -> bool:
        raise Unreachable("the store does not answer")

    monkeypatch.setattr(store, "create", refuse)
    with pytest.raises(Unreachable):
        holder.held()
    monkeypatch.undo()
    assert holder.held()


@pytest.mark.parametrize("seed", range(5))
def test_two_never_lead_at_once(store: DirectoryStore, clock: Clock, seed: int) -> None:
    """Whoever is told that it leads, may believe that for a third of the length; nobody else is told so before twice that time is over."""
    chance = random.Random(seed)
    leases = [lease(store, clock) for _ in range(3)]
    asleep_until = [0.0] * 3
    told = [float("-inf")] * 3
    for _ in range(150):
        clock.now += chance.uniform(0, 4)
        which = chance.randrange(3)
        if clock.now < asleep_until[which]:
            continue
        if chance.random() < 0.1:
            asleep_until[which] = clock.now + chance.uniform(0, 4 * LENGTH_S)
        if leases[which].held():
            assert clock.now - max(told[:which] + told[which + 1 :]) >= LENGTH_S - LOOK_S
            told[which] = clock.now
    assert sum(moment > 0 for moment in told) > 1, "it has passed from one to another"
