"""Which batches have an outcome: duplicates count once, any success wins, memory is a few bytes a batch."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from batchflow.records import SUCCEEDED, Outcome

__all__ = ["Accounting"]

_NONE: Final = 0
_FAILED: Final = 1
_SUCCEEDED: Final = 2


class Accounting:
    """Adds up the outcomes of `total` batches; outcomes of other indexes are ignored.

    Attributes:
        succeeded: batches with a success.
        failed: batches whose every outcome is a failure.
        failed_attempts: what the seed's `batch_metrics.failed` counts; a batch's largest number, if it has several outcomes.
        seconds: summed time of the successes that were counted.
    """

    def __init__(self, total: int, outcomes: Iterable[Outcome] = ()) -> None:
        self.total = total
        self.succeeded = 0
        self.failed = 0
        self.failed_attempts = 0
        self.seconds = 0.0
        self._state = bytearray(total)
        self._failed_attempts = array("H", bytes(2 * total))
        for outcome in outcomes:
            self.add(outcome)

    def add(self, outcome: Outcome) -> None:
        index = outcome.index
        if not 0 <= index < self.total:
            return
        failures = min(outcome.failed_attempts, 65_535)
        if failures > self._failed_attempts[index]:
            self.failed_attempts += failures - self._failed_attempts[index]
            self._failed_attempts[index] = failures
        if outcome.outcome == SUCCEEDED and self._state[index] != _SUCCEEDED:
            self.failed -= self._state[index] == _FAILED
            self.succeeded += 1
            self.seconds += outcome.seconds
            self._state[index] = _SUCCEEDED
        elif self._state[index] == _NONE:
            self.failed += 1
            self._state[index] = _FAILED

    def has_outcome(self, index: int) -> bool:
        return self._state[index] != _NONE

    @property
    def missing(self) -> int:
        """Batches without an outcome."""
        return self.total - self.succeeded - self.failed

    def failed_indexes(self) -> Iterator[int]:
        return (index for index, state in enumerate(self._state) if state == _FAILED)
