"""The transitions of a worker: polls (receiver.py), and one delivery at a time (slot, settling, committer)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from tests.model import queue
from tests.model.explorer import Step
from tests.model.programs import Handling, Job, Polling
from tests.model.state import NOBODY, Delivery, Seat, State, Worker
from tests.model.tape import LOST, Done, following
from tests.model.world import World, effect_of, fault, said

__all__ = ["Put", "Workers"]

Put = Callable[[State, Worker | None], State]  # the state with the worker in its place; None: it ended by itself

# What a worker remembers of its polls, as the shortest tape that leaves it so: answers to `receive`.
POLLED: Final[dict[str, tuple[object, ...]]] = {
    "fresh": (),
    "empty": ((),),
    "quiet": ((), ()),  # a patient one, since the timer began
    "doubt": (LOST, ()),  # another one; the timer began when the answer was lost
}


class Workers:
    """Of one job in one world."""

    def __init__(self, job: Job, world: World) -> None:
        self._job = job
        self._world = world

    def steps(self, state: State, worker: Worker, put: Put) -> Iterator[Step[State]]:
        name = "replacement" if worker.replaced else "worker" if worker.known is None else "finalize's worker"
        if state.stopped:
            receipt = worker.hand.receipt if worker.hand else NOBODY
            yield Step(f"{name} gives back and ends", put(queue.given_back(state, receipt), None))
        if worker.hand:
            if state.queue is not None:
                yield from self._handle(state, name, worker, worker.hand, put)
                if self._world.stalls and any(m.receipt == worker.hand.receipt for m in state.queue):
                    late = queue.given_back(state, worker.hand.receipt)
                    yield from fault(f"{name}: what it holds becomes visible", put(late, worker))
            else:
                yield Step(f"{name} finds no queue", put(state, None))
        elif not state.stopped:
            yield from self._poll(state, name, worker, put)

    def faults(self, state: State, number: int, seat: Seat, worker: Worker) -> Iterator[Step[State]]:
        ends_for_good = not seat.tries and not state.stopped
        follower = Seat(Worker(replaced=True), seat.tries - 1) if seat.tries and not state.stopped else Seat(None, 0)
        without = state._replace(seats=(*state.seats[:number], follower, *state.seats[number + 1 :]))
        if self._world.kills:
            yield from fault("worker is killed", without._replace(unattended=state.unattended + ends_for_good))
        if self._world.gives_up:
            yield from fault("worker is given up", without._replace(unattended=state.unattended + 1, lost=(*state.lost, worker)))

    def _handle(self, state: State, name: str, worker: Worker, hand: Delivery, put: Put) -> Iterator[Step[State]]:
        program = Handling(self._job, state.run, hand.batch, hand.attempt)
        effect = effect_of(program, hand.tape)
        after, answer = queue.applied(state, effect, hand.receipt)
        if worker.known is not None:
            worker = worker._replace(known=worker.known | (after.outcomes - state.outcomes))
        tape = (*hand.tape, answer)
        rest = None if isinstance(following(program, tape), Done) else hand._replace(tape=tape)
        done = f"{name}: {said(effect)} (batch {hand.batch}, attempt {hand.attempt})"
        yield Step(done, put(after, worker._replace(hand=rest)))
        if self._world.loses_answers:
            yield from fault(f"{done}, answer lost", put(after, worker))

    def _poll(self, state: State, name: str, worker: Worker, put: Put) -> Iterator[Step[State]]:
        program = Polling(self._job, worker.replaced, worker.known)
        before = _begun(program, worker.polled)
        effect = following(program, before + worker.turn)
        if effect == ("clock",):
            patient = worker.replaced or worker.known is not None
            worker = worker._replace(timer=0 if worker.timer is None and patient else worker.timer)
            worker = worker._replace(turn=(*worker.turn, worker.timer or 0))
            effect = following(program, before + worker.turn)
        if isinstance(effect, Done):
            yield Step(f"{name} leaves", put(state, None))
        elif state.queue is None:
            yield Step(f"{name} finds no queue", put(state, None))
        elif effect[0] == "receive":
            yield from self._receive(state, name, worker, put, long=effect[1])
        else:
            assert effect == ("depth",), effect
            exact = queue.depth(state.queue)
            for answer in {exact, (0, 0)} if self._world.depth_lags else {exact}:
                yield Step(f"{name}: depth {answer}", self._went_on(state, worker, answer, put))

    def _receive(self, state: State, name: str, worker: Worker, put: Put, *, long: bool) -> Iterator[Step[State]]:
        assert state.queue is not None
        found = list(queue.receivable(state.queue))
        doubt = worker.polled == "doubt"
        after = worker._replace(turn=(), polled="doubt" if doubt else "fresh", timer=worker.timer if doubt else None)
        for message in found:
            receipt = queue.new_receipt(state)
            held = queue.hidden(state, message, receipt)
            for ok in (True, False) if state.failures else (True,):
                hand = Delivery(message.batch, message.attempt, receipt, (ok,))
                what = f"{name} receives batch {message.batch}, attempt {message.attempt}, which {'succeeds' if ok else 'fails'}"
                yield Step(what, put(held._replace(failures=held.failures - (not ok)), after._replace(hand=hand)))
            if self._world.loses_answers:
                patient = worker.replaced or worker.known is not None
                lost = worker._replace(turn=(), polled="empty" if patient else "doubt", timer=None if patient else 0)
                yield from fault(f"{name} receives batch {message.batch}, answer lost", put(queue.hidden(state, message, NOBODY), lost))
        if not found or (self._world.depth_lags and not long):
            yield Step(f"{name}: {'long ' if long else ''}poll, nothing", self._went_on(state, worker, (), put))

    def _went_on(self, state: State, worker: Worker, answer: tuple[int, ...], put: Put) -> State:
        """A poll's or the depth's answer; at the beginning of its loop only what it remembers is kept of the worker's turn."""
        program = Polling(self._job, worker.replaced, worker.known)
        turn = (*worker.turn, answer)
        effect = following(program, _begun(program, worker.polled) + turn)
        if isinstance(effect, Done):
            return put(state, None)
        if effect != ("clock",):
            return put(state, worker._replace(turn=turn))
        polled = worker.polled
        if answer == () and polled == "fresh":
            polled = "empty"
        elif answer != () and (worker.replaced or worker.known is not None):
            polled = "quiet" if answer == (0, 0) else "empty"
        timer = worker.timer if polled in ("quiet", "doubt") else None
        return put(state, worker._replace(polled=polled, timer=timer, turn=()))


@cache
def _begun(program: Polling, polled: str) -> tuple[object, ...]:
    """The answers after which a worker is at the beginning of its loop, remembering that much."""
    tape: tuple[object, ...] = ()
    received = iter(POLLED[polled])
    while True:
        effect = following(program, tape)
        if effect == ("depth",):
            tape = (*tape, (0, 0))
            continue
        clock = effect == ("clock",)
        with_clock = (*tape, 0) if clock else tape
        effect = following(program, with_clock)
        if isinstance(effect, Done) or effect[0] != "receive":
            return tape
        answer = next(received, None)
        if answer is None:
            return tape
        tape = (*with_clock, answer)
        if answer == LOST and following(program, tape) == ("clock",):
            tape = (*tape, 0)
