"""The project's `.env`: lines `VARIABLE=value` as a POSIX shell would assign them, which is how Cortex read the file.

Quotes, escapes, comments, an optional `export`, and `$NAME` or `${NAME}` outside single quotes. A shell's other expansions are
refused rather than passed on as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .reasons import StartError

__all__ = ["parse"]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_PIECE = re.compile(
    r"""'(?P<single>[^']*)'
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | (?P<bare>(?:[^\s'"\\]|\\.)+)""",
    re.VERBOSE | re.DOTALL,
)
_END = re.compile(r"[ \t\r]*(?:[ \t]#[^\n]*)?(?:\n|\Z)")
_BARE_SPECIAL = re.compile(r"\\(?P<escaped>.)|\$(?P<plain>\w+)|\$\{(?P<braced>\w+)\}|(?P<shell>\$[({]|[`;&|<>()]|\A~)", re.DOTALL)
_DOUBLE_SPECIAL = re.compile(r"\\(?P<escaped>[$`\"\\\n])|\$(?P<plain>\w+)|\$\{(?P<braced>\w+)\}|(?P<shell>\$[({]|`)", re.DOTALL)
_RESERVED = ("CORTEX_", "BATCHFLOW_")


def parse(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the file sets; `$NAME` is looked up in those above it, then in `environ`, else empty.

    Raises StartError naming the line.
    """
    found: dict[str, str] = {}
    position = _skip_blank(text, 0)
    while position < len(text):
        where = f".env:{text.count(chr(10), 0, position) + 1}"
        name = _NAME.match(text, position)
        if not name:
            raise StartError(f"{where}: not of the form VARIABLE=value")
        if name.group(1).startswith(_RESERVED):
            raise StartError(f"{where}: {name.group(1)}: names that start with CORTEX_ or BATCHFLOW_ are reserved")
        value, position = _value(text, name.end(), {**environ, **found}, where)
        found[name.group(1)] = value
        position = _skip_blank(text, position)
    return found


def _skip_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def _value(text: str, position: int, known: Mapping[str, str], where: str) -> tuple[str, int]:
    value = ""
    while True:
        piece = _PIECE.match(text, position)
        if not piece:
            break
        position = piece.end()
        if piece.lastgroup == "single":
            value += piece.group("single")
        else:
            special = _DOUBLE_SPECIAL if piece.lastgroup == "double" else _BARE_SPECIAL
            value += _expand(piece.group(piece.lastgroup or 0), special, known, where)
    end = _END.match(text, position)
    if not end:
        raise StartError(f"{where}: a value with spaces or quotes in it must be quoted as a whole")
    return value, end.end()


def _expand(text: str, special: re.Pattern[str], known: Mapping[str, str], where: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match.group("shell"):
            raise StartError(f'{where}: "{match.group("shell")}" would be run by a shell; quote it with single quotes')
        if match.group("escaped") is not None:
            return "" if match.group("escaped") == "\n" else str(match.group("escaped"))
        return known.get(match.group("plain") or match.group("braced"), "")

    return special.sub(replace, text)
