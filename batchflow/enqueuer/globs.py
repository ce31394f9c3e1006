"""Globs as Cortex took them: gobwas/glob 0.2.3 with the separator `/` (spec/cortex.md section 5), translated to `re`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from batchflow.errors import InvalidInput

__all__ = ["compile_glob"]

_BREAKERS: Final = frozenset("?*[{")  # what ends a literal text outside of braces
_NESTED_BREAKERS: Final = _BREAKERS | frozenset("},")  # and inside of them


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Wild:
    """`*` (a run without `/`), `**` (any run) or `?` (one character but `/`)."""

    token: str


@dataclass(frozen=True, slots=True)
class _Class:
    """`[abc]` or `[a-c]`, as the inside of a regular expression's class; it may match `/`."""

    inside: str
    negated: bool


@dataclass(frozen=True, slots=True)
class _AnyOf:
    """`{a,b}`."""

    alternatives: list[list[_Node]]


_Node = _Text | _Wild | _Class | _AnyOf


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """A predicate that tells whether a whole string matches; raises InvalidInput with the reason if the pattern is none."""
    match = re.compile(_sequence(_Parser(pattern).parse()), re.DOTALL).fullmatch
    return lambda text: match(text) is not None


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def parse(self) -> list[_Node]:
        return self._nodes(nested=False)

    def _nodes(self, *, nested: bool) -> list[_Node]:
        """The nodes up to the pattern's end or, if `nested`, up to an alternative's."""
        nodes: list[_Node] = []
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if nested and char in ",}":
                break
            if char == "*":
                nodes.append(_Wild("**" if self._skip("**") or not self._skip("*") else "*"))
            elif self._skip("?"):
                nodes.append(_Wild("?"))
            elif self._skip("["):
                nodes.append(self._class())
            elif self._skip("{"):
                nodes.append(self._alternatives())
            elif text := self._text(_NESTED_BREAKERS if nested else _BREAKERS):
                nodes.append(_Text(text))
        return nodes

    def _skip(self, token: str) -> bool:
        found = self.pattern.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def _text(self, breakers: frozenset[str]) -> str:
        """Literal text up to a breaker, without the backslash that takes a character's meaning away."""
        text = ""
        while self.at < len(self.pattern) and self.pattern[self.at] not in breakers:
            self._skip("\\")
            text += self.pattern[self.at : self.at + 1]
            self.at += 1
        return text

    def _alternatives(self) -> _AnyOf:
        """What follows `{`; a missing `}` at the pattern's end is tolerated, as it was."""
        alternatives = [self._nodes(nested=True)]
        while self._skip(","):
            alternatives.append(self._nodes(nested=True))
        self._skip("}")
        return _AnyOf(alternatives)

    def _class(self) -> _Node:
        """What follows `[`: one range or a list of characters (in which `-` is one of them), never both."""
        negated = self._skip("!")
        low = self.pattern[self.at : self.at + 1]
        if low and self.pattern.startswith("-", self.at + 1):
            high = self.pattern[self.at + 2 : self.at + 3]
            self.at += 3
            self._close()
            if high < low:
                raise InvalidInput(f'"{high}" comes before "{low}" in a character range')
            return _Class(f"{re.escape(low)}-{re.escape(high)}", negated)
        chars = self._text(frozenset("]"))
        self._close()
        if not chars:
            raise InvalidInput("an empty character class")
        if len(chars) == 1 and not negated:
            return _Text(chars)
        return _Class("".join(map(re.escape, chars)), negated)

    def _close(self) -> None:
        if not self._skip("]"):
            raise InvalidInput("a character class that is not closed", hint='write "\\[" for the character itself')


def _sequence(nodes: list[_Node]) -> str:
    match nodes:
        case [_Text(prefix), _Wild("**"), _Text(suffix)]:
            return _prefix_suffix(prefix, suffix)
    return "".join(_expression(node) for node in _merged(nodes))


def _prefix_suffix(prefix: str, suffix: str) -> str:
    """One `**` between two literals: gobwas only checks that a string begins with the one and ends with the other.

    So they may overlap: `s3://b/images/**/a.png` matches `s3://b/images/a.png`. Each way to overlap is one further string.
    """
    longest = min(len(prefix), len(suffix))
    overlaps = [prefix + suffix[n:] for n in range(1, longest + 1) if prefix[-n:] == suffix[:n]]
    return "(?:" + "|".join([f"{re.escape(prefix)}.*{re.escape(suffix)}", *map(re.escape, overlaps)]) + ")"


def _merged(nodes: list[_Node]) -> list[_Node]:
    """Runs of `*` and `**` as one: they match the same, and `re` would try all ways to share the text between them."""
    merged: list[_Node] = []
    for node in nodes:
        match merged, node:
            case [*_, _Wild("*" | "**") as last], _Wild("*" | "**"):
                merged[-1] = max(last, node, key=lambda wild: len(wild.token))
            case _:
                merged.append(node)
    return merged


def _expression(node: _Node) -> str:
    match node:
        case _Text(text):
            return re.escape(text)
        case _Wild(token):
            return {"*": "[^/]*", "**": ".*", "?": "[^/]"}[token]
        case _Class(inside, negated):
            return f"[{'^' if negated else ''}{inside}]"
        case _AnyOf(alternatives):
            return "(?:" + "|".join(map(_sequence, alternatives)) + ")"
