"""Kubernetes quantities: `200m`, `1.5`, `512Mi`, `2G`, `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from batchflow.spec.fields import TOO_SMALL, Field

__all__ = ["quantity", "quantity_value"]

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, its length bounded.
_QUANTITY: Final = re.compile(r"([-+]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))(|[numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity_value(text: str) -> Decimal | None:
    """The number that a quantity stands for; None if the text is not one."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2]
    if suffix in _BINARY:
        return number * Decimal(2) ** _BINARY[suffix]
    return number.scaleb(_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:]))


def quantity(field: Field, *, least: str) -> str:
    """A quantity that is at least `least`, as written; raises InvalidInput."""
    text = field.text()
    value, minimum = quantity_value(text), quantity_value(least)
    if value is None or minimum is None:
        raise field.error(f'"{text}" is not a Kubernetes quantity', hint="write it as in 200m, 1.5, 512Mi or 2G")
    if value < minimum:
        raise field.error(f"must be greater than or equal to {least} (got {text})", kind=TOO_SMALL)
    return text
