"""One suite for the records of job deployments and their calls, on every store: a directory, S3 on moto's server."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import boto3
import pytest

from batchflow.callrecords import CallRef, CallRequest, Ending, Fate, JobDeploymentRecord, Reply, new_call
from batchflow.errors import Internal, NotFound, Unreachable
from batchflow.store.deployments import CallRecords, DeploymentRecords, JobDeployments, Waiting
from batchflow.store.open import open_store
from batchflow.store.protocol import Store

TIMEOUT_S = 120
RACERS = 8
ROUNDS = 5
RECORD = JobDeploymentRecord({"name": "digits"}, "2026-01-01T00:00:00.000Z")
REQUEST = CallRequest("my-id", "POST", "/job?a=1", [("Content-Type", "text/plain"), ("X", "1"), ("X", "2")], 4, 600, 300)
CALLS = [f"{10**18 + number}-{number:08x}" for number in range(5)]

Answer = TypeVar("Answer")


@pytest.fixture(params=["directory", "s3-on-moto"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Store:
    if request.param == "directory":
        return open_store(f"{tmp_path}/store")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("moto"))
    bucket = f"calls-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/some/prefix")


@pytest.fixture
def deployments(store: Store) -> JobDeployments:
    return JobDeployments(store)


@pytest.fixture
def records(deployments: JobDeployments) -> DeploymentRecords:
    created = deployments.create("digits", RECORD)
    assert created is not None
    return created


@pytest.fixture
def call(records: DeploymentRecords) -> CallRecords:
    return records.call(CALLS[0])


def race(act: Callable[[int], Answer]) -> list[Answer]:
    """What `act` gave each of many threads that did it at the same moment."""
    start = threading.Barrier(RACERS)

    def run(number: int) -> Answer:
        start.wait(TIMEOUT_S)
        return act(number)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


class Breaking:
    """A store that deletes so many keys, and then none any more."""

    def __init__(self, inner: Store, deletes: int) -> None:
        self._inner = inner
        self._left = deletes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            if not self._left:
                raise Unreachable("cut off")
            self._left -= 1
            self._inner.delete([key])


def test_a_deployment_that_is_created_is_found(deployments: JobDeployments) -> None:
    assert (deployments.find("digits"), list(deployments.names())) == (None, [])
    created = deployments.create("digits", RECORD)
    found = deployments.find("digits")
    assert created is not None and found is not None
    assert (found.deployment_id, found.load()) == (created.deployment_id, RECORD)
    found.save(JobDeploymentRecord({"name": "digits", "more": 1}, "later", "/here"))
    assert created.load() == JobDeploymentRecord({"name": "digits", "more": 1}, "later", "/here")
    assert list(deployments.names()) == ["digits"]


def test_a_name_that_is_taken_stays_whose_it_is(deployments: JobDeployments, records: DeploymentRecords, store: Store) -> None:
    keys = list(store.list(""))
    assert deployments.create("digits", JobDeploymentRecord({"name": "another"}, "later")) is None
    assert list(store.list("")) == keys
    assert records.load() == RECORD


def test_of_many_that_create_a_deployment_at_once_exactly_one_does(deployments: JobDeployments, store: Store) -> None:
    made = race(lambda number: deployments.create("digits", JobDeploymentRecord({"number": number}, "now")))
    [winner] = [number for number, records in enumerate(made) if records is not None]
    found = deployments.find("digits")
    assert found is not None and found.load() == JobDeploymentRecord({"number": winner}, "now")
    assert len(list(store.list("deployments/"))) == 1
    assert list(deployments.left_over("digits")) == []


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "-a", "a" * 64, "a\n"])
def test_what_is_no_name_never_becomes_a_key(deployments: JobDeployments, name: str) -> None:
    for use in (lambda: deployments.find(name), lambda: deployments.create(name, RECORD)):
        with pytest.raises(NotFound, match="is not the name of a job deployment"):
            use()


@pytest.mark.parametrize(("deployment_id", "call"), [("../../../..", CALLS[0]), ("0" * 12, "../x"), ("0" * 12, CALLS[0] + "/y"), ("", "")])
def test_what_is_no_call_never_becomes_a_key(deployment_id: str, call: str) -> None:
    with pytest.raises(Internal, match="is not a call"):
        CallRef("digits", deployment_id, call)


def test_flags_are_there_or_not(records: DeploymentRecords) -> None:
    for flag in ("paused", "terminating"):
        for value in (True, True, False, False):
            records.set_flag(flag, value)
            assert records.has_flag(flag) is value


def test_an_id_stands_for_the_call_that_registered_it_first(records: DeploymentRecords) -> None:
    odd = "any~id:of.a-client_" + "x" * 100
    assert records.call_of(odd) is None
    assert records.register(odd, CALLS[0]) is True
    assert records.register(odd, CALLS[1]) is False
    assert (records.call_of(odd), records.call_of(odd.upper())) == (CALLS[0], None)
    assert records.call(CALLS[0]).registered() == odd


def test_of_many_that_register_an_id_at_once_exactly_one_does(records: DeploymentRecords) -> None:
    for round_ in range(ROUNDS):
        calls = [new_call(10**18 + number) for number in range(RACERS)]
        won = race(lambda number, calls=calls, round_=round_: records.register(f"id-{round_}", calls[number]))  # type: ignore[misc]
        assert won.count(True) == 1
        assert records.call_of(f"id-{round_}") == calls[won.index(True)]


def test_unregistering_leaves_nothing_and_takes_nobody_elses_id(records: DeploymentRecords, store: Store) -> None:
    before = list(store.list(""))
    records.register("one", CALLS[0])
    records.register("one", CALLS[1])  # in vain
    fill(records.call(CALLS[0]))
    fill(records.call(CALLS[1]))
    records.unregister(CALLS[1])
    assert records.call_of("one") == CALLS[0]
    assert list(records.calls()) == [CALLS[0]]
    records.unregister(CALLS[0])
    records.unregister(CALLS[0])
    assert (records.call_of("one"), list(store.list(""))) == (None, before)


def test_unregistering_that_is_cut_off_anywhere_is_repeatable(records: DeploymentRecords, store: Store) -> None:
    before = list(store.list(""))
    for deletes in range(40):
        records.register("one", CALLS[0])
        fill(records.call(CALLS[0]))
        try:
            DeploymentRecords(Breaking(store, deletes), records.name, records.deployment_id).unregister(CALLS[0])  # type: ignore[arg-type]
        except Unreachable:
            # Found again, by whoever looks for calls that are over; their id is nobody's, or still theirs.
            assert list(records.calls()) == [CALLS[0]]
            assert records.call_of("one") in (None, CALLS[0])
            records.unregister(CALLS[0])
        else:
            assert deletes > 5
            break
        assert list(store.list("")) == before
    assert list(store.list("")) == before


def fill(call: CallRecords) -> None:
    """Every record that a call can have."""
    call.save_request(REQUEST)
    call.save_body(io.BytesIO(b"body"), 4)
    call.decide(Fate())
    call.mark_submitted()
    call.deliver("me")
    call.save_reply(Reply(200, "", 1), io.BytesIO(b"1"))
    call.save_unanswered("")
    call.ask_to_stop("why")
    call.end(Ending("", 1.0))
    for container in ("main", "courier"):
        call.save_log(container, b"log")


def test_calls_wait_in_order_of_their_arrival(records: DeploymentRecords) -> None:
    for call in (CALLS[3], CALLS[0], CALLS[2]):
        records.wait(Waiting(call, 1_800_000_000))
        records.wait(Waiting(call, 1_800_000_000))
    assert list(records.waiting()) == [Waiting(call, 1_800_000_000) for call in (CALLS[0], CALLS[2], CALLS[3])]
    records.no_longer_waits(Waiting(CALLS[0], 1_800_000_000))
    records.no_longer_waits(Waiting(CALLS[0], 1_800_000_000))
    assert [waiting.call for waiting in records.waiting()] == [CALLS[2], CALLS[3]]
    assert (records.waiting_of(CALLS[0]), records.waiting_of(CALLS[2])) == (None, Waiting(CALLS[2], 1_800_000_000))


def test_a_call_has_one_slot_however_many_claim_it_until_the_last_claim_is_taken_back(records: DeploymentRecords) -> None:
    for call, token in ((CALLS[1], "mine"), (CALLS[1], "mine"), (CALLS[1], "yours"), (CALLS[0], "mine")):
        records.claim(call, token)
    assert records.running() == [CALLS[0], CALLS[1]]
    assert (records.claims(CALLS[0]), records.claims(CALLS[1])) == (["mine"], ["mine", "yours"])
    for _ in range(2):
        records.withdraw(CALLS[1], "mine")
        assert (records.running(), records.claims(CALLS[1])) == ([CALLS[0], CALLS[1]], ["yours"])
    records.withdraw(CALLS[1], "yours")
    assert records.running() == [CALLS[0]]


def test_a_slot_that_is_released_is_free_whoever_claimed_it(records: DeploymentRecords) -> None:
    for call in CALLS[:2]:
        for token in ("mine", "yours"):
            records.claim(call, token)
    for _ in range(2):
        records.release(CALLS[0])
        assert records.running() == [CALLS[1]]


def test_whether_anything_runs_or_waits_can_be_asked_at_once(records: DeploymentRecords) -> None:
    records.register("my-id", CALLS[0])
    assert not records.has_running_or_waiting()
    records.claim(CALLS[0], "mine")
    assert records.has_running_or_waiting()
    records.release(CALLS[0])
    records.wait(Waiting(CALLS[0], 1_800_000_000))
    assert records.has_running_or_waiting()
    records.no_longer_waits(Waiting(CALLS[0], 1_800_000_000))
    assert not records.has_running_or_waiting()


def test_a_fate_is_decided_once_and_everybody_learns_it(records: DeploymentRecords) -> None:
    for call in CALLS:
        fates = [Fate(f"dropped by {number}" if number % 2 else "") for number in range(RACERS)]
        held = race(lambda number, call=call, fates=fates: records.call(call).decide(fates[number]))  # type: ignore[misc]
        assert len(set(held)) == 1 and held[0] in fates
        assert records.call(call).fate() == held[0]


def test_who_decides_again_hears_what_holds(call: CallRecords) -> None:
    assert call.fate() is None
    first = call.decide(Fate("purged from queue"))
    assert call.decide(Fate()) == first == call.fate()
    assert call.decide(first) == first


def test_the_request_is_delivered_by_one_token_for_ever(call: CallRecords) -> None:
    assert call.deliver("first") is True
    assert call.deliver("second") is False
    assert call.deliver("first") is True  # its answer may have been lost
    assert call.deliver("second") is False


def test_of_many_that_deliver_at_once_exactly_one_may(records: DeploymentRecords) -> None:
    for call in CALLS:
        assert race(lambda number, call=call: records.call(call).deliver(str(number))).count(True) == 1  # type: ignore[misc]


def test_a_call_comes_back_as_it_was_saved(call: CallRecords) -> None:
    assert (call.request(), call.body(), call.reply(), call.reply_body(), call.ending(), call.log("main")) == (None,) * 6
    assert (call.stop_reason(), call.registered(), call.names()) == ("", None, frozenset())
    body, reply = bytes(range(256)) * 50_000, b"reply" * 100_000
    call.save_registered("my-id")
    call.save_request(REQUEST)
    call.save_body(io.BytesIO(body), len(body))
    call.save_reply(Reply(503, "text/html; charset=utf-8", len(reply)), io.BytesIO(reply))
    call.save_log("main", b"tail")
    assert call.request() == REQUEST
    assert (call.reply(), call.log("main"), call.registered()) == (Reply(503, "text/html; charset=utf-8", len(reply)), b"tail", "my-id")
    for stream, whole in ((call.body(), body), (call.reply_body(), reply)):
        assert stream is not None
        with stream:
            assert stream.read() == whole
    assert call.names() == {"registered.json", "request.json", "body", "reply.json", "reply", "logs/main.log"}


def test_that_there_is_no_reply_is_said_or_not(call: CallRecords) -> None:
    assert call.unanswered() is None
    for error in ("", "it broke off"):
        call.save_unanswered(error)
        assert call.unanswered() == error


def test_a_reply_is_there_only_once_its_body_is(call: CallRecords) -> None:
    class Cut(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise Unreachable("cut off")

    with pytest.raises(Unreachable):
        call.save_reply(Reply(200, "", 1), io.BufferedReader(Cut()))
    assert (call.reply(), call.names()) == (None, frozenset())


def test_the_first_ending_and_the_first_reason_to_stop_stay(records: DeploymentRecords) -> None:
    for call in map(records.call, CALLS[:2]):
        race(lambda number, call=call: call.end(Ending(f"error {number}", float(number), number)))  # type: ignore[misc]
        race(lambda number, call=call: call.ask_to_stop(f"reason {number}"))  # type: ignore[misc]
        ending, reason = call.ending(), call.stop_reason()
        assert ending is not None and ending.error == f"error {ending.exit_code}" and reason.startswith("reason ")
        call.end(Ending("later", 9.0))
        call.ask_to_stop("later")
        assert (call.ending(), call.stop_reason()) == (ending, reason)


def test_forgetting_leaves_nothing_and_frees_the_name(deployments: JobDeployments, records: DeploymentRecords, store: Store) -> None:
    other = deployments.create("digits-2", RECORD)
    assert other is not None
    kept = list(store.list("deployments/digits-2/"))
    busy(records)
    deployments.forget(records)
    deployments.forget(records)
    assert list(store.list("deployments/")) == kept
    assert deployments.find("digits") is None
    assert deployments.create("digits", RECORD) is not None


def busy(records: DeploymentRecords) -> None:
    """A deployment with every record that it can have."""
    records.set_flag("paused", True)
    records.set_flag("terminating", True)
    for number, call in enumerate(CALLS[:3]):
        records.register(f"id {number}", call)
        fill(records.call(call))
        records.wait(Waiting(call, 1_800_000_000))
        records.claim(call, "token")


def test_forgetting_that_is_cut_off_anywhere_is_repeatable(deployments: JobDeployments, store: Store) -> None:
    for deletes in (0, 1, 4, 20, *range(47, 54)):
        records = deployments.create("digits", RECORD)
        assert records is not None
        busy(records)
        assert len(list(store.list("deployments/"))) == 51
        try:
            broken = Breaking(store, deletes)
            JobDeployments(broken).forget(DeploymentRecords(broken, "digits", records.deployment_id))  # type: ignore[arg-type]
        except Unreachable:
            found = deployments.find("digits")
            if found is None:  # by its name; what is left is found otherwise
                assert list(deployments.left_over("digits")) == [records.deployment_id]
            else:
                assert found.has_flag("terminating") and found.load() == RECORD
            deployments.forget(records)
        assert list(store.list("deployments/")) == []


def test_of_a_call_that_is_deleted_with_its_deployment_the_id_goes_first(records: DeploymentRecords, store: Store) -> None:
    records.register("one", CALLS[0])
    fill(records.call(CALLS[0]))
    with pytest.raises(Unreachable):
        DeploymentRecords(Breaking(store, 1), records.name, records.deployment_id).delete_calls()  # type: ignore[arg-type]
    assert records.call_of("one") is None
    assert records.call(CALLS[0]).request() == REQUEST


def test_forgetting_a_deployment_spares_its_successor(deployments: JobDeployments, records: DeploymentRecords) -> None:
    deployments.forget(records)
    again = deployments.create("digits", RECORD)
    assert again is not None
    fill(records.call(CALLS[0]))  # a replica of the first that is late
    assert list(deployments.left_over("digits")) == [records.deployment_id]
    deployments.forget(records)
    found = deployments.find("digits")
    assert found is not None and (found.deployment_id, found.load()) == (again.deployment_id, RECORD)
    assert list(deployments.left_over("digits")) == []
