"""Explores every state that a model can reach, breadth first, and says how it got to one that breaks an invariant."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Exploration", "Step", "Violation", "explore"]

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """One transition: what happened, and the state after it. `fault`: something that need not happen, such as a crash."""

    name: str
    state: State
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Exploration(Generic[State]):
    """What was found: numbers of states and transitions, and the states in which nothing more happens by itself."""

    states: int
    transitions: int
    ends: list[State]


class Violation(AssertionError):
    """An invariant does not hold; `path` names the transitions from the first state on, the shortest that lead there."""

    def __init__(self, rule: str, path: list[str], state: object) -> None:
        super().__init__("\n".join([f"{rule}:", *(f"  {number}. {name}" for number, name in enumerate(path, 1)), f"  {state}"]))
        self.rule = rule
        self.path = path


def explore(
    initial: State,
    successors: Callable[[State], Iterable[Step[State]]],
    broken: Callable[[State, bool], str],
    *,
    most_states: int,
) -> Exploration[State]:
    """Visit every state; raises Violation for the first that breaks a rule, or from which no end can be reached without faults.

    `broken(state, is_end)` names the rule that does not hold there, "" if all do. More than `most_states` is an error of the model.
    """
    graph = _Graph(initial)
    transitions = 0
    waiting = deque([0])
    while waiting:
        at = waiting.popleft()
        state = graph.states[at]
        steps = list(successors(state))
        transitions += len(steps)
        is_end = all(step.fault or step.state == state for step in steps)
        if is_end:
            graph.ends.append(at)
        if rule := broken(state, is_end):
            raise Violation(rule, graph.path(at), state)
        for step in steps:
            to, is_new = graph.add(at, step)
            if is_new:
                waiting.append(to)
        if len(graph.states) > most_states:
            raise RuntimeError(f"more than {most_states} states")
    stuck = graph.cannot_end()
    if stuck is not None:
        raise Violation("an end can be reached from everywhere", graph.path(stuck), graph.states[stuck])
    return Exploration(len(graph.states), transitions, [graph.states[at] for at in graph.ends])


class _Graph(Generic[State]):
    """The states by number, in the order in which they were found, and how each was reached first."""

    def __init__(self, initial: State) -> None:
        self.states = [initial]
        self.ends: list[int] = []
        self._numbers = {initial: 0}
        self._from: list[tuple[int, str]] = [(0, "")]
        self._before: list[array[int]] = [array("l")]  # the states from which one step that is no fault leads here

    def add(self, at: int, step: Step[State]) -> tuple[int, bool]:
        to = self._numbers.setdefault(step.state, len(self.states))
        is_new = to == len(self.states)
        if is_new:
            self.states.append(step.state)
            self._from.append((at, step.name))
            self._before.append(array("l"))
        if not step.fault:
            self._before[to].append(at)
        return to, is_new

    def path(self, to: int) -> list[str]:
        names = []
        while to:
            to, name = self._from[to]
            names.append(name)
        return names[::-1]

    def cannot_end(self) -> int | None:
        """The first state from which no end is reached without faults; None if there is none."""
        reached = bytearray(len(self.states))
        waiting = list(self.ends)
        for end in waiting:
            reached[end] = True
        while waiting:
            for before in self._before[waiting.pop()]:
                if not reached[before]:
                    reached[before] = True
                    waiting.append(before)
        stuck = reached.find(0)
        return None if stuck < 0 else stuck
