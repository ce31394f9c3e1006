"""Plain values: what bounds them, and what an unquoted word of YAML means.

YAML 1.1, with JSON's numbers (1e-3) and without its base 60 (12:30), as Cortex read it.
"""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["INTEGERS", "MAX_DEPTH", "Keys", "plain_scalar"]

Keys = tuple[str | int, ...]  # the way to a field: a map's key or a list's index at each level

# What orjson can write.
INTEGERS: Final = range(-(2**63), 2**64)
# Its recursion limit is 254, and what we write wraps what we read.
MAX_DEPTH: Final = 100
_LONGEST_INTEGER: Final = 70  # 64 binary digits, a sign, 0b, and some underscores
_TRUE: Final = ("yes", "true", "on")
_PLAIN: Final = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<bool>yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)"
    r"|(?P<int>[-+]?(?:0b_*[01][01_]*|0o?_*[0-7][0-7_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|0|[1-9][0-9_]*))"
    r"|(?P<float>[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))"
    r"|(?P<timestamp>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?)?)"
)


def plain_scalar(text: str) -> tuple[str, str | int | float | bool | None]:
    """The type, in YAML's words, and the value; ValueError with the reason if JSON doesn't have such a value."""
    match = _PLAIN.fullmatch(text)
    kind = match.lastgroup if match else None
    if kind is None:
        return "str", text
    if kind == "null":
        return kind, None
    if kind == "bool":
        return kind, text.lower() in _TRUE
    if kind == "int":
        return kind, _integer(text.replace("_", ""))
    if kind == "float":
        return kind, _float(text.replace("_", ""))
    raise ValueError(f"{text} is a date, which JSON doesn't have")


def _integer(text: str) -> int:
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", text)
    if len(text) <= _LONGEST_INTEGER:
        number = int(octal[1] + octal[2], 8) if octal else int(text, 0)
        if number in INTEGERS:
            return number
    raise ValueError("the integer has more than 64 bits")


def _float(text: str) -> float:
    number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    if not math.isfinite(number):
        raise ValueError(f"{text} is a number that JSON doesn't have")
    return number
