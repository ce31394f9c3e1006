"""Cortex's logger: `from cortex_internal.lib.log import logger`.

One JSON object a line on stdout: asctime, levelname, message, process, then each key of `extra`, then exc_info for a traceback and
stack_info for a stack.
Source: seeds/000 and spec/cortex.md section 2, Logging.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["logger"]

# Cortex's limit: longer lines are dropped.
_MAX_LINE_BYTES = 5_000_000
_RESERVED = ("asctime", "levelname", "message", "labels", "process")


class _Logger(logging.Logger):
    """Keeps `extra` apart, so that no key of it can clash with, or replace, what a record has by itself."""

    def makeRecord(
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        record = super().makeRecord(name, level, fn, lno, msg, args, exc_info, func, None, sinfo)
        record.fields = {key: value for key, value in (extra or {}).items() if key not in _RESERVED}
        return record


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "process": record.process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=_text)


def _text(value: object) -> str:
    """Of what JSON has no form for: times by ISO 8601, as Cortex wrote them."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if len(line) <= _MAX_LINE_BYTES:  # it is ASCII: json escapes the rest
                # The runtime's stdout labels the lines of a batch; a record goes past that, and stays whole.
                write_record = getattr(getattr(sys.stdout, "buffer", None), "write_record", None)
                write_record(line) if write_record else print(line, flush=True)
        except Exception:
            self.handleError(record)


def _build() -> logging.Logger:
    handler = _LineHandler()
    handler.setFormatter(_JsonFormatter())
    built = _Logger("cortex", os.environ.get("CORTEX_LOG_LEVEL", "INFO"))
    built.addHandler(handler)
    return built


logger = _build()
