"""Every error that batchflow raises for a reader; an error's text is one line: what, where, and what to do next.

BatchflowError
├── InvalidInput      a file, flag or submission can't be used             CLI exit 2, step exit 64
│   ├── Conflict      the name or id is taken by something else            CLI exit 2
│   └── SeveralErrors what is wrong with a file, in several places         CLI exit 2
├── NotFound          no such api, job or file                             CLI exit 3
├── Unreachable       cluster, store, queue or handler does not answer     CLI exit 4, step exit 75
│   └── HandlerDown   the user's server never got ready, or went away      step exit 69
└── Internal          batchflow broke one of its own rules; please report
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BatchflowError", "Conflict", "HandlerDown", "Internal", "InvalidInput", "NotFound", "SeveralErrors", "Unreachable"]


class BatchflowError(Exception):
    """Base of every error that is meant for a reader.

    Attributes:
        what: what is wrong, without its place.
        where: file, line and field, or an address; empty when there is none.
        hint: what to do next; empty when `what` says it.
        kind: Cortex's error code (spec/cortex.md section 4), for the HTTP API.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", kind: str = "error") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        self.kind = kind
        super().__init__(what, where, hint, kind)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.hint}" if self.hint else text
        return " ".join(text.split())


class InvalidInput(BatchflowError):
    """What the user gave can't be used; nothing was created."""


class Conflict(InvalidInput):
    """The name or id is taken by something else."""


class SeveralErrors(InvalidInput):
    """What is wrong with a file, in several places.

    Attributes:
        errors: each with its own place.
    """

    def __init__(self, errors: Sequence[InvalidInput], *, where: str = "") -> None:
        self.errors = tuple(errors)
        numbered = "; ".join(f"({number}) {error}" for number, error in enumerate(errors, 1))
        super().__init__(f"{len(errors)} errors: {numbered}", where=where)


class NotFound(BatchflowError):
    """No such api, job or file."""


class Unreachable(BatchflowError):
    """A service does not answer, or refuses us; trying again later may help."""


class HandlerDown(Unreachable):
    """The user's server never got ready, or went away for good."""


class Internal(BatchflowError):
    """batchflow broke one of its own rules."""
