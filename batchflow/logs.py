"""Logging of our own steps: one line an event to stderr, a constant message plus `extra` fields as `key=value`."""

from __future__ import annotations

import logging
import sys
from typing import Final

__all__ = ["setup"]

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        extra = " ".join(f"{k}={v}" for k, v in record.__dict__.items() if k not in _STANDARD)
        return f"{text} {extra}" if extra else text


def setup(level: str) -> None:
    """Send `batchflow.*` of at least `level` (debug, info, warning, error) to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("batchflow")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
