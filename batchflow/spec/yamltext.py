"""YAML text → plain JSON values, and the line of any field in it.

Built on the parser's events, not on its trees: values cost little memory, nesting and aliases are bounded before they can do harm, and
no tag makes anything but a plain value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from batchflow.errors import InvalidInput
from batchflow.spec.scalars import MAX_DEPTH, Keys, plain_scalar

__all__ = ["line_of", "parse_yaml"]

# What a file's aliases may stand for in all ("billion laughs"): its characters, and one more for each value.
_MAX_ALIASED: Final = 1_000_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODE_EVENTS: Final = (NodeEvent, CollectionEndEvent)
_TAG: Final = "tag:yaml.org,2002:"


def parse_yaml(text: str, name: str) -> Any:
    """The one document in the text, as None, bool, int, float, str, list and dict; shared where an alias shared it.

    Raises:
        InvalidInput: naming file, line and column: not YAML, empty, several documents, a key twice, a key that is no string, a value
            that JSON doesn't have, nesting or aliases beyond bounds.
    """
    try:
        return _Builder(text, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        hint = "indent with spaces, not tabs" if mark and _is_tab(text, mark.line, mark.column) else ""
        raise InvalidInput(f"is not valid YAML: {error.problem or error.context}", where=where, hint=hint) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"is not valid YAML: {_reader_problem(error)}", where=f"{name}{_reader_place(text)}") from error


def line_of(text: str, keys: Keys) -> int:
    """The line, from 1, of the field at `keys`, or of the nearest thing around it; 0 if the text can't be read that far."""
    line = 0
    try:
        events = _events(text)
        event = next(events, None)
        while event is not None and keys:
            line = line or _line(event)
            found = _step(events, event, keys[0])
            if found is None:
                return line
            line, event = found
            keys = keys[1:]
        return line if line or event is None else _line(event)
    except yaml.YAMLError:
        return line


def _step(events: Iterator[Event], start: Event, key: str | int) -> tuple[int, Event] | None:
    """One level down: the line of the key (of the element, in a list), and the event that begins its value."""
    if not isinstance(start, CollectionStartEvent):
        return None
    for index, event in enumerate(events):
        if isinstance(event, CollectionEndEvent):
            return None
        line = _line(event)
        if isinstance(start, MappingStartEvent):
            found = isinstance(event, ScalarEvent) and event.value == key
            _skip(events, event)
            event = next(events)
        else:
            found = index == key
        if found:
            return line, event
        _skip(events, event)
    return None


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _skip(events: Iterator[Event], event: Event) -> None:
    depth = int(isinstance(event, CollectionStartEvent))
    while depth:
        event = next(events)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)


def _events(text: str) -> Iterator[Event]:
    """Those of nodes, and the start of each further document."""
    documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, _NODE_EVENTS):
            yield event
        elif isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                yield event


def _is_tab(text: str, line: int, column: int) -> bool:
    lines = text.splitlines()
    return line < len(lines) and lines[line][column : column + 1] == "\t"


def _reader_problem(error: yaml.YAMLError) -> str:
    character = getattr(error, "character", None)
    return f"the character {character:#x} is not allowed" if isinstance(character, int) else "a character is not allowed"


def _reader_place(text: str) -> str:
    """The parser gives no usable position for a forbidden character, so look for it."""
    match = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if match is None:
        return ""
    before = text[: match.start()]
    return f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


class _Builder:
    """One pass over the events."""

    def __init__(self, text: str, name: str) -> None:
        self._events = _events(text)
        self._name = name
        self._anchors: dict[str, tuple[Any, int]] = {}  # value and size, counted as for _MAX_ALIASED
        self._built = 0
        self._aliased = 0

    def document(self) -> Any:
        first = next(self._events, None)
        if first is None:
            raise InvalidInput("is empty", where=self._name)
        value = self._value(first, MAX_DEPTH)
        for event in self._events:
            raise self._error(event, "a second document begins here", "one file holds one document")
        return value

    def _error(self, event: Event, what: str, hint: str = "") -> InvalidInput:
        column = event.start_mark.column + 1 if event.start_mark else 0
        return InvalidInput(what, where=f"{self._name}:{_line(event)}:{column}", hint=hint)

    def _value(self, event: Event, depth: int) -> Any:
        if depth == 0:
            raise self._error(event, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        before = self._built
        self._built += 1
        value: Any = None
        if isinstance(event, ScalarEvent):
            self._built += len(event.value)
            value = self._scalar(event)
        elif isinstance(event, MappingStartEvent):
            self._refuse_tag(event, "map")
            value = self._mapping(depth)
        elif isinstance(event, SequenceStartEvent):
            self._refuse_tag(event, "seq")
            value = self._sequence(depth)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = value, self._built - before
        return value

    def _sequence(self, depth: int) -> list[Any]:
        sequence = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            sequence.append(self._value(event, depth - 1))
        return sequence

    def _alias(self, event: AliasEvent, depth: int) -> Any:
        if event.anchor not in self._anchors:
            raise self._error(event, f"*{event.anchor} is not defined above", f"mark a value with &{event.anchor} first")
        value, size = self._anchors[event.anchor]
        self._built += size
        self._aliased += size
        if self._aliased > _MAX_ALIASED:
            raise self._error(event, f"aliases stand for more than {_MAX_ALIASED} characters", "put the data into files instead")
        if _height(value) > depth:
            raise self._error(event, f"is nested deeper than {MAX_DEPTH} levels")
        return value

    def _mapping(self, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] | None = None
        while not isinstance(event := next(self._events), MappingEndEvent):
            if self._is_merge(event):
                if merged is not None:
                    raise self._error(event, 'key "<<" is there twice')
                merged = self._merged(event, depth)
                continue
            key = self._value(event, depth - 1)
            if not isinstance(key, str):
                written = event.value if isinstance(event, ScalarEvent) else "a list or map"
                raise self._error(event, f"the key {written} is not a string", "put it in quotes")
            if key in mapping:
                raise self._error(event, f'key "{key}" is there twice')
            mapping[key] = self._value(next(self._events), depth - 1)
        return mapping if merged is None else {**merged, **mapping}

    def _is_merge(self, event: Event) -> bool:
        return isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]

    def _merged(self, event: Event, depth: int) -> dict[str, Any]:
        """The value of `<<`: of several maps, the first that has a key wins."""
        value = self._value(next(self._events), depth - 1)
        others = value if isinstance(value, list) else [value]
        if not all(isinstance(other, dict) for other in others):
            raise self._error(event, "<< takes a map or a list of maps")
        return {key: item for other in reversed(others) for key, item in other.items()}

    def _refuse_tag(self, event: CollectionStartEvent, allowed: str) -> None:
        if event.tag not in (None, "!", _TAG + allowed):
            raise self._error(event, f"the tag {event.tag} is not supported", "use plain values only")

    def _scalar(self, event: ScalarEvent) -> Any:
        if event.tag in ("!", _TAG + "str") or (event.tag is None and not event.implicit[0]):
            return event.value
        try:
            kind, value = plain_scalar(event.value)
        except ValueError as error:
            raise self._error(event, str(error), "put it in quotes") from error
        if event.tag not in (None, f"{_TAG}{kind}"):
            raise self._error(event, f"{event.value} with the tag {event.tag} is not supported", "use plain values only")
        return value


def _height(value: Any) -> int:
    if isinstance(value, list | dict):
        return 1 + max(map(_height, value.values() if isinstance(value, dict) else value), default=0)
    return 1
