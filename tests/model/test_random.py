"""The real queue, store and dequeuer parts, driven at random: crashes anywhere, visibility running out, deliveries made twice.

What the exhaustive model (test_protocol.py) leaves out is here: hands of several batches, outcomes written together, suspects.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from batchflow.dequeuer.attempts import MAX_STARTS
from batchflow.records import FAILED, SUCCEEDED
from tests.model import mutants
from tests.model.real import BATCHES, WORKERS, Crash, Site, Worker

ENOUGH: Final = 400  # rounds after which the last batch must have been handled: a hang otherwise
CALLS: Final = st.none() | st.integers(0, 4)
WHICH: Final = st.integers(0, WORKERS - 1)


class Dequeuing(RuleBasedStateMachine):
    @initialize()
    def submit(self) -> None:
        self.site = Site()
        self.pods = 0
        self.workers = [self.worker(replaced=False) for _ in range(WORKERS)]
        self.left: set[int] = set()

    def worker(self, *, replaced: bool) -> Worker:
        self.pods += 1
        return Worker(self.site, f"worker-{self.pods}", replaced=replaced)

    @rule(which=WHICH, limit=st.integers(1, 3))
    def receive(self, which: int, limit: int) -> None:
        if which not in self.left:
            self.workers[which].receive(limit)

    @rule(which=WHICH, limit=st.integers(1, 3), oks=st.lists(st.booleans(), min_size=3, max_size=3), calls=CALLS)
    def work(self, which: int, limit: int, oks: list[bool], calls: int | None) -> None:
        """Receive, handle and commit, or end after so many calls."""
        worker = self.workers[which]
        if which in self.left:
            return
        worker.fuse.calls_left = calls
        try:
            worker.receive(limit)
            for ok in oks:
                if len(worker.hand):
                    worker.handle(ok)
            worker.commit()
            worker.fuse.calls_left = None
        except Crash:
            self.replace(which)

    @rule(which=WHICH)
    def beat(self, which: int) -> None:
        self.workers[which].held.extend_due()

    @rule(seconds=st.sampled_from([20, 61, 301]))
    def time_passes(self, seconds: int) -> None:
        """Less than a visibility timeout, more than that, more than the queue remembers what was sent."""
        self.site.now += seconds

    @rule()
    def delivered_twice(self) -> None:
        self.site.deliver_twice()

    @rule(which=WHICH, orderly=st.booleans())
    def lose(self, which: int, orderly: bool) -> None:
        """Killed; or told to stop in good order. Either way Argo replaces it."""
        if which not in self.left:
            if orderly:
                self.workers[which].held.give_back_all()
            self.replace(which)

    def replace(self, which: int) -> None:
        self.workers[which].close()
        self.workers[which] = self.worker(replaced=True)

    @rule(which=WHICH)
    def leave(self, which: int) -> None:
        if which not in self.left and self.workers[which].may_leave():
            self.left.add(which)

    @invariant()
    def no_batch_is_lost(self) -> None:
        accounting, waiting = self.site.accounting(), self.site.waiting(self.site.url)
        assert all(accounting.has_outcome(index) or index in waiting for index in range(BATCHES))

    @invariant()
    def outcomes_are_true(self) -> None:
        dead = self.site.waiting(self.site.dead_letters.url)
        for outcome in self.site.records.outcomes():
            if outcome.outcome == SUCCEEDED:
                assert True in self.site.handled[outcome.index]
            else:
                assert outcome.outcome == FAILED and outcome.index in dead
                assert False in self.site.handled[outcome.index] or str(MAX_STARTS) in outcome.error

    def teardown(self) -> None:
        """No more faults: whoever is left works until it may leave, and then every batch has an outcome."""
        try:
            if hasattr(self, "site"):
                self.work_to_the_end()
        finally:
            if hasattr(self, "site"):
                for worker in self.workers:
                    worker.close()
                self.site.dead_letters.close()
                self.site.folder.cleanup()

    def work_to_the_end(self) -> None:
        for _ in range(ENOUGH):
            for which in set(range(WORKERS)) - self.left:
                worker = self.workers[which]
                while len(worker.hand):
                    worker.handle(ok=True)
                worker.commit()
                if worker.may_leave():
                    self.left.add(which)
                worker.held.extend_due()
            self.site.now += 10
        assert len(self.left) == WORKERS, "a worker does not leave"
        assert self.site.accounting().missing == 0
        self.no_batch_is_lost()
        self.outcomes_are_true()


SETTINGS_OF_THE_TEST: Final = settings(
    max_examples=60, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
Dequeuing.TestCase.settings = SETTINGS_OF_THE_TEST
TestDequeuing = Dequeuing.TestCase


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("Committer", mutants.DeletesFirst),
        ("Settling", mutants.DeadLettersLast),
        ("Settling", mutants.DeletesBeforeSendingAgain),
        ("Leaving", mutants.Impatient),
    ],
)
def test_what_would_lose_a_batch_is_found(name: str, mutant: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Worker._begin_group.__globals__, name, mutant)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Dequeuing, settings=settings(SETTINGS_OF_THE_TEST, phases=[Phase.generate]))
