"""What effects do to the queue and the records, and what they answer; SQS's FIFO semantics as queues/protocol.py states them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.model.programs import VISIBILITY
from tests.model.state import Message, State
from tests.model.tape import Effect

__all__ = ["applied", "depth", "expired", "given_back", "hidden", "new_receipt", "receivable"]


def applied(state: State, effect: Effect, receipt: int = 0) -> tuple[State, Any]:
    """The state after an effect that has one result, and its answer. `receipt`: the real one of what is deleted."""
    match effect:
        case ("send", index, attempt, dedup):
            if dedup in state.sent:
                return state, None
            assert state.queue is not None
            return state._replace(queue=(*state.queue, Message(index, attempt)), sent=state.sent | {dedup}), None
        case ("send to the DLQ", index, _, _):
            return state._replace(dlq=state.dlq | {index}), None
        case ("delete", _):
            assert state.queue is not None
            return state._replace(queue=tuple(m for m in state.queue if m.receipt != receipt)), None
        case ("write outcomes", outcomes):
            return state._replace(outcomes=state.outcomes | set(outcomes)), None
        case ("write hook", run, ok):
            return state._replace(hook=(run, ok)), None
        case ("write checkpoint", checkpoint):
            return state._replace(checkpoint=checkpoint), None
        case ("write final", run, status):
            return state._replace(final=(run, status)), None
        case ("create document", total):
            return state._replace(total=total if state.total is None else state.total), None
        case ("create queue",):
            return state._replace(queue=() if state.queue is None else state.queue), None
        case ("remove queue",):
            return state._replace(queue=None, sent=frozenset()), None
    return state, _read(state, effect[0])


def _read(state: State, what: str) -> Any:
    return {
        "read outcomes": state.outcomes,
        "read hook": state.hook,
        "read counters": (1.0,) if state.reached else (),
        "read checkpoint": state.checkpoint,
        "read total": state.total,
        "read final": state.final,
        "find queue": state.queue is not None,
        "told to stop": state.stopped,
        "observe": state.stopped,
    }[what]


def receivable(queue: Iterable[Message]) -> Iterator[Message]:
    """What a poll may get: of each group only the oldest."""
    groups = set()
    for message in queue:
        if message.batch not in groups and not message.receipt:
            yield message
        groups.add(message.batch)


def new_receipt(state: State) -> int:
    """The smallest that no message has and nobody remembers."""
    used = {message.receipt for message in state.queue or ()} | {worker.hand.receipt for worker in state.workers if worker.hand}
    return next(number for number in range(1, len(used) + 2) if number not in used)


def hidden(state: State, message: Message, receipt: int) -> State:
    """The message was received."""
    assert state.queue is not None
    received = message._replace(receipt=receipt, hidden=VISIBILITY)
    return state._replace(queue=tuple(received if m is message else m for m in state.queue))


def given_back(state: State, receipt: int) -> State:
    """Visible at once: given back, or its visibility ran out."""
    if state.queue is None:
        return state
    return state._replace(queue=tuple(m._replace(receipt=0, hidden=0) if m.receipt == receipt else m for m in state.queue))


def expired(state: State) -> State:
    """A tick: what no living process holds (and extends) comes closer to being visible."""
    held = {worker.hand.receipt for worker in state.workers if worker.hand}

    def aged(message: Message) -> Message:
        if not message.receipt or message.receipt in held:
            return message
        return message._replace(hidden=message.hidden - 1) if message.hidden > 1 else message._replace(receipt=0, hidden=0)

    return state._replace(queue=None if state.queue is None else tuple(aged(m) for m in state.queue))


def depth(queue: tuple[Message, ...]) -> tuple[int, int]:
    """How many are visible and in flight, exactly."""
    in_flight = sum(m.receipt != 0 for m in queue)
    return len(queue) - in_flight, in_flight
