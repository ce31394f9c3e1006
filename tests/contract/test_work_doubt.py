"""The loop when the queue hid a batch and its answer was lost: nobody holds it, and the worker must not leave without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow import contract
from batchflow.dequeuer.held import Held
from batchflow.errors import Unreachable
from batchflow.store.jobs import JobRecords
from tests.contract.work_kit import JOB, Job, Outage, handler


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    job.settings = replace(job.settings, visibility_s=1, heartbeat_s=0.3)
    yield job
    job.close()


class LosingAnswers:
    """Stands before a real queue; the answers of the calls for which `loses` is true are lost, after the call."""

    def __init__(self, real: Any, call: str, loses: Callable[[Any], bool]) -> None:
        self.lost = 0
        self._real = real
        self._call = call
        self._loses = loses

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._call:
            return real

        def call(*args: Any) -> Any:
            answer = real(*args)
            if self.lost == 0 and self._loses(answer):
                self.lost += 1
                raise Unreachable("the answer was lost")
            return answer

        return call


def test_a_batch_whose_delivery_was_lost_is_waited_for(job: Job) -> None:
    """No other worker is there, none was lost, and without a hook nobody comes after it."""
    job.enqueue(1)
    job.queue = queue = LosingAnswers(job.queue, "receive", bool)  # type: ignore[assignment]
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_OK
    assert queue.lost == 1  # type: ignore[attr-defined]
    assert [len(outcomes) for outcomes in job.outcomes().values()] == [1]


def test_giving_back_says_whether_it_got_through(job: Job) -> None:
    job.enqueue(2)
    first, second = job.queue.receive(2, 0, 60)
    away = Outage(job.queue, ["extend"], Unreachable("the queue is away"))
    held = Held(away, visibility_s=60, heartbeat_s=20)  # type: ignore[arg-type]
    held.add([first, second])
    assert held.give_back([first])
    assert held.give_back([first])  # holds it no more
    away.down = True
    assert not held.give_back([second])


def test_nothing_is_received_before_the_pod_has_said_that_it_is_there(job: Job) -> None:
    """A pod made anew under its name would not know that it replaces one, and leave before the lost one's batches are visible."""
    job.enqueue(1)
    job.settings = replace(job.settings, retry_s=0.3)
    store = Outage(job.records.store, ["put"], Unreachable("the store is away"))
    store.down = True
    job.records = JobRecords(store, JOB)  # type: ignore[arg-type]
    with handler(lambda _: 200) as server:
        assert job.work(server.port) == contract.EXIT_TRY_AGAIN
    assert server.requests == []
    assert store.refused > 1
