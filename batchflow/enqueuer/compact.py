"""Drops the white space of a JSON text, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["compact", "compact_of"]

_SPACES: Final = b" \t\r\n"


def compact(text: bytes) -> bytes:
    """A valid JSON text without the white space outside of its strings; all else stays as written, numbers above all."""
    if not (b" " in text or b"\n" in text or b"\r" in text or b"\t" in text):
        return text
    # A valid text has no control characters, so they can stand for the two escapes that hide where a string ends.
    escapes = b"\\" in text
    if escapes:
        text = text.replace(b"\\\\", b"\x00").replace(b'\\"', b"\x01")
    parts = text.split(b'"')  # even ones are outside of strings
    parts[::2] = b'"'.join(parts[::2]).translate(None, _SPACES).split(b'"')
    text = b'"'.join(parts)
    return text.replace(b"\x01", b'\\"').replace(b"\x00", b"\\\\") if escapes else text


def compact_of(text: bytes, value: Any) -> bytes:
    """As `compact(text)`, at twice the speed where orjson writes the text's value as the text does.

    That it does so is known if both are the same but for white space; what is left of it in orjson's is in strings.
    """
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        return compact(text)
    if written == text or written.translate(None, _SPACES) == text.translate(None, _SPACES):
        return written
    return compact(text)
