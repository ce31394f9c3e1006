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


def taken(agenda: Agenda) -> list[str]:
    names = [*iter(agenda.take, None)]
    assert agenda.due() == 0
    return names


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agenda(clock: Clock) -> Agenda:
    agenda = Agenda(clock)
    agenda.set_names(["a", "b"])
    return agenda


def test_what_is_new_is_due_at_once_and_again_after_its_pause(agenda: Agenda, clock: Clock) -> None:
    assert taken(agenda) == ["a", "b"]
    agenda.visited("a", 1)
    agenda.visited("b", 3)
    assert (taken(agenda), agenda.next_s(MOST_S)) == ([], 1)
    clock.now += 1
    assert (taken(agenda), agenda.next_s(MOST_S)) == (["a"], 2)


def test_what_is_being_visited_is_not_due(agenda: Agenda, clock: Clock) -> None:
    assert taken(agenda) == ["a", "b"]
    clock.now += 1000
    assert (taken(agenda), agenda.next_s(MOST_S)) == ([], MOST_S)


def test_the_longest_overdue_comes_first(agenda: Agenda, clock: Clock) -> None:
    assert taken(agenda) == ["a", "b"]
    agenda.visited("a", 2)
    agenda.visited("b", 1)
    clock.now += 10
    assert taken(agenda) == ["b", "a"]


def test_what_is_wanted_soon_is_due_also_if_it_is_being_visited(agenda: Agenda) -> None:
    assert taken(agenda) == ["a", "b"]
    agenda.visited("a", 9)
    for name in "ab":
        agenda.soon(name)
    assert taken(agenda) == ["a"]
    agenda.visited("b", 9)
    assert (agenda.next_s(MOST_S), taken(agenda)) == (0, ["b"])


def test_what_is_gone_is_not_due_any_more_and_what_comes_again_is_not_visited_twice_at_once(agenda: Agenda) -> None:
    assert taken(agenda) == ["a", "b"]
    agenda.set_names(["b"])
    agenda.visited("b", 9)
    agenda.set_names(["a", "b"])
    assert taken(agenda) == [], "the earlier visit of a goes on"
    agenda.visited("a", 9)
    assert taken(agenda) == ["a"]


def test_what_was_made_while_names_were_listed_is_not_forgotten(agenda: Agenda) -> None:
    assert taken(agenda) == ["a", "b"]
    agenda.soon("new")
    agenda.set_names(["a"])
    assert taken(agenda) == ["new"]
    agenda.set_names([])
    assert agenda.is_empty


def test_what_was_never_taken_is_forgotten_too(agenda: Agenda) -> None:
    """As by a scheduler that does not lead."""
    agenda.set_names(["b"])
    assert taken(agenda) == ["b"]
