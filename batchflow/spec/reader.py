"""Reads what users write, YAML or JSON, and knows where each field of it is, so that an error can say so."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

from batchflow.errors import InvalidInput, NotFound
from batchflow.spec.scalars import INTEGERS, MAX_DEPTH, Keys

__all__ = ["MAX_TOLD", "Document", "Findings", "Place", "document_of", "read_document", "shown_path"]

MAX_TOLD: Final = 20  # of what is refused, and of what is warned of


def _no_lines(keys: Keys) -> int:
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A file's or a request's content: plain JSON values.

    Attributes:
        value: the content.
        name: how errors call it: a file's path, or empty for a request.
        line: the line of a field, 0 if there are none.
        message_names_fields: a field's name goes into an error's `what`, not into its `where`: Cortex's API answers so.
        ignores_unknown: unknown keys are no error.
        findings: takes what is refused and what is warned of; without it a refusal is raised at once, and nobody is warned.
    """

    value: Any
    name: str
    line: Callable[[Keys], int] = _no_lines
    message_names_fields: bool = False
    ignores_unknown: bool = False
    findings: Findings | None = None

    @property
    def place(self) -> Place:
        return Place(self)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a part of a document says that can't be honoured, gathered while it is read: the first MAX_TOLD of each sort."""

    refusals: list[tuple[Place, str, str]] = field(default_factory=list)  # where, what, hint
    warnings: list[str] = field(default_factory=list)

    def errors(self) -> list[InvalidInput]:
        """What was refused, in the order of the document's lines."""
        refusals = sorted(self.refusals, key=lambda refusal: refusal[0].line)
        return [place.error(what, hint=hint) for place, what, hint in refusals]


@dataclass(frozen=True, slots=True)
class Place:
    """A field's place in a document: the way to it, and the words for it in an error's text."""

    document: Document
    keys: Keys = ()
    labels: tuple[str, ...] = ()

    def at(self, key: str | int) -> Place:
        """One level down; Cortex calls a list's element `index <i>`."""
        label = key if isinstance(key, str) else f"index {key}"
        return Place(self.document, (*self.keys, key), (*self.labels, label))

    def called(self, *labels: str) -> Place:
        """The same place in other words."""
        return replace(self, labels=labels)

    @property
    def line(self) -> int:
        """As `Document.line`; finding it takes as long as reading the document."""
        return self.document.line(self.keys)

    def refuse(self, what: str, *, hint: str = "") -> None:
        """This field can't be honoured: an error of its own, or one of all that are told together."""
        findings = self.document.findings
        if findings is None:
            raise self.error(what, hint=hint)
        if len(findings.refusals) < MAX_TOLD:
            findings.refusals.append((self, what, hint))

    def warn(self, what: str, *, hint: str = "") -> None:
        """This field is accepted, and has not the effect that its writer may expect."""
        findings = self.document.findings
        if findings is not None and len(findings.warnings) < MAX_TOLD:
            findings.warnings.append(str(self.error(what, hint=hint)))

    def error(self, what: str, *, hint: str = "", kind: str = "error") -> InvalidInput:
        """An error about this field; finds its line, so make it only to raise it."""
        line = self.line
        file = f"{self.document.name}:{line}" if line else self.document.name
        if self.document.message_names_fields:
            return InvalidInput(": ".join((*self.labels, what)), where=file, hint=hint, kind=kind)
        return InvalidInput(what, where=": ".join(filter(None, (file, *self.labels))), hint=hint, kind=kind)


def document_of(value: Any, name: str = "", *, message_names_fields: bool = False, ignores_unknown: bool = False) -> Document:
    """A document of a value that did not come from a file; raises InvalidInput if it is not plain JSON."""
    plain = dict(value) if isinstance(value, Mapping) else value
    document = Document(plain, name, message_names_fields=message_names_fields, ignores_unknown=ignores_unknown)
    _refuse_other_than_json(document)
    return document


def read_document(path: Path) -> Document:
    """Read a file: JSON if it is named .json, else YAML.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it can't be read, or is not a document of plain JSON values.
    """
    name = shown_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound("no such file", where=name) from error
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"can't be read: {reason}", where=name) from error
    if path.suffix == ".json":
        return _json_document(text, name)
    from batchflow.spec.yamltext import line_of, parse_yaml  # who reads what is stored needs no YAML, and PyYAML takes 30 ms to import

    return Document(parse_yaml(text, name), name, line=lru_cache(lambda keys: line_of(text, keys)))


def shown_path(path: Path) -> str:
    """The path as a reader wants it: relative if it is below the current directory."""
    current = Path.cwd()
    return str(path.relative_to(current)) if path.is_absolute() and path.is_relative_to(current) else str(path)


def _json_document(text: str, name: str) -> Document:
    # JSON's parser is exact and fast but keeps no places; YAML's finds them, since JSON is YAML but for its surrogate pairs.
    as_yaml = re.sub(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", "-", text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
            error = InvalidInput(f'key "{twice}" is there twice', where=name)
            raise _twice_in_yaml(as_yaml, name) or error
        return mapping

    def constant(text: str) -> NoReturn:
        raise InvalidInput(f"{text} is a number that JSON doesn't have", where=name, hint="put it in quotes")

    if not text.strip():
        raise InvalidInput("is empty", where=name)
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not valid JSON: {error.msg}", where=f"{name}:{error.lineno}:{error.colno}") from error
    except RecursionError as error:
        raise InvalidInput(f"is nested deeper than {MAX_DEPTH} levels", where=name) from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidInput(f"is not valid JSON: {error}", where=name) from error
    document = Document(value, name, line=lru_cache(lambda keys: _line_of(as_yaml, keys)))
    _refuse_other_than_json(document)
    return document


def _line_of(text: str, keys: Keys) -> int:
    from batchflow.spec.yamltext import line_of

    return line_of(text, keys)


def _twice_in_yaml(text: str, name: str) -> InvalidInput | None:
    """The error about a key that is there twice, with its line, unless YAML's own rules fail first (such as keys of 1024 characters)."""
    from batchflow.spec.yamltext import parse_yaml

    try:
        parse_yaml(text, name)
    except InvalidInput as error:
        return error if error.what.endswith("is there twice") else None
    return None


def _refuse_other_than_json(document: Document) -> None:
    problem = _problem(document.value, MAX_DEPTH)
    if problem is not None:
        keys, what, hint = problem
        place = document.place
        for key in reversed(keys[-_MAX_LABELS:]):
            place = place.at(key)
        raise place.error(what, hint=hint)


_MAX_LABELS: Final = 20  # what is nested deeper than that is told by the keys around it

_Problem = tuple[list[str | int], str, str]  # the keys to it, innermost first; what; hint


def _problem(value: Any, depth: int) -> _Problem | None:
    """What orjson could not write, or a reader of JSON not read."""
    if depth == 0:
        return [], f"is nested deeper than {MAX_DEPTH} levels", ""
    if isinstance(value, dict):
        return _mapping_problem(value, depth)
    if isinstance(value, list):
        for index, item in enumerate(value):
            if (problem := _problem(item, depth - 1)) is not None:
                problem[0].append(index)
                return problem
        return None
    if isinstance(value, str):
        return None if _is_unicode(value) else ([], "is not valid Unicode: it holds half of a surrogate pair", "")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if value in INTEGERS else ([], "is an integer of more than 64 bits", "put it in quotes")
    if isinstance(value, float):
        return None if math.isfinite(value) else ([], f"is {value}, a number that JSON doesn't have", "put it in quotes")
    return [], f"is a {type(value).__name__}, which JSON doesn't have", "put it in quotes"


def _mapping_problem(value: dict[Any, Any], depth: int) -> _Problem | None:
    for key, item in value.items():
        if not isinstance(key, str) or not _is_unicode(key):
            return [], f"the key {key!r} is not a string of valid Unicode", "put it in quotes"
        if (problem := _problem(item, depth - 1)) is not None:
            problem[0].append(key)
            return problem
    return None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
