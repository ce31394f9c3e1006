"""An exception as one line, for the batch's outcome or the worker's failure."""

from __future__ import annotations

import os
import traceback
from types import FrameType, TracebackType

__all__ = ["StartError", "batch_reason", "clip", "describe", "format_error", "format_stack", "frame_location", "start_reason"]

# What the dequeuer keeps of a reason (DESIGN.md section 6: an attribute of a message in the DLQ).
MAX_REASON_BYTES = 1024
_HERE = os.path.dirname(os.path.realpath(__file__))


class StartError(Exception):
    """The handler can't be started, for a reason that its text says whole; a traceback would not help."""


def batch_reason(error: BaseException, project: str) -> str:
    """`ValueError: bad pixel (handler.py:31)`: the innermost line of the user's own code; at most 1 KiB."""
    where = _location(error, project)
    suffix = f" ({where})" if where else ""
    return clip(describe(error), MAX_REASON_BYTES - len(suffix.encode())) + suffix


def start_reason(error: BaseException, project: str) -> str:
    """`handler.py:3: ModuleNotFoundError: No module named 'x'`; a StartError's own text."""
    if isinstance(error, StartError):
        return clip(str(error))
    where = _location(error, project)
    return clip(f"{where}: {describe(error)}" if where else describe(error))


def describe(error: BaseException) -> str:
    """`ValueError: bad pixel`."""
    name = type(error).__qualname__
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # a user's __str__ may raise anything
        text = "(its text can't be had)"
    return f"{name}: {text}" if text else name


def clip(text: str, limit_bytes: int = MAX_REASON_BYTES) -> str:
    """One line of at most that many bytes of UTF-8."""
    data = " ".join(text.split()).encode("utf-8", "backslashreplace")
    return data[:limit_bytes].decode("utf-8", "ignore")


def format_error(error: BaseException) -> str:
    """The traceback as Python prints it, without the runtime's own frames at its top."""
    frames = error.__traceback__
    while frames and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def format_stack(frame: FrameType | None) -> str:
    """Where a thread is, outermost call first, without the runtime's own frames."""
    calls = traceback.extract_stack(frame) if frame else []
    ours = [number for number, call in enumerate(calls) if _is_ours(call.filename)]
    return "".join(traceback.format_list(calls[ours[-1] + 1 :] if ours else calls))


def frame_location(frame: FrameType | None, project: str) -> str:
    """`handler.py:12`: the innermost line of the user's own code among the callers of `frame`, else `frame` itself."""
    innermost = frame
    while frame:
        if _inside(frame.f_code.co_filename, project):
            return f"{os.path.relpath(os.path.realpath(frame.f_code.co_filename), project)}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{os.path.basename(innermost.f_code.co_filename)}:{innermost.f_lineno}" if innermost else ""


def _location(error: BaseException, project: str) -> str:
    if isinstance(error, SyntaxError) and error.filename and _inside(error.filename, project):
        return f"{os.path.relpath(os.path.realpath(error.filename), project)}:{error.lineno}"
    where = ""
    frames: TracebackType | None = error.__traceback__
    while frames:
        if _inside(frames.tb_frame.f_code.co_filename, project):
            where = f"{os.path.relpath(os.path.realpath(frames.tb_frame.f_code.co_filename), project)}:{frames.tb_lineno}"
        frames = frames.tb_next
    return where


def _is_ours(path: str) -> bool:
    return os.path.dirname(os.path.realpath(path)) == _HERE or path.startswith("<frozen importlib")


def _inside(path: str, project: str) -> bool:
    return os.path.realpath(path).startswith(project + os.sep)
