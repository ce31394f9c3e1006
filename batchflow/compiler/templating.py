"""Argo executes `{{=…}}`, expands what it finds over several passes, and has no escape: so no text of the user's may hold `{{`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from batchflow.errors import InvalidInput

__all__ = ["refuse_templating"]


def refuse_templating(document: Any, *, where: str, hint: str, but: Collection[str] = ()) -> None:
    """Raise InvalidInput for the first such text, a key or a value, with its place; what is below the keys in `but` is left out."""
    for place, text in _texts(document, (), but):
        if "{{" in text:
            label = ": ".join(filter(None, (where, *place)))
            raise InvalidInput(f'"{text}" contains "{{{{", which Argo would expand', where=label, hint=hint)


def _texts(value: Any, place: tuple[str, ...], but: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield place or ("the entry",), str(key)
            if key not in but:
                yield from _texts(inner, (*place, str(key)), but)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _texts(inner, (*place, f"index {i}"), but)
