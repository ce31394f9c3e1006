"""Patterns of a .cortexignore, which are .gitignore's: https://git-scm.com/docs/gitignore#_pattern_format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern
from typing import NamedTuple

__all__ = ["Ignored"]


class _Rule(NamedTuple):
    pattern: Pattern[str]
    only_folders: bool
    ignores: bool  # False: a pattern with "!", which takes back what an earlier one says


class Ignored:
    """Asked for each path below the root, folders before what is in them; what is below an ignored folder is ignored too."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for rule in map(_rule, lines) if rule]

    def __contains__(self, path: str) -> bool:
        """Whether a path is ignored: relative to the root, a folder's with "/" at its end."""
        is_folder = path.endswith("/")
        for rule in reversed(self._rules):  # the last one that matches decides
            if (is_folder or not rule.only_folders) and rule.pattern.fullmatch(path[:-1] if is_folder else path):
                return rule.ignores
        return False


def _rule(line: str) -> _Rule | None:
    text = line.rstrip("\r\n")
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    if not text or text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text if ignores else text[1:]
    only_folders = text.endswith("/")
    text = text[:-1] if only_folders else text
    if not text:
        return None
    regex = _regex(text[1:] if text.startswith("/") else text)
    if "/" not in text:  # then it is a name, in whatever folder
        regex = f"(?:.+/)?{regex}"
    return _Rule(re.compile(regex, re.DOTALL), only_folders, ignores)


def _regex(text: str) -> str:
    parts = []
    position = 0
    while position < len(text):
        rest = text[position:]
        if rest.startswith("**/") and (position == 0 or text[position - 1] == "/"):
            parts.append("(?:.+/)?")
            position += 3
        elif rest == "**" and position and text[position - 1] == "/":
            parts.append(".+")
            position += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            position += 1
        elif rest[0] == "?":
            parts.append("[^/]")
            position += 1
        elif rest[0] == "\\" and len(rest) > 1:
            parts.append(re.escape(rest[1]))
            position += 2
        else:
            found = re.match(r"\[([!^]?)(\][^\]]*|[^\]]+)\]", rest)
            parts.append(_class(found[1], found[2]) if found else re.escape(rest[0]))
            position += found.end() if found else 1
    return "".join(parts)


def _class(negated: str, characters: str) -> str:
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", characters)
    return f"(?!/)[{'^' if negated else ''}{inside}]"
