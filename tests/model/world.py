"""What the transitions have in common: which faults there are, and how an effect is made and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.explorer import Step
from tests.model.state import State
from tests.model.tape import Done, Effect, Program, following

__all__ = ["World", "effect_of", "fault", "said"]


@dataclass(frozen=True, slots=True)
class World:
    """What may happen besides the job's own steps; each fault takes one of the state's number, but stop, terminate and resume.

    Attributes:
        tries: how often a worker is replaced.
        depth_lags: the depth may show nothing, whatever is in the queue, and a poll that does not wait may find nothing (SQS).
        kills: any process may be killed.
        stalls: a process may be paused, or its heartbeat fail, until what it holds is visible.
        loses_answers: of any call to queue or store that changes something; then it is made again.
        gives_up: Argo may take a living worker for lost, and replace it.
        forgets: the queue may have forgotten what was sent (SQS does after 5 minutes).
        stops: somebody may stop the job; terminate it; resume it once.
    """

    tries: int = 2
    depth_lags: bool = True
    kills: bool = True
    stalls: bool = True
    loses_answers: bool = True
    gives_up: bool = False
    forgets: bool = False
    stops: bool = False


def fault(name: str, state: State) -> Iterator[Step[State]]:
    """The step to that state, if another fault may come."""
    if state.faults:
        yield Step(name, state._replace(faults=state.faults - 1), fault=True)


def effect_of(program: Program, tape: tuple[object, ...]) -> Effect:
    """What the program, which has not ended, does next."""
    effect = following(program, tape)
    assert not isinstance(effect, Done), effect
    return effect


def said(effect: Effect) -> str:
    """For people."""
    return " ".join(str(part) for part in effect if isinstance(part, str | int))
