from __future__ import annotations

import pytest

from batchflow.dequeuer.receiver import Leaving
from batchflow.queues.protocol import Depth
from batchflow.status.accounting import Accounting

EMPTY = Depth(visible=0, in_flight=0)


@pytest.mark.parametrize(("depth", "leaves"), [(EMPTY, True), (Depth(0, 3), True), (Depth(1, 0), False)])
def test_a_worker_leaves_when_nothing_is_visible(depth: Depth, leaves: bool) -> None:
    assert Leaving(60).may_leave(depth, 0) == leaves


def test_a_worker_in_doubt_stays_for_that_long() -> None:
    leaving = Leaving(60)
    leaving.in_doubt(10)
    assert [leaving.may_leave(EMPTY, polled_at) for polled_at in (0, 10, 69, 70)] == [False, False, False, True]


def test_what_is_received_does_not_end_the_doubt() -> None:
    leaving = Leaving(60)
    leaving.in_doubt(10)
    leaving.received()
    assert not leaving.may_leave(EMPTY, 69)


def test_the_queue_must_be_quiet_for_that_long() -> None:
    leaving = Leaving(60, patient=True)
    assert [leaving.may_leave(EMPTY, polled_at) for polled_at in (0, 1, 59, 60)] == [False, False, False, True]


@pytest.mark.parametrize("depth", [Depth(1, 0), Depth(0, 1)])
def test_what_is_visible_or_in_flight_ends_the_quiet(depth: Depth) -> None:
    leaving = Leaving(60, patient=True)
    depths = ((EMPTY, 0), (depth, 50), (EMPTY, 70), (EMPTY, 129), (EMPTY, 130))
    assert [leaving.may_leave(*at) for at in depths] == [False, False, False, False, True]


@pytest.mark.parametrize("event", ["received", "in_doubt"])
def test_what_is_received_ends_the_quiet_though_the_depth_never_showed_it_and_so_does_doubt(event: str) -> None:
    leaving = Leaving(60, patient=True)
    assert not leaving.may_leave(EMPTY, 0)
    leaving.received() if event == "received" else leaving.in_doubt(50)
    assert [leaving.may_leave(EMPTY, polled_at) for polled_at in (100, 159, 160)] == [False, False, True]


@pytest.mark.parametrize(("accounting", "complete"), [(None, False), (Accounting(1), False), (Accounting(0), True)])
def test_only_who_accounts_knows_that_nothing_is_left(accounting: Accounting | None, complete: bool) -> None:
    assert Leaving(60, patient=True, accounting=accounting).complete() == complete
