"""`compute`: what a container asks of its node."""

from __future__ import annotations

import re
from typing import Final

from batchflow.spec.fields import Field, Fields
from batchflow.spec.model import Compute
from batchflow.spec.quantity import quantity, quantity_value

__all__ = ["node_groups", "parse_compute", "refuse_larger_than", "refuse_smaller_than"]

_MIN_CPU: Final = "20m"
_MIN_MEM: Final = "20Mi"
_MIN_SHM: Final = "1"
_NODE_GROUP: Final = re.compile(r"[A-Za-z0-9_-]+")


def parse_compute(field: Field | None, *, container: bool) -> tuple[Compute, tuple[str, ...] | None]:
    """A container's compute, or a handler's, which has no `shm` and holds the api's node groups; these are the second value."""
    if field is None:
        return Compute(), None
    fields = field.fields()
    mem, shm, groups = fields.get("mem"), None, None
    mem_text = quantity(mem, least=_MIN_MEM) if mem else None
    if container:
        shm = fields.get("shm")
        fields.refuse("node_groups", 'key "node_groups" is not supported', hint="it belongs to the api: put it beside `pod`")
    else:
        groups = node_groups(fields)
        fields.refuse("shm", 'key "shm" is not supported', hint="use the handler's shm_size")
    compute = Compute(
        cpu=_cpu(fields),
        mem=mem_text,
        gpu=fields.integer("gpu", 0, least=0),
        inf=fields.integer("inf", 0, least=0, most=None if container else 1),
        shm=quantity(shm, least=_MIN_SHM) if shm else None,
    )
    fields.finish()
    if shm:
        refuse_larger_than(shm, compute.mem, "mem")
    if compute.gpu and compute.inf:
        raise field.error("gpu and inf cannot be used together")
    return compute, groups


def refuse_larger_than(field: Field, limit: str | None, name: str) -> None:
    """Compare the field's quantity with the one called `name`, if there is one."""
    if _larger(field.text(), limit):
        raise field.error(f"must be no more than {name} (got {field.text()}, {name} is {limit})")


def refuse_smaller_than(field: Field, limit: str | None, name: str) -> None:
    """The other way round."""
    if _larger(limit, field.text()):
        raise field.error(f"must be no less than {name} (got {field.text()}, {name} is {limit})")


def _larger(one: str | None, other: str | None) -> bool:
    value, limit = quantity_value(one or ""), quantity_value(other or "")
    return value is not None and limit is not None and value > limit


def node_groups(fields: Fields) -> tuple[str, ...] | None:
    """None stands for all."""
    field = fields.get("node_groups")
    if field is None:
        return None
    for element in field.elements(least=1):
        if not _NODE_GROUP.fullmatch(element.text()):
            raise element.error(f'"{element.text()}" is not the name of a node group', hint="use letters, digits, dashes and underscores")
    return field.strings()


def _cpu(fields: Fields) -> str | None:
    """Null asks for none; absent, for the default."""
    field = fields.get("cpu")
    if field is None:
        return None if fields.has("cpu") else Compute().cpu
    if isinstance(field.value, int | float) and not isinstance(field.value, bool):
        field = Field(str(field.value), field.place)
    return quantity(field, least=_MIN_CPU)
