"""Which handlings of batches there were, and why some were one too many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.faults.evidence import Evidence, Hit, Note

__all__ = ["Handling", "handlings", "repeats"]

# The first that hit between a handling and its repetition explains it.
REASONS: Final = {
    "twice": "delivered twice",
    "stale": "delivered twice",
    "kill": "killed before its message was deleted",
    "pause": "paused for longer than its visibility",
    "fill": "the disk was full",
}
NETWORK_REASON: Final = "queue or store did not answer"
UNEXPLAINED: Final = "unexplained"
EARLIER_S: Final = 2.0  # a fault may have taken effect on what was received, but not begun


@dataclass(frozen=True)
class Handling:
    """One handling of a batch; `end` is None if it was cut off."""

    began: Note
    end: Note | None

    @property
    def ended(self) -> bool:
        return self.end is not None and self.end.event == "ended"

    @property
    def raised(self) -> bool:
        return self.end is not None and self.end.event == "raised"

    @property
    def seconds(self) -> float:
        return self.end.at - self.began.at if self.end else 0.0


def handlings(log: Iterable[Note]) -> dict[int, list[Handling]]:
    """Of each batch, in the order in which they began."""
    found: dict[int, list[Handling]] = defaultdict(list)
    for note in log:
        if note.batch is None:
            continue
        if note.event == "began":
            found[note.batch].append(Handling(note, None))
            continue
        # A process has a batch once at a time; should it have it twice, it does not matter which of the two ends.
        place = next(i for i, one in enumerate(found[note.batch]) if one.end is None and one.began.by == note.by)
        found[note.batch][place] = Handling(found[note.batch][place].began, note)
    return found


def repeats(evidence: Evidence, handled: Mapping[int, Sequence[Handling]], attempts: Mapping[int, int]) -> dict[str, int]:
    """How many handlings there were beyond the attempts that the records tell of, by the reason."""
    reasons: Counter[str] = Counter()
    for index, all_of_it in handled.items():
        extra = len(all_of_it) - attempts.get(index, 1)
        found = [(_reason(evidence.hits, first, second), first.raised) for first, second in pairwise(all_of_it)]
        # Nothing tells a repetition from a next attempt: a fault in between makes it one; behind one that raised comes rather an attempt.
        found.sort(key=lambda pair: (pair[0] == UNEXPLAINED, pair[1]))
        reasons.update(reason for reason, _ in found[: max(0, extra)])
    return dict(reasons)


def _reason(hits: Iterable[Hit], first: Handling, second: Handling) -> str:
    between = [hit for hit in hits if hit.at is not None and hit.at <= second.began.at and hit.until >= first.began.at - EARLIER_S]
    for kind, reason in REASONS.items():
        if any(hit.fault.kind == kind for hit in between):
            return reason
    return NETWORK_REASON if between else UNEXPLAINED
