"""A scheduler that sleeps after any of its requests while another goes on: never a replica too many, none is forgotten, every call ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchflow.callrecords import Fate
from batchflow.deployments import retention, starting
from batchflow.deployments.calls import Calls
from batchflow.store.deployments import PAUSED, TERMINATING
from tests.contract.scheduling.kit import Driven
from tests.contract.scheduling.world import ROUNDS, World, all_have_slots, at_each_step

ABANDONED_S = 0.2


def finish(world: World, sleeper: Driven) -> None:
    world.finish(world.awake, sleeper)


def go_on_and_end_one(world: World) -> None:
    for _ in range(2):
        world.awake.tick()
    world.cluster.end_one()
    for _ in range(2):
        world.awake.tick()


def take_for_abandoned(world: World) -> None:
    """While the deployment is paused; then the slot is the second call's."""
    world.records.set_flag(PAUSED, True)
    world.awake.tick()
    time.sleep(1.5 * ABANDONED_S)
    world.awake.tick()
    world.records.set_flag(PAUSED, False)
    waiting = world.records.waiting_of(world.calls[0].ref.call)
    if waiting:  # the other has seen only the second call wait, when there is a slot again
        world.records.no_longer_waits(waiting)
    for _ in range(3):
        world.awake.tick()
    if waiting:
        world.records.wait(waiting)


def start_and_claim_too_many(world: World) -> None:
    """So the sleeper finds no slot for the call that the other has just started."""
    world.awake.tick()
    world.records.claim(world.calls[1].ref.call, "killed")


def stop_the_first_and_go_on(world: World) -> None:
    Calls(world.records).stop("call-0")
    for _ in range(2):
        world.awake.tick()


def purge_and_go_on(world: World) -> None:
    Calls(world.records).purge()
    world.space.enter(world.records, "later")
    for _ in range(2):
        world.awake.tick()


@pytest.mark.parametrize("event", [go_on_and_end_one, start_and_claim_too_many, stop_the_first_and_go_on, purge_and_go_on])
def test_it_sleeps_while_another_goes_on(tmp_path: Path, event: Callable[[World], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "ABANDONED_S", ABANDONED_S)
    at_each_step(tmp_path, event, finish)


def test_it_sleeps_until_its_claim_is_taken_for_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "ABANDONED_S", ABANDONED_S)
    at_each_step(tmp_path, take_for_abandoned, finish)


def test_it_sleeps_while_the_deployment_is_paused_and_another_goes_on(tmp_path: Path) -> None:
    def pause(world: World) -> None:
        world.records.set_flag(PAUSED, True)
        world.awake.tick()

    def resume(world: World, sleeper: Driven) -> None:
        assert all_have_slots(world.records, world.calls, world.cluster)
        world.records.set_flag(PAUSED, False)
        finish(world, sleeper)

    at_each_step(tmp_path, pause, resume)


def test_it_sleeps_while_the_deployment_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "UNFINISHED_S", 0.0)

    def delete(world: World) -> None:
        world.records.set_flag(TERMINATING, True)
        for _ in range(3):
            world.awake.tick()
            world.awake.clean()

    def is_gone(world: World, sleeper: Driven) -> None:
        for _ in range(ROUNDS):
            world.awake.tick()
            world.awake.clean()
            left = world.space.deployments.find("app"), world.cluster.alive(), [*world.space.store.list("deployments/")]
            if left == (None, [], []):
                return
            time.sleep(0.005)  # logs are saved in a thread of its own
        pytest.fail(f"{left} is left")

    at_each_step(tmp_path, delete, is_gone)


@pytest.mark.parametrize(
    "event",
    [lambda world: world.awake.tick(), go_on_and_end_one, stop_the_first_and_go_on, purge_and_go_on],
    ids=["starts", "ends", "stopped", "purged"],
)
def test_it_sleeps_on_its_way_to_the_engine(tmp_path: Path, event: Callable[[World], object]) -> None:
    world = World(tmp_path)
    world.cluster.before_submit = lambda: event(world)
    sleeper = world.space.scheduler()
    sleeper.tick()
    finish(world, sleeper)


def test_what_was_left_by_a_scheduler_that_was_killed_waits_while_the_deployment_is_paused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.records.claim(world.calls[0].ref.call, "killed")
    world.calls[0].decide(Fate())
    world.records.set_flag(PAUSED, True)
    world.awake.tick()
    assert world.cluster.alive() == []
    world.records.set_flag(PAUSED, False)
    world.finish(world.awake)


@pytest.mark.parametrize("alive", [True, False])
def test_a_call_that_was_delivered_is_never_started_again_though_nobody_noted_its_replica(tmp_path: Path, alive: bool) -> None:
    world = World(tmp_path)
    call = world.calls[0]
    world.records.claim(call.ref.call, "killed")
    call.decide(Fate())
    call.deliver("courier")
    if alive:
        world.cluster.phases[call.ref.workflow] = "Running"
    world.awake.tick()
    assert (call.ref.workflow in world.cluster.phases, call.ending() is None) == (alive, alive)
    world.finish(world.awake)


def test_a_replica_without_a_slot_gets_one_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.awake.tick()
    world.records.release(world.calls[0].ref.call)
    world.space.scheduler(clock=lambda: time.time() + 3700).clean()
    assert world.records.running() == [world.calls[0].ref.call]


def test_a_call_that_is_stopped_gives_back_the_slot_that_a_scheduler_had_claimed_before_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "ABANDONED_S", ABANDONED_S)
    world = World(tmp_path)
    world.records.claim(world.calls[0].ref.call, "killed")
    world.calls[0].decide(Fate())
    assert Calls(world.records).stop("call-0")
    world.awake.tick()
    assert world.errors() == ["stopped", None], "at once"
    assert world.cluster.started() == [], "it may have been on its way to the engine"
    world.finish(world.awake)
    assert world.cluster.started() == [world.calls[1].ref.workflow]
