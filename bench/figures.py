"""Figures, what they are to reach, and how they are printed: a table for people, JSON lines for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Absent", "AtLeast", "AtMost", "Figure", "Row", "Span", "compared", "json_lines", "ratios", "table"]

HEADER = ("", "what", "median", "spread", "reach", "", "")


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A reach: the value must not be below `limit`."""

    limit: float

    def met(self, value: float) -> bool:
        return value >= self.limit

    def __str__(self) -> str:
        return f"≥ {self.limit:g}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A reach: the value must not be above `limit`."""

    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit

    def __str__(self) -> str:
        return f"≤ {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: `values` is one for each round; their median is held against `reach` (None: only printed)."""

    what: str
    values: Sequence[float]
    unit: str
    reach: AtLeast | AtMost | None = None
    sides: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        return self.reach is not None and not self.reach.met(self.median)

    @property
    def cells(self) -> tuple[str, ...]:
        """Of its line, without the family."""
        spread = f"{min(self.values):.4g}–{max(self.values):.4g}" if len(self.values) > 1 else ""
        met = "" if self.reach is None else "missed" if self.missed else "met"
        return self.what, f"{self.median:.4g} {self.unit}", spread, str(self.reach or ""), met, self.sides

    @property
    def document(self) -> dict[str, Any]:
        """As JSON, without the family."""
        return {
            "what": self.what,
            "median": self.median,
            "unit": self.unit,
            "values": list(self.values),
            "reach": None if self.reach is None else str(self.reach),
            "met": None if self.reach is None else not self.missed,
            "sides": self.sides,
        }


@dataclass(frozen=True, slots=True)
class Absent:
    """A line of the table for what was not measured, and why."""

    what: str
    why: str
    reach: AtLeast | AtMost | None = None
    missed: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        return self.what, "–", "", str(self.reach or ""), "", self.why

    @property
    def document(self) -> dict[str, Any]:
        return {"what": self.what, "absent": self.why, "reach": None if self.reach is None else str(self.reach)}


Row = Figure | Absent


@dataclass(frozen=True, slots=True)
class Span:
    """What one side did: `count` batches or requests, from its first call to the last confirmed one, on the clock that processes share."""

    count: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        return self.count / (self.last - self.first)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Of each round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def compared(
    what: str, ours: Sequence[Span], theirs: Sequence[Span], reach: AtLeast | AtMost | None = None, *, unit: str = "batches/s"
) -> Figure:
    """How many times their batches a second ours are; `unit` says what a span counts if not batches."""
    own, other = [span.rate for span in ours], [span.rate for span in theirs]
    sides = f"{statistics.median(own):,.0f} against {statistics.median(other):,.0f} {unit}"
    return Figure(what, ratios(own, other), "×", reach, sides)


def table(rows: Iterable[tuple[str, Row]]) -> str:
    """The rows, each with the name of its family, which is shown once."""
    lines: list[tuple[str, ...]] = [HEADER]
    shown = ""
    for family, row in rows:
        lines.append(("" if family == shown else family, *row.cells))
        shown = family
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def json_lines(rows: Iterable[tuple[str, Row]]) -> str:
    return "".join(json.dumps({"family": family, **row.document}, ensure_ascii=False) + "\n" for family, row in rows)
