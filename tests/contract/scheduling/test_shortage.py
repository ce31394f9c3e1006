"""The engine has room for fewer replicas than the deployment may have: calls wait with slots, and as all others do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from batchflow.deployments.calls import Calls
from batchflow.deployments.deletion import Deletion
from batchflow.store.deployments import TERMINATING
from tests.contract.scheduling.kit import until
from tests.contract.scheduling.world import World


def test_more_calls_are_decided_than_there_is_room_for(tmp_path: Path) -> None:
    """The engine was out of reach when there was room for two."""
    world = World(tmp_path)
    record = world.records.load()
    assert record is not None
    for replicas, room in ((2, 0), (1, 1)):
        record.spec["scaling"]["max_replica_count"] = replicas
        world.records.save(record)
        world.cluster.room = room
        for _ in range(3):
            world.awake.tick()
    assert world.cluster.alive() == [world.calls[0].ref.workflow], "the first is first"
    world.finish(world.awake)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_deployment_is_deleted_while_the_engine_takes_no_workflow(tmp_path: Path, by_itself: bool) -> None:
    world = World(tmp_path)
    world.cluster.room = 0
    world.awake.tick()
    assert world.records.running() == [world.calls[0].ref.call]
    world.records.set_flag(TERMINATING, True)
    if by_itself:
        deletion = Deletion(world.records, world.cluster)  # type: ignore[arg-type] # as above
        deletion.advance()
        deletion.advance()
    else:
        world.awake.tick()
        world.awake.clean()
    assert [*world.space.store.list("deployments/")] == []


def test_a_call_is_stopped_while_the_engine_takes_no_workflow(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cluster.room = 0
    world.awake.tick()
    assert Calls(world.records).stop("call-0")
    world.awake.tick()
    ending = world.calls[0].ending()
    assert ending is not None and ending.error == "stopped"
    assert world.calls[0].ref.call not in world.records.running()


def test_the_first_that_came_are_the_first_that_there_is_room_for(tmp_path: Path) -> None:
    """As where a quota is smaller than the deployment."""
    world = World(tmp_path, replicas=5, calls=5)
    world.cluster.room = 1
    for number in range(5, 15):
        world.calls.append(world.space.enter(world.records, f"call-{number}"))
        until(world.awake, world.cluster.alive)
        world.cluster.end_one()
    started = world.cluster.started()
    assert len(started) == 10
    assert started == [call.ref.workflow for call in world.calls[:10]]


def test_they_start_in_order_of_arrival_once_there_is_room(tmp_path: Path) -> None:
    world = World(tmp_path, replicas=5, calls=5)
    world.cluster.room = 0
    for _ in range(7):
        world.awake.tick()
    world.cluster.room = 9
    world.awake.tick()
    assert world.cluster.started() == [call.ref.workflow for call in world.calls]


def test_what_there_is_no_room_for_expires(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cluster.room = 0
    world.awake.tick()
    assert world.records.running() == [world.calls[0].ref.call]
    late = world.space.scheduler(clock=lambda: time.time() + 900)
    late.clean()
    late.tick()
    assert world.errors() == ["expired in queue after 600s"] * 2


def test_what_there_is_no_room_for_is_purged(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cluster.room = 0
    world.awake.tick()
    Calls(world.records).purge()
    world.awake.tick()
    assert world.errors() == ["purged from queue"] * 2
    assert (world.records.running(), list(world.records.waiting()), world.cluster.started()) == ([], [], [])
