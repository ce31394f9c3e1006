"""The scheduler with real replicas: turns and slots, expiry, pause, deletion; what fails."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import boto3.session
import pytest

from batchflow.callrecords import JobDeploymentRecord
from batchflow.deployments.calls import Calls
from batchflow.errors import Unreachable
from batchflow.store.deployments import DeploymentRecords, Waiting
from batchflow.store.directory import DirectoryStore
from tests.contract.scheduling.kit import HANG_S, Driven, Namespace, ended, until, waiting


def set_replicas(records: DeploymentRecords, count: int) -> None:
    record = records.load()
    assert record is not None
    record.spec["scaling"]["max_replica_count"] = count
    records.save(record)


def test_of_three_calls_two_run_and_the_third_starts_when_one_is_over(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=2)
    calls = [space.enter(records, f"call-{number}", gate=space.gate(str(number))) for number in range(3)]
    names = [call.ref.call for call in calls]
    until(scheduler, lambda: len(space.began()) == 2)
    scheduler.tick()
    assert (records.running(), waiting(records)) == (names[:2], names[2:])
    assert len(space.runs()) == 2
    space.open("1")
    assert ended(scheduler, calls[1]).error == ""
    until(scheduler, lambda: "call-2" in space.began())
    assert records.running() == [names[0], names[2]]
    space.open("0")
    space.open("2")
    assert [ended(scheduler, call).error for call in calls] == ["", "", ""]
    assert (records.running(), waiting(records), space.most_at_once()) == ([], [], 2)


def test_calls_start_in_the_order_of_their_arrival(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}") for number in range(4)]
    for call in calls:
        ended(scheduler, call)
    assert space.began() == [f"call-{number}" for number in range(4)]
    assert space.most_at_once() == 1


def test_a_store_in_s3_does_as_well(tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    bucket = f"store-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    space = Namespace(tmp_path, url=f"s3://{bucket}/some/prefix")
    scheduler = space.scheduler()
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}", exit=number) for number in range(3)]
    errors = ["", "process exited with code 1", "process exited with code 2"]
    assert [ended(scheduler, call).error for call in calls] == errors
    assert (space.began(), space.most_at_once()) == (["call-0", "call-1", "call-2"], 1)
    records.set_flag("terminating", True)
    scheduler.clean()
    assert (list(space.store.list("deployments/")), space.runs()) == ([], [])


def test_a_changed_number_of_replicas_counts_at_once(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    calls = [space.enter(records, f"call-{number}", gate=space.gate("all")) for number in range(4)]
    until(scheduler, lambda: len(space.began()) == 1)
    set_replicas(records, 3)
    until(scheduler, lambda: len(space.began()) == 3)
    set_replicas(records, 1)  # those that run are left alone
    scheduler.tick()
    assert len(records.running()) == 3
    space.open("all")
    assert [ended(scheduler, call).error for call in calls] == [""] * 4


def test_nothing_starts_while_a_deployment_is_paused_and_what_runs_goes_on(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=2)
    first = space.enter(records, "first", gate=space.gate("first"))
    until(scheduler, lambda: space.began())
    records.set_flag("paused", True)
    second = space.enter(records, "second")
    space.open("first")
    assert ended(scheduler, first).error == ""
    assert not scheduler.tick()  # nothing to hurry for
    assert (records.running(), waiting(records)) == ([], [second.ref.call])
    records.set_flag("paused", False)
    assert ended(scheduler, second).error == ""


def test_a_call_whose_time_in_the_queue_is_over_is_not_started(space: Namespace) -> None:
    scheduler = space.scheduler(clock=lambda: time.time() + 5)
    records = space.deploy()
    late = space.enter(records, "late", ttl_s=3)
    kept = space.enter(records, "kept", ttl_s=60)
    assert ended(scheduler, late).error == "expired in queue after 3s"
    assert ended(scheduler, kept).error == ""
    assert space.began() == ["kept"]


@pytest.mark.parametrize("paused", [True, False])
def test_calls_expire_also_when_there_is_no_slot_for_them(space: Namespace, paused: bool) -> None:
    scheduler = space.scheduler(clock=lambda: time.time() + 5)
    records = space.deploy(replicas=1)
    running = space.enter(records, "running", gate=space.gate("running"))
    until(scheduler, lambda: space.began())
    records.set_flag("paused", paused)
    calls = [space.enter(records, f"call-{number}", ttl_s=3 if number % 2 else 60) for number in range(6)]
    scheduler.tick()
    scheduler.clean()
    assert [call.ending() is not None for call in calls] == [False, True] * 3
    assert waiting(records) == [call.ref.call for call in calls[::2]]
    space.open("running")
    assert ended(scheduler, running).error == ""


def test_a_purge_leaves_what_runs(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    running = space.enter(records, "running", gate=space.gate("running"))
    queued = [space.enter(records, f"call-{number}") for number in range(5)]
    until(scheduler, lambda: space.began())
    Calls(records).purge()
    later = space.enter(records, "later")
    scheduler.tick()
    assert [ended(scheduler, call).error for call in queued] == ["purged from queue"] * 5
    space.open("running")
    assert [ended(scheduler, call).error for call in (running, later)] == ["", ""]
    assert space.began() == ["running", "later"]


def test_a_deleted_deployment_stops_its_replicas_and_then_is_forgotten(space: Namespace, scheduler: Driven) -> None:
    records = space.deploy(replicas=1)
    running = space.enter(records, "running", work_s=600)
    space.enter(records, "queued")
    until(scheduler, lambda: space.began())
    records.set_flag("terminating", True)
    scheduler.clean()
    assert space.deployments.find("app") is not None, "forgotten while its replica runs"
    until(scheduler, lambda: running.stop_reason())
    assert running.stop_reason() == "deployment deleted"
    assert ended(scheduler, running).error == "deployment deleted"
    scheduler.clean()
    assert (space.deployments.find("app"), [*space.store.list("deployments/")], space.runs()) == (None, [], [])
    assert (space.began(), len(space.notes("down"))) == (["running"], 1)
    assert space.deploy().deployment_id != records.deployment_id


def test_a_deployment_that_can_not_be_read_does_not_hold_up_others(space: Namespace, scheduler: Driven) -> None:
    broken = space.deployments.create("a-broken-one", JobDeploymentRecord({"scaling": "?"}, "2026-01-01T00:00:00.000Z"))
    assert broken is not None
    space.enter(broken, "waits")
    records = space.deploy()
    assert ended(scheduler, space.enter(records, "works")).error == ""
    assert scheduler.tick(), "it is tried again soon"


def test_a_scheduler_that_is_late_does_not_run_a_call_again(space: Namespace, scheduler: Driven) -> None:
    """It saw the call wait, and slept; meanwhile another scheduler saw to all of it."""
    records = space.deploy()
    call = space.enter(records, "once")
    ended(scheduler, call)
    records.wait(Waiting(call.ref.call, 2**40))  # as the late one sees it
    late = space.scheduler()
    late.tick()
    assert (waiting(records), len(space.runs())) == ([], 1)
    until(late, lambda: not records.running())
    assert (space.began(), len(space.runs())) == (["once"], 1)


class Switched(DirectoryStore):
    """Out of reach while `down` is set; counts how often it was asked then."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.down = Event()
        self.refused = 0

    def folders(self, prefix: str) -> Iterator[str]:
        if self.down.is_set():
            self.refused += 1
            raise Unreachable("the store does not answer")
        return super().folders(prefix)


def test_what_is_out_of_reach_is_tried_again_with_pauses_and_logged_once(space: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    store = Switched(space.folder / "store")
    scheduler, stop = Namespace(space.folder, store=store).scheduler(lease_s=1), Event()
    store.down.set()
    call = space.enter(space.deploy(), "call")
    thread = Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        deadline = time.monotonic() + HANG_S
        while store.refused < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        store.down.clear()
        while call.ending() is None:
            assert time.monotonic() < deadline, "it has given up"
            scheduler.wake("app")
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join(HANG_S)
    assert not thread.is_alive()
    assert store.refused < 20
    assert [record.getMessage() for record in caplog.records].count("failed, and is tried again") == 1
