"""A long queue costs a scheduler no memory, and no call in it a workflow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchflow.deployments.calls import Calls
from batchflow.store.deployments import DeploymentRecords
from tests.contract.scheduling.kit import HANG_S, Namespace, ended, scheduler_process

MANY = 1000
PAGES_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def scheduling(space: Namespace) -> Iterator[int]:
    """The process id of a scheduler."""
    process = scheduler_process(space, lease_s=15)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGES_BYTES


def highest_bytes(pid: int, seconds: float) -> int:
    """The most that it was seen to have during that time."""
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        most = max(most, memory_bytes(pid))
        time.sleep(0.05)
    return most


def wait_for_beginnings(space: Namespace, count: int) -> None:
    deadline = time.monotonic() + HANG_S
    while len(space.began()) < count:
        assert time.monotonic() < deadline, space.began()
        time.sleep(0.05)


def enter_many(space: Namespace, records: DeploymentRecords, count: int, first: int) -> list[str]:
    return [space.enter(records, f"call-{number:04d}").ref.call for number in range(first, first + count)]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_thousand_calls_in_the_queue(space: Namespace, scheduling: int) -> None:
    records = space.deploy(replicas=1)
    space.enter(records, "holder", gate=space.gate("holder"))
    wait_for_beginnings(space, 1)
    order = enter_many(space, records, 10, 0)
    sweep_s = 12  # longer than the pause between two looks at the whole queue
    few = highest_bytes(scheduling, sweep_s)
    order += enter_many(space, records, MANY, 10)
    many = highest_bytes(scheduling, sweep_s)
    assert many < few + 5 * 2**20, f"{few} bytes with 10 calls, {many} with {MANY}"
    assert len(space.runs()) == 1
    assert [waiting.call for waiting in records.waiting()] == order
    space.open("holder")
    wait_for_beginnings(space, 4)
    began = space.began()
    assert began == ["holder", *(f"call-{number:04d}" for number in range(len(began) - 1))]
    assert space.most_at_once() == 1
    records.set_flag("paused", True)
    Calls(records).purge()
    assert not list(records.waiting())


def test_a_purge_of_a_long_queue_drops_exactly_what_waits(space: Namespace) -> None:
    records = space.deploy(replicas=1)
    running = space.enter(records, "running", gate=space.gate("running"))
    scheduler = space.scheduler()
    scheduler.tick()
    calls = enter_many(space, records, 200, 0)
    Calls(records).purge()
    space.open("running")
    assert ended(scheduler, running).error == ""
    errors = {ending.error for call in calls if (ending := records.call(call).ending())}
    assert (errors, len(space.runs()), space.began()) == ({"purged from queue"}, 1, ["running"])
