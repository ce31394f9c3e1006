"""Walks a document field by field: each field knows its place, so every error names file, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from batchflow.errors import InvalidInput
from batchflow.spec.reader import MAX_TOLD, Document, Place

__all__ = ["CANNOT_BE_EMPTY", "TOO_FEW", "TOO_SMALL", "Field", "Fields"]

# Cortex's error codes (spec/cortex.md section 4).
TOO_SMALL: Final = "configreader.must_be_greater_than_or_equal_to"
TOO_FEW: Final = "configreader.too_few_elements"
CANNOT_BE_EMPTY: Final = "configreader.cannot_be_empty"


@dataclass(frozen=True, slots=True)
class Field:
    """A value and its place. Each reader returns the value as the type that it names, or raises InvalidInput."""

    value: Any
    place: Place

    @property
    def key(self) -> str:
        """The key that the field is at, or its index in a list; empty for a whole document."""
        return str(self.place.keys[-1]) if self.place.keys else ""

    @classmethod
    def of(cls, document: Document) -> Field:
        """The whole document."""
        return cls(document.value, document.place)

    def error(self, what: str, *, hint: str = "", kind: str = "error") -> InvalidInput:
        return self.place.error(what, hint=hint, kind=kind)

    def string(self) -> str:
        if not isinstance(self.value, str):
            raise self._type_error("a string", hint="put it in quotes" if isinstance(self.value, bool | int | float) else "")
        if "\0" in self.value:
            raise self.error("cannot contain the character NUL")
        return self.value

    def text(self) -> str:
        """A string that is not empty."""
        if not self.string():
            raise self.error("cannot be empty", kind=CANNOT_BE_EMPTY)
        return self.string()

    def one_of(self, allowed: Sequence[str]) -> str:
        if self.string() not in allowed:
            raise self.error(f"must be {' or '.join(allowed)} (got {found(self.value)})")
        return self.string()

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self._type_error("true or false")
        return self.value

    def integer(self, *, least: int | None = None, most: int | None = None) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self._type_error("an integer")
        if least is not None and self.value < least:
            raise self.error(f"must be greater than or equal to {least} (got {self.value})", kind=TOO_SMALL)
        if most is not None and self.value > most:
            raise self.error(f"must be less than or equal to {most} (got {self.value})")
        return self.value

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._type_error("a map")
        return self.value

    def fields(self) -> Fields:
        self.mapping()
        return Fields(self)

    def elements(self, *, least: int = 0) -> list[Field]:
        return [Field(value, self.place.at(index)) for index, value in enumerate(self.sequence(least=least))]

    def sequence(self, *, least: int = 0) -> list[Any]:
        if not isinstance(self.value, list):
            raise self._type_error("a list")
        if len(self.value) < least:
            raise self.error(f"must contain at least {least} elements", kind=TOO_FEW)
        return self.value

    def strings(self, *, least: int = 0) -> tuple[str, ...]:
        return tuple(element.string() for element in self.elements(least=least))

    def _type_error(self, wanted: str, *, hint: str = "") -> InvalidInput:
        return self.error(f"must be {wanted} (got {found(self.value)})", hint=hint)


class Fields:
    """A map's fields. Null means absent. Whatever is not asked for is unknown: `finish` refuses it."""

    def __init__(self, field: Field) -> None:
        self.place = field.place
        self._values = field.mapping()
        self._asked: list[str] = []
        self._refused: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, Field]]:
        """Every field, whatever its name."""
        for key, value in self._values.items():
            yield key, Field(value, self.place.at(key))

    def has(self, key: str) -> bool:
        """Whether the key is there, null or not."""
        return key in self._values

    def get(self, key: str) -> Field | None:
        if key not in self._asked:
            self._asked.append(key)
        value = self._values.get(key)
        return None if value is None else Field(value, self.place.at(key))

    def need(self, key: str) -> Field:
        field = self.get(key)
        if field is None:
            raise self.place.at(key).error("must be defined", hint=self.misspelt(key))
        return field

    def string(self, key: str, default: str) -> str:
        field = self.get(key)
        return default if field is None else field.text()

    def optional_string(self, key: str) -> str | None:
        field = self.get(key)
        return None if field is None else field.text()

    def integer(self, key: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
        field = self.get(key)
        return default if field is None else field.integer(least=least, most=most)

    def strings(self, key: str) -> tuple[str, ...]:
        field = self.get(key)
        return () if field is None else field.strings()

    def exactly_one_of(self, *keys: str) -> Field:
        given = [field for key in keys if (field := self.get(key))]
        if len(given) != 1:
            got = f" (got {' and '.join(field.key for field in given)})" if given else ""
            what = f"specify exactly one of the following keys: {', '.join(keys)}{got}"
            raise self.place.error(what, hint="" if given else next(filter(None, map(self.misspelt, keys)), ""))
        return given[0]

    def refuse(self, key: str, what: str, *, hint: str = "") -> bool:
        """The key has a meaning elsewhere, but not here; returns whether it is there."""
        self._refused.append(key)
        there = self._values.get(key) is not None
        if there:
            self.place.at(key).called(*self.place.labels).refuse(what, hint=hint)
        return there

    def finish(self) -> None:
        if self.place.document.ignores_unknown:
            return
        unknown = (key for key in self._values if key not in self._asked and key not in self._refused)
        for key in islice(unknown, MAX_TOLD):
            near = get_close_matches(key, self._asked, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(self._asked)}"
            self.place.at(key).called(*self.place.labels).refuse(f'key "{key}" is not supported', hint=hint)

    def misspelt(self, key: str) -> str:
        """A hint, if a key that nobody has asked for may be meant to be this one."""
        near = get_close_matches(key, [name for name in self._values if name not in self._asked], n=1)
        return f'is "{near[0]}" meant to be "{key}"?' if near else ""


def found(value: Any) -> str:
    """What was found instead, in a few words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a map"
    return str(value)
