"""Runs batchflow's own code one effect at a time, so that a model can put anything between two of them.

A program is run from its beginning with the answers that the effects before had. Where they end, it asks for the next effect, and is left
there. As the code is deterministic but for the answers, its state is its tape, which is a value: it can be stored, compared, and gone on
from in more than one way. A crash is a tape that is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol, TypeVar

from batchflow.errors import Unreachable

__all__ = ["LOST", "Done", "Effect", "Program", "Tape", "again", "following"]

Effect = tuple[Any, ...]  # a name, then arguments
_Result = TypeVar("_Result")

LOST: Final = "the answer was lost"


class Program(Protocol, Hashable):
    """What is run; a value, and `run` depends on nothing but it and the answers."""

    def run(self, tape: Tape) -> Hashable: ...


@dataclass(frozen=True, slots=True)
class Done:
    """The program has ended."""

    result: Hashable


class _Asked(BaseException):
    """Leaves the program where the answers end; no `except Exception` may catch it."""

    def __init__(self, effect: Effect) -> None:
        self.effect = effect


class Tape:
    """The answers that a program gets, in order."""

    def __init__(self, answers: tuple[Hashable, ...]) -> None:
        self._answers = iter(answers)

    def ask(self, *effect: Hashable) -> Any:
        """The answer to this effect; raises Unreachable if that is `LOST`."""
        for answer in self._answers:
            if answer == LOST:
                raise Unreachable(LOST)
            return answer
        raise _Asked(effect)


@cache
def following(program: Program, answers: tuple[Hashable, ...]) -> Effect | Done:
    """What the program does next after those answers."""
    try:
        return Done(program.run(Tape(answers)))
    except _Asked as asked:
        return asked.effect


def again(call: Callable[[], _Result]) -> _Result:
    """As batchflow.retry.Retry, for ever and without a pause."""
    while True:
        try:
            return call()
        except Unreachable:
            continue
