"""When deployments are visited."""

from __future__ import annotations

import pytest

from batchflow.deployments.agenda import Agenda

MOST_S = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agenda(clock: Clock) -> Agenda:
    agenda = Agenda(clock)
    agenda.set_names(["a", "b"])
    return agenda


def test_what_is_new_is_due_at_once_and_again_after_its_pause(agenda: Agenda, clock: Clock) -> None:
    assert list(agenda.due()) == ["a", "b"]
    agenda.visited("a", 1)
    agenda.visited("b", 3)
    assert (list(agenda.due()), agenda.next_s(MOST_S)) == ([], 1)
    clock.now += 1
    assert (list(agenda.due()), agenda.next_s(MOST_S)) == (["a"], 2)


def test_what_is_being_visited_is_not_due(agenda: Agenda, clock: Clock) -> None:
    assert list(agenda.due()) == ["a", "b"]
    clock.now += 1000
    assert (list(agenda.due()), agenda.next_s(MOST_S)) == ([], MOST_S)


def test_the_longest_overdue_comes_first(agenda: Agenda, clock: Clock) -> None:
    assert list(agenda.due()) == ["a", "b"]
    agenda.visited("a", 2)
    agenda.visited("b", 1)
    clock.now += 10
    assert list(agenda.due()) == ["b", "a"]


def test_what_is_wanted_soon_is_due_also_if_it_is_being_visited(agenda: Agenda) -> None:
    assert list(agenda.due()) == ["a", "b"]
    agenda.visited("a", 9)
    for name in "ab":
        agenda.soon(name)
    assert list(agenda.due()) == ["a"]
    agenda.visited("b", 9)
    assert (agenda.next_s(MOST_S), list(agenda.due())) == (0, ["b"])


def test_what_is_gone_is_not_due_any_more_and_what_comes_again_is_not_visited_twice_at_once(agenda: Agenda) -> None:
    assert list(agenda.due()) == ["a", "b"]
    agenda.set_names(["b"])
    agenda.visited("b", 9)
    agenda.set_names(["a", "b"])
    assert list(agenda.due()) == [], "the earlier visit of a goes on"
    agenda.visited("a", 9)
    assert list(agenda.due()) == ["a"]


def test_what_was_made_while_names_were_listed_is_not_forgotten(agenda: Agenda) -> None:
    assert list(agenda.due()) == ["a", "b"]
    agenda.soon("new")
    agenda.set_names(["a"])
    assert list(agenda.due()) == ["new"]
    agenda.set_names([])
    assert agenda.is_empty
