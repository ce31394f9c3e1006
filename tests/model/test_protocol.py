"""Every state of small jobs, with faults between any two effects: what DESIGN.md promises holds in all of them; docs/protocol.md.

BATCHFLOW_MODEL_FAULTS=1 allows one more fault in each (minutes to hours); -s prints the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from batchflow.status import model
from tests.model.explorer import Exploration, Step, Violation, explore
from tests.model.mutants import MUTANTS, Mutant
from tests.model.programs import Job
from tests.model.protocol import Protocol
from tests.model.rules import broken, status
from tests.model.state import State, first_state
from tests.model.world import World

MORE_FAULTS = int(os.environ.get("BATCHFLOW_MODEL_FAULTS", "0"))
MOST_STATES = 200_000 * 20**MORE_FAULTS


def explored(job: Job, world: World, *, faults: int, failures: int) -> Exploration[State]:
    first = first_state(faults=faults, failures=failures)
    return explore(first, Protocol(job, world).steps, broken(job, first), most_states=MOST_STATES)


JOBS = {
    # name: job, world, faults, attempts (or hooks) that fail
    "two workers": (Job(2, 2, hook=False), World(), 1, 1),
    "two workers, hook, DLQ": (Job(2, 2, hook=True, max_receive_count=2), World(), 1, 1),
    "one worker, hook, DLQ": (Job(2, 1, hook=True, max_receive_count=2), World(), 1, 3),
    "one batch, two faults": (Job(1, 1, hook=True, max_receive_count=2), World(forgets=True), 2, 2),
    "three batches": (Job(3, 1, hook=True, max_receive_count=2), World(), 1, 1),
    "workers that Argo gives up": (Job(1, 1, hook=True, max_receive_count=2), World(gives_up=True), 1, 1),
    "stop, terminate, resume": (Job(2, 1, hook=False, max_receive_count=2), World(stops=True), 0, 1),
    "stop, terminate, resume, with a fault": (Job(1, 1, hook=True), World(stops=True), 1, 1),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_rules_hold_in_every_reachable_state(name: str) -> None:
    job, world, faults, failures = JOBS[name]
    found = explored(job, world, faults=faults + MORE_FAULTS, failures=failures)
    print(f"\n{name}: {found.states:,} states, {found.transitions:,} transitions, {len(found.ends):,} ends")
    assert {status(job, end).status for end in found.ends} >= {model.SUCCEEDED}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_model_finds_what_is_wrong_with_a_mutant(mutant: Mutant) -> None:
    job = Job(mutant.batches, 1, mutant.hook, mutant.max_receive_count, mutant.code)
    with pytest.raises(Violation) as found:
        explored(job, mutant.world, faults=mutant.faults, failures=mutant.failures)
    assert found.value.rule == mutant.rule


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_job_and_the_world_of_a_mutant_break_nothing_by_themselves(mutant: Mutant) -> None:
    """Else the mutant would prove nothing."""
    job = Job(mutant.batches, 1, mutant.hook, mutant.max_receive_count)
    explored(job, mutant.world, faults=min(mutant.faults, 1), failures=mutant.failures)


def test_no_fault_means_no_repetition() -> None:
    """Without faults the job takes one way to its end but for the order of things, and everybody ends well."""
    found = explored(Job(2, 2, hook=True), World(depth_lags=False), faults=0, failures=0)
    assert {(status(Job(2, 2, hook=True), end).status, end.posts) for end in found.ends} == {(model.SUCCEEDED, 1)}


def counting(most: int, *, trap: bool) -> Exploration[int]:
    """A model that counts up to `most`, and with a fault may fall into a trap at 3, from which only a fault leads out."""

    def steps(state: int) -> Iterator[Step[int]]:
        if state < 0:
            yield Step("turn", -1 if state == -2 else -2)
            yield Step("climb out", 0, fault=True)
        elif state < most:
            yield Step("count", state + 1)
        if trap and state == 3:
            yield Step("fall", -1, fault=True)

    return explore(0, steps, lambda state, is_end: "an odd end" if is_end and state % 2 else "", most_states=100)


def test_the_explorer_counts_states_transitions_and_ends() -> None:
    assert counting(4, trap=False) == Exploration(5, 4, [4])


def test_the_explorer_shows_the_way_to_a_broken_rule() -> None:
    with pytest.raises(Violation) as found:
        counting(5, trap=False)
    assert (found.value.rule, found.value.path) == ("an odd end", ["count"] * 5)


def test_the_explorer_finds_states_from_which_no_end_can_be_reached() -> None:
    with pytest.raises(Violation) as found:
        counting(4, trap=True)
    assert (found.value.rule, found.value.path) == ("an end can be reached from everywhere", ["count"] * 3 + ["fall"])


def test_the_explorer_refuses_a_model_that_is_too_large() -> None:
    with pytest.raises(RuntimeError, match="more than 100 states"):
        counting(1000, trap=False)
