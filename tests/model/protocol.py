"""The model: what may happen next in a state of a job. Argo and time are here; the queue is in queue.py, the workers in workers.py.

Each process runs batchflow's own code (programs.py). Each transition is one effect of one process, or a tick of the clock, or a fault:
something that need not happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.model import queue
from tests.model.explorer import Step
from tests.model.programs import VISIBILITY, Cleaning, Enqueuing, Finalizing, Job
from tests.model.rules import status
from tests.model.state import Actor, Seat, State, Worker
from tests.model.tape import Done, Effect, following
from tests.model.workers import Put, Workers
from tests.model.world import World, effect_of, fault, said

__all__ = ["Protocol"]

# What only one process writes, or who reads it waits for those who do; and the word to stop, which may as well come a little later.
SETTLED_READS: Final = ("read checkpoint", "read total", "read counters", "told to stop")


class Protocol:
    """The transitions of one job in one world."""

    def __init__(self, job: Job, world: World) -> None:
        self._job = job
        self._world = world
        self._workers = Workers(job, world)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Every transition from the state."""
        for step in self._all(state):
            yield Step(step.name, _canonical(self._advanced(step.state)), step.fault)

    def _all(self, state: State) -> Iterator[Step[State]]:
        if state.enqueuer:
            yield from self._enqueuer(state, state.enqueuer)
        for number, seat in enumerate(state.seats):
            if seat.worker:
                yield from self._workers.steps(state, seat.worker, _seated(number))
                yield from self._workers.faults(state, number, seat, seat.worker)
        for number, worker in enumerate(state.lost):
            yield from self._workers.steps(state, worker, _among_the_lost(number))
        if state.finalizer:
            yield from self._finalizer(state, state.finalizer)
        if state.cleaner:
            yield from self._cleaner(state, state.cleaner)
        if state.first_cleaner:
            yield from self._first_cleaner(state, state.first_cleaner)
        yield from self._tick(state)
        yield from self._others_acts(state)

    # Argo: what follows when a step has ended.

    def _advanced(self, state: State) -> State:
        if state.stage == "work" and not any(seat.worker for seat in state.seats):
            return state._replace(stage="finalize", finalizer=Actor(), seats=())
        return state

    def _ended(self, state: State, **changes: object) -> State:
        """A step before cleanup ended; after a stop cleanup is there already."""
        if state.stage == "cleanup":
            return state._replace(**changes)  # type: ignore[arg-type]
        return state._replace(stage="cleanup", cleaner=Actor(), **changes)  # type: ignore[arg-type]

    def _others_acts(self, state: State) -> Iterator[Step[State]]:
        if self._world.forgets:
            for dedup in state.sent:
                yield from fault(f"the queue forgets {dedup[-3:]}", state._replace(sent=state.sent - {dedup}))
        if not self._world.stops:
            return
        if state.stage in ("enqueue", "work", "finalize"):
            yield Step("stop", state._replace(stage="cleanup", stopped=True, cleaner=Actor()), fault=True)
        if state.stage != "ended":
            yield Step("terminate", self._terminated(state), fault=True)
        status_known = state.stage == "ended" or (state.final is not None and state.stage == "cleanup")
        if state.run == 1 and not state.lost and status_known and status(self._job, state).resumable:
            yield Step("resume", _resumed(state), fault=True)

    def _terminated(self, state: State) -> State:
        repeats = state.repeats + (state.finalizer is not None and self._answer_not_recorded(state, state.finalizer))
        gone = state._replace(enqueuer=None, seats=(), finalizer=None, cleaner=None, lost=())
        return gone._replace(stage="ended", terminated=True, repeats=repeats)

    def _answer_not_recorded(self, state: State, finalizer: Actor) -> bool:
        """The hook answered, and only finalize knows it."""
        return bool(effect_of(Finalizing(self._job, state.run), finalizer.tape)[0] == "write hook")

    def _tick(self, state: State) -> Iterator[Step[State]]:
        """Some time passes, so much that two of it make a visibility timeout."""
        aged = queue.expired(state)._replace(
            seats=tuple(seat._replace(worker=_older(seat.worker)) for seat in state.seats),
            lost=tuple(worker for each in state.lost if (worker := _older(each))),
            finalizer=state.finalizer and state.finalizer._replace(worker=_older(state.finalizer.worker)),
        )
        if aged != state:
            yield Step("time passes", aged)

    # Enqueuer, finalize, cleanup.

    def _enqueuer(self, state: State, actor: Actor) -> Iterator[Step[State]]:
        program = Enqueuing(self._job, state.run)
        if self._world.kills:
            again = None if state.stopped else Actor()
            yield from fault("enqueuer is killed", state._replace(enqueuer=again))
        effect = effect_of(program, actor.tape)
        after, answer = queue.applied(state, effect)
        tape = _read_on(after, program, (*actor.tape, answer))
        if not isinstance(following(program, tape), Done):
            yield Step(f"enqueuer: {said(effect)}", after._replace(enqueuer=Actor(tape)))
        elif after.checkpoint and after.checkpoint.done and not state.stopped:
            left = self._job.batches if state.run == 1 else after.missing(self._job)
            seats = (Seat(Worker(replaced=False), self._world.tries),) * min(self._job.workers, left)
            yield Step("enqueuer ends", after._replace(stage="work", enqueuer=None, seats=seats, reached=bool(seats)))
        else:
            yield Step("enqueuer ends early", after._replace(enqueuer=None))

    def _finalizer(self, state: State, actor: Actor) -> Iterator[Step[State]]:
        program = Finalizing(self._job, state.run)
        effect = effect_of(program, actor.tape)
        repeats = state.repeats + self._answer_not_recorded(state, actor)
        if self._world.kills:
            again = None if state.stopped else Actor()
            yield from fault("finalize is killed", state._replace(finalizer=again, repeats=repeats))
        if state.stopped:
            yield Step("finalize ends, as it was told", state._replace(finalizer=None, repeats=repeats))
        if effect[0] == "work off":
            if not state.stopped:
                yield from self._work_off(state, actor)
            return
        for after, answer in self._finalizer_effects(state, effect):
            tape = _read_on(after, program, (*actor.tape, answer))
            step = following(program, tape)
            if isinstance(step, Done):
                yield Step(f"finalize: {said(effect)}, ends {step.result}", self._ended(after, finalizer=None))
            else:
                yield Step(f"finalize: {said(effect)} {answer!r}", after._replace(finalizer=Actor(tape)))

    def _finalizer_effects(self, state: State, effect: Effect) -> Iterator[tuple[State, object]]:
        if effect[0] != "post hook":
            yield queue.applied(state, effect)
            return
        posted = state._replace(posts=state.posts + 1)
        yield posted, True
        if state.failures:
            yield posted._replace(failures=state.failures - 1), False
        if state.stopped:
            yield posted._replace(repeats=state.repeats + 1), None

    def _work_off(self, state: State, actor: Actor) -> Iterator[Step[State]]:
        """dequeuer.work_off: a worker that knows what finalize read last."""

        def put(after: State, worker: Worker | None) -> State:
            if worker is not None:
                return after._replace(finalizer=actor._replace(worker=worker))
            tape = (*actor.tape, 0)
            step = following(Finalizing(self._job, state.run), tape)
            if isinstance(step, Done):
                return self._ended(after, finalizer=None)
            return after._replace(finalizer=Actor(tape))

        worker = actor.worker or Worker(replaced=False, known=next(a for a in reversed(actor.tape) if isinstance(a, frozenset)))
        yield from self._workers.steps(state, worker, put)

    def _cleaner(self, state: State, actor: Actor) -> Iterator[Step[State]]:
        program = Cleaning(self._job, state.run)
        effect = effect_of(program, actor.tape)
        others = state.enqueuer or state.finalizer or any(seat.worker for seat in state.seats)
        if effect[0] == "observe" and others:  # it waits, but not for those that Argo has given up
            return
        if self._world.kills:  # after a stop Argo does not try it again
            killed = state._replace(stage="ended", cleaner=None) if state.stopped else state._replace(cleaner=Actor())
            yield from fault("cleanup is killed", killed)
        after, answer = queue.applied(state, effect)
        tape = _read_on(after, program, (*actor.tape, answer))
        if isinstance(following(program, tape), Done):
            yield Step(f"cleanup: {said(effect)}, ends", after._replace(stage="ended", cleaner=None))
        else:
            yield Step(f"cleanup: {said(effect)}", after._replace(cleaner=Actor(tape)))

    def _first_cleaner(self, state: State, actor: Actor) -> Iterator[Step[State]]:
        """Cleanup of the first run, after a resume; its queue is gone."""
        program = Cleaning(self._job, 1)
        if self._world.kills:
            yield from fault("the first run's cleanup is killed", state._replace(first_cleaner=Actor()))
        effect = effect_of(program, actor.tape)
        after, answer = (state, False) if effect == ("find queue",) else queue.applied(state, effect)
        tape = _read_on(after, program, (*actor.tape, answer))
        rest = None if isinstance(following(program, tape), Done) else Actor(tape)
        yield Step(f"the first run's cleanup: {said(effect)}", after._replace(first_cleaner=rest))


def _read_on(state: State, program: Enqueuing | Finalizing | Cleaning, tape: tuple[object, ...]) -> tuple[object, ...]:
    """With what it reads next, as long as nobody else changes that."""
    while not isinstance(effect := following(program, tape), Done) and effect[0] in SETTLED_READS:
        tape = (*tape, queue.applied(state, effect)[1])
    return tape


def _older(worker: Worker | None) -> Worker | None:
    return worker._replace(timer=min(worker.timer + 1, VISIBILITY)) if worker and worker.timer is not None else worker


def _resumed(state: State) -> State:
    """client.Job.resume: the next run has a workflow and a queue of its own, and the records of those before."""
    found_queue = (
        state.cleaner is not None and len(state.cleaner.tape) > 1 and state.cleaner.tape[-1] is True
    )  # and has nothing to do but delete it
    asked_again = state.hook is not None and not state.hook[1]
    return state._replace(
        stage="enqueue",
        run=2,
        queue=None,
        sent=frozenset(),
        stopped=False,
        terminated=False,
        enqueuer=Actor(),
        cleaner=None,
        first_cleaner=None if found_queue else state.cleaner,
        seats=(),
        repeats=state.repeats + asked_again,
        unattended=0,
        reached=False,
    )


def _seated(number: int) -> Put:
    def put(state: State, worker: Worker | None) -> State:
        tries = state.seats[number].tries if worker else 0
        return state._replace(seats=(*state.seats[:number], Seat(worker, tries), *state.seats[number + 1 :]))

    return put


def _among_the_lost(number: int) -> Put:
    def put(state: State, worker: Worker | None) -> State:
        kept = () if worker is None else (worker,)
        return state._replace(lost=(*state.lost[:number], *kept, *state.lost[number + 1 :]))

    return put


def _canonical(state: State) -> State:
    """One state for those that differ only in which worker is which."""
    if len(state.seats) < 2 and len(state.lost) < 2:
        return state
    return state._replace(seats=tuple(sorted(state.seats, key=hash)), lost=tuple(sorted(state.lost, key=hash)))
