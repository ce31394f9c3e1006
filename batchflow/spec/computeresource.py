"""What a job deployment may ask for: the compute resources that an installation offers, and the bounds of a deadline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from batchflow.spec.fields import Field, Fields
from batchflow.spec.quantity import quantity

__all__ = ["COMPUTE_RESOURCES", "ComputeResource", "Rules", "parse_rules"]

DEADLINE_MINIMUM_S: Final = 600
_SIZES: Final = (1, 2, 4, 8, 16, 32)
_GPU: Final = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class ComputeResource:
    """A name and its sizes, and what they are on Kubernetes.

    Attributes:
        resource: what a replica of size n gets n of, such as `cpu` or `nvidia.com/gpu`; empty: nothing.
        requests: what every replica asks for besides, by resource.
        node_selector, tolerations: Kubernetes'.
    """

    name: str
    sizes: tuple[int, ...] = _SIZES
    is_available: bool = True
    resource: str = "cpu"
    requests: dict[str, str] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()


# Names that Verda has; an installation with nodes of its own kinds lists its own.
COMPUTE_RESOURCES: Final = (
    *(ComputeResource(name) for name in ("General Compute", "CPUNode")),
    *(ComputeResource(name, _SIZES[:4], resource=_GPU) for name in ("A100", "B200", "H100", "RTX 4500 Ada", "RTX4500Ada")),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation decides. `compute` is None where any will do: a deployment that is stored was checked."""

    deadline_minimum_s: int = DEADLINE_MINIMUM_S
    allow_latest_tag: bool = False
    compute: tuple[ComputeResource, ...] | None = COMPUTE_RESOURCES

    @classmethod
    def none(cls) -> Self:
        """Take what was taken before, whatever the rules are now."""
        return cls(deadline_minimum_s=1, allow_latest_tag=True, compute=None)

    def check_compute(self, name: Field, size: Field) -> tuple[str, int]:
        """A deployment's compute; raises InvalidInput if it is not offered."""
        text, number = name.text(), size.integer(least=1)
        if self.compute is not None:
            offered = self.find(text)
            if offered is None:
                raise name.error(f'"{text}" is not offered', hint=f"use {', '.join(resource.name for resource in self.compute)}")
            if number not in offered.sizes:
                raise size.error(f'"{text}" has the sizes {", ".join(map(str, offered.sizes))} (got {number})')
        return text, number

    def is_available(self, name: str, size: int) -> bool:
        """Whether a new deployment may have that compute; one that has it keeps it."""
        offered = self.find(name)
        return self.compute is None or (offered is not None and offered.is_available and size in offered.sizes)

    def find(self, name: str) -> ComputeResource | None:
        return next((resource for resource in self.compute or () if resource.name == name), None)


def parse_rules(fields: Fields) -> Rules:
    """From a configuration's `deadline_minimum_s`, `allow_latest_tag` and `compute_resources`; raises InvalidInput."""
    default = Rules()
    latest, compute = fields.get("allow_latest_tag"), fields.get("compute_resources")
    return Rules(
        deadline_minimum_s=fields.integer("deadline_minimum_s", default.deadline_minimum_s, least=1),
        allow_latest_tag=latest.boolean() if latest else default.allow_latest_tag,
        compute=_resources(compute) if compute else default.compute,
    )


def _resources(field: Field) -> tuple[ComputeResource, ...]:
    found: dict[str, ComputeResource] = {}
    for element in field.elements(least=1):
        resource = _resource(element)
        if resource.name in found:
            raise element.place.at("name").error(f'"{resource.name}" is there twice')
        found[resource.name] = resource
    return tuple(found.values())


def _resource(element: Field) -> ComputeResource:
    fields = element.fields()
    sizes, available = fields.get("sizes"), fields.get("is_available")
    requests, selector, tolerations = fields.get("requests"), fields.get("node_selector"), fields.get("tolerations")
    resource = fields.get("resource")
    found = ComputeResource(
        name=fields.need("name").text(),
        sizes=tuple(size.integer(least=1) for size in sizes.elements(least=1)) if sizes else _SIZES,
        is_available=available.boolean() if available else True,
        resource=resource.string() if resource else "cpu",
        requests={name: quantity(value, least="0") for name, value in requests.fields()} if requests else {},
        node_selector={name: value.string() for name, value in selector.fields()} if selector else {},
        tolerations=tuple(toleration.mapping() for toleration in tolerations.elements()) if tolerations else (),
    )
    fields.finish()
    return found
