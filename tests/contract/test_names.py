"""Which deployment a name stands for, on every store: whoever is late, killed or many at once, a name never loses its next deployment."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from batchflow.callrecords import JobDeploymentRecord, new_deployment_id
from batchflow.errors import Unreachable
from batchflow.store.deployments import TERMINATING, DeploymentRecords, JobDeployments
from batchflow.store.names import KEPT, Names
from batchflow.store.open import open_store
from batchflow.store.protocol import Store

OF_ONE_ROW = ["job-5", "job-24", "job-28"]  # by their hashes
RECORD = JobDeploymentRecord({"name": "digits"}, "2026-01-01T00:00:00.000Z")


@pytest.fixture(params=["directory", "s3-on-moto"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Store:
    if request.param == "directory":
        return open_store(f"{tmp_path}/store")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("moto"))
    bucket = f"names-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/some/prefix")


class Interrupted:
    """A store whose user sleeps, once, before or after its n-th request; meanwhile `act` is done."""

    def __init__(self, inner: Store, request: int, act: Callable[[], None], *, after: bool) -> None:
        self._inner = inner
        self._left = request
        self._act = act
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                self._act()
            answer = method(*arguments)
            answer = list(answer) if isinstance(answer, Iterator) else answer
            if self._left == 0 and self._after:
                self._act()
            return iter(answer) if isinstance(answer, list) else answer

        return call


class Killed:
    """A store whose user is killed: its n-th request and all later ones are not made, or that one still is."""

    def __init__(self, inner: Store, request: int, *, is_made: bool) -> None:
        self._inner = inner
        self._left = request
        self._is_made = is_made

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._is_made):
                raise KeyboardInterrupt
            answer = method(*arguments)
            answer = list(answer) if isinstance(answer, Iterator) else answer
            if self._left == 0:
                raise KeyboardInterrupt
            return iter(answer) if isinstance(answer, list) else answer

        return call


def test_a_name_stands_for_who_took_it_until_that_is_freed(store: Store) -> None:
    names = Names(store)
    assert names.find("digits") is None
    assert (names.take("digits", "a"), names.take("digits", "a"), names.take("digits", "b")) == (True, True, False)
    names.free("digits", "b")
    assert names.find("digits") == "a"
    names.free("digits", "a")
    names.free("digits", "a")
    assert names.find("digits") is None
    assert names.take("digits", "b") and names.find("digits") == "b"


@pytest.mark.parametrize("after", [False, True])
def test_who_forgets_and_sleeps_anywhere_spares_the_next_deployment_of_the_name(after: bool, tmp_path: Any) -> None:
    """Two forget at once, as `batchflow delete` and a gateway do, and the name is used again in between."""
    for request in range(1, 40):
        store = open_store(str(tmp_path / str(request)))
        deployments = JobDeployments(store)
        old = deployments.create("digits", RECORD)
        assert old is not None
        old.set_flag(TERMINATING, True)
        new: list[str] = []

        def meanwhile(deployments: JobDeployments = deployments, old: DeploymentRecords = old, new: list[str] = new) -> None:
            deployments.forget(old)
            created = deployments.create("digits", RECORD)
            assert created is not None
            new.append(created.deployment_id)

        slow: Any = Interrupted(store, request, meanwhile, after=after)
        JobDeployments(slow).forget(DeploymentRecords(slow, "digits", old.deployment_id))
        if not new:
            assert request > 10
            return
        found = deployments.find("digits")
        assert found is not None and [found.deployment_id] == new
        assert found.load() == RECORD
        assert list(deployments.left_over("digits")) == []
    raise AssertionError("it always slept")


@pytest.mark.parametrize("changes", [1, 2, KEPT, KEPT + 1, 3 * KEPT])
@pytest.mark.parametrize("request_", range(1, 9))
def test_who_sleeps_while_others_change_the_row_often_undoes_nothing(request_: int, changes: int, tmp_path: Any) -> None:
    store = open_store(str(tmp_path))
    names = Names(store)
    names.take("digits", "old")

    def meanwhile() -> None:
        names.free("digits", "old")
        for number in range(changes):
            assert names.take("digits", f"new {number}")
            if number + 1 < changes:
                names.free("digits", f"new {number}")

    slow = Names(Interrupted(store, request_, meanwhile, after=True))  # type: ignore[arg-type]
    slow.free("digits", "old")
    assert names.find("digits") in (None, f"new {changes - 1}")
    if request_ <= 2:  # it had read, and not written
        assert names.find("digits") == f"new {changes - 1}"
    assert names.take("digits", "last") is (names.find("digits") in (None, "last"))


@pytest.mark.parametrize("changes", [1, 2, KEPT + 1, 3 * KEPT])
@pytest.mark.parametrize("request_", range(1, 9))
def test_of_those_who_take_a_name_one_has_it_however_long_one_sleeps(request_: int, changes: int, tmp_path: Any) -> None:
    store = open_store(str(tmp_path))
    names = Names(store)
    others: list[bool] = []

    def meanwhile() -> None:
        for number in range(changes):
            others.append(names.take("digits", f"other {number}"))
            if number + 1 < changes:
                names.free("digits", f"other {number}")

    slow = Names(Interrupted(store, request_, meanwhile, after=True))  # type: ignore[arg-type]
    is_taken = slow.take("digits", "slow")
    found = names.find("digits")
    assert found == ("slow" if is_taken else f"other {changes - 1}")
    if others:
        assert others[-1] is not is_taken


@pytest.mark.parametrize("is_made", [False, True])
def test_whoever_is_killed_anywhere_leaves_a_name_taken_or_free_and_usable(is_made: bool, tmp_path: Any) -> None:
    for request in range(1, 40):
        store = open_store(str(tmp_path / str(request)))
        deployments = JobDeployments(store)
        killed = JobDeployments(Killed(store, request, is_made=is_made))  # type: ignore[arg-type]
        try:
            created = killed.create("digits", RECORD)
            assert created is not None
            killed.forget(DeploymentRecords(killed.store, "digits", created.deployment_id))
        except KeyboardInterrupt:
            pass
        else:
            assert request > 10
            return
        found = deployments.find("digits")
        if found is not None:
            assert found.load() == RECORD
            deployments.forget(found)
        assert deployments.create("digits", RECORD) is not None
    raise AssertionError("it was always killed")


def test_many_who_take_and_free_names_at_once_never_share_one(store: Store) -> None:
    names = Names(store)
    held: dict[str, str] = {}
    lock = threading.Lock()

    def work(seed: int) -> int:
        chance, count = random.Random(seed), 0
        for _ in range(12):
            name, id = chance.choice(OF_ONE_ROW), new_deployment_id()
            if names.take(name, id):
                with lock:
                    assert name not in held
                    held[name] = id
                assert names.find(name) == id
                with lock:
                    del held[name]
                names.free(name, id)
                names.free(name, id)
                count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) > 4
    assert [names.find(name) for name in OF_ONE_ROW] == [None] * 3
    assert len({key.rpartition("/")[0] for key in store.list("names/")}) == 1


def test_old_records_do_not_pile_up(store: Store) -> None:
    names = Names(store)
    for number in range(3 * KEPT):
        assert names.take("digits", str(number))
        names.free("digits", str(number))
        assert len(list(store.list("names/"))) <= KEPT + 1
    deployments = JobDeployments(store)
    created = deployments.create("digits", RECORD)
    assert created is not None
    deployments.forget(created)
    assert list(store.list("deployments/")) == []


def test_that_old_records_can_not_be_deleted_is_no_error(tmp_path: Any) -> None:
    class Full:
        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def delete(self, keys: Any) -> None:
            raise Unreachable("the store is down")

    store = open_store(str(tmp_path))
    assert Names(Full(store)).take("digits", "a")  # type: ignore[arg-type]
    assert Names(store).find("digits") == "a"
