"""A container's variables: as a manifest has them, and with the values that Kubernetes would give them: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from batchflow.errors import InvalidInput

__all__ = ["FieldRef", "KeyRef", "Value", "expand", "parse_reference"]

# `$(NAME)`, and `$$` for a dollar; a name is whatever stands before the next parenthesis.
# https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^)]*)\))")

_FIELDS: Final = ("metadata.name", "status.hostIP")
# What the keys of the ConfigMap `batchflow` that settings do not hold are here; any other key is the variable of the referring one's name.
_STAND_INS: Final = {"AWS_REGION": ("AWS_REGION", "AWS_DEFAULT_REGION")}


@dataclass(frozen=True, slots=True)
class FieldRef:
    """The value is a field of the pod: `metadata.name` or `status.hostIP`."""

    path: str


@dataclass(frozen=True, slots=True)
class KeyRef:
    """The value is a key of a ConfigMap or a Secret. Here variables of the engine's process stand for it, the first that is set."""

    stand_ins: tuple[str, ...]
    optional: bool

    def find(self, environ: Mapping[str, str]) -> str | None:
        return next((environ[name] for name in self.stand_ins if environ.get(name)), None)


Value = str | FieldRef | KeyRef


def parse_reference(name: str, source: object, where: str) -> FieldRef | KeyRef:
    """A variable's `valueFrom`; raises InvalidInput for one that is not executed here."""
    match source:
        case {"fieldRef": {"fieldPath": str(path)}} if path in _FIELDS:
            return FieldRef(path)
        case {"configMapKeyRef": {"key": str(key)} as reference} | {"secretKeyRef": {"key": str(key)} as reference}:
            return KeyRef(_STAND_INS.get(key, (name,)), bool(reference.get("optional")))
    known = f"fieldRef {' or '.join(_FIELDS)}, configMapKeyRef, secretKeyRef"
    raise InvalidInput(f"of valueFrom only {known} are executed here", where=f"{where}[{name}]")


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its references replaced; one to a variable that is not in `env` stays as it is."""
    return _REFERENCE.sub(lambda match: "$" if match[1] is None else env.get(match[1], match[0]), text)
