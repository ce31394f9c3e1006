"""What the readers of Verda's documents share: the words of Verda's validator, and which keys are refused."""

from __future__ import annotations

import re
from typing import Final

from batchflow.spec.fields import Field, Fields

__all__ = ["finish", "need", "object_name"]

_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # Kubernetes' names of Secrets and volume claims


def need(fields: Fields, key: str) -> Field:
    """A field that must be there; raises InvalidInput in the words of Verda's validator, and names a key that may be meant to be it."""
    field = fields.get(key)
    if field is None:
        raise fields.place.at(key).error("should not be null or undefined", hint=fields.misspelt(key))
    return field


def finish(fields: Fields, *ignored: str) -> None:
    """Refuse the keys that nobody has asked for, but for those that only answers have."""
    for key in ignored:
        fields.get(key)
    fields.finish()


def object_name(field: Field, kind: str) -> str:
    """The name of what the user has made in the namespace; `kind` says what that is, such as `a secret`."""
    if not _OBJECT.fullmatch(field.text()):
        raise field.error(f'"{field.value}" is not the name of {kind}', hint="it has lower-case letters, digits, dashes and dots")
    return field.text()
