from __future__ import annotations

import pytest

from batchflow.dequeuer.receiver import Leaving
from batchflow.queues.protocol import Depth
from batchflow.status.accounting import Accounting

EMPTY = Depth(visible=0, in_flight=0)


@pytest.mark.parametrize(("depth", "leaves"), [(EMPTY, True), (Depth(0, 3), True), (Depth(1, 0), False)])
def test_a_worker_leaves_when_nothing_is_visible(depth: Depth, leaves: bool) -> None:
    assert Leaving().may_leave(depth, 0) == leaves


def test_the_queue_must_be_quiet_for_that_long() -> None:
    leaving = Leaving(quiet_s=60)
    assert [leaving.may_leave(EMPTY, now) for now in (0, 1, 59, 60)] == [False, False, False, True]


@pytest.mark.parametrize("depth", [Depth(1, 0), Depth(0, 1)])
def test_what_is_visible_or_in_flight_ends_the_quiet(depth: Depth) -> None:
    leaving = Leaving(quiet_s=60)
    depths = ((EMPTY, 0), (depth, 50), (EMPTY, 70), (EMPTY, 129), (EMPTY, 130))
    assert [leaving.may_leave(*at) for at in depths] == [False, False, False, False, True]


def test_what_is_received_ends_the_quiet_though_the_depth_never_showed_it() -> None:
    leaving = Leaving(quiet_s=60)
    assert not leaving.may_leave(EMPTY, 0)
    leaving.received()
    assert [leaving.may_leave(EMPTY, now) for now in (100, 159, 160)] == [False, False, True]


@pytest.mark.parametrize(("accounting", "complete"), [(None, False), (Accounting(1), False), (Accounting(0), True)])
def test_only_who_accounts_knows_that_nothing_is_left(accounting: Accounting | None, complete: bool) -> None:
    assert Leaving(quiet_s=60, accounting=accounting).complete() == complete
