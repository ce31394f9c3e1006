"""Cortex's exceptions, with what the gateway said."""

from __future__ import annotations

__all__ = ["CortexBinaryException", "CortexException", "NotFound"]


class CortexException(Exception):
    """Base of them all. `kind` is the gateway's error code (`resources.api_not_deployed`, say), or `error`."""

    def __init__(self, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind


class CortexBinaryException(CortexException):
    """The gateway refused, or did not answer; Cortex's client raised this one when its command line failed."""


class NotFound(CortexException):
    """There is no such environment."""
