"""`batchflow:`, the key that holds all that is ours and not Cortex's (DESIGN.md section 8)."""

from __future__ import annotations

from typing import Any, Final

from batchflow.spec.compute import refuse_smaller_than
from batchflow.spec.fields import Field, Fields
from batchflow.spec.model import Additions, Compute
from batchflow.spec.naming import object_name
from batchflow.spec.quantity import quantity

__all__ = ["parse_additions"]

# SQS quota "message visibility timeout": at most 12 hours from the receive.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_MAX_BATCH_TIMEOUT_S: Final = 43_200
_MIN_MEM: Final = "20Mi"
_OPERATORS: Final = ("Exists", "Equal")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def parse_additions(field: Field | None, computes: tuple[Compute, ...]) -> Additions:
    """`computes`: those of the user's containers, none of which may ask for more memory than `memory_limit`."""
    default = Additions()
    if field is None:
        return default
    fields = field.fields()
    hook, limit = fields.get("on_job_complete"), fields.get("memory_limit")
    account, client = fields.get("service_account"), fields.get("cortex_client")
    additions = Additions(
        on_job_complete=hook.boolean() if hook else None,
        start_timeout_s=fields.integer("start_timeout_s", default.start_timeout_s, least=1),
        batch_timeout_s=fields.integer("batch_timeout_s", default.batch_timeout_s, least=1, most=_MAX_BATCH_TIMEOUT_S),
        max_concurrency=fields.integer("max_concurrency", default.max_concurrency, least=1),
        memory_limit=quantity(limit, least=_MIN_MEM) if limit else None,
        service_account=object_name(account) if account else None,
        env_from_secrets=_names(fields, "env_from_secrets"),
        tolerations=_tolerations(fields.get("tolerations")),
        image_pull_secrets=_names(fields, "image_pull_secrets"),
        cortex_client=client.boolean() if client else default.cortex_client,
    )
    fields.finish()
    for compute in computes:
        if limit:
            refuse_smaller_than(limit, compute.mem, "mem")
    return additions


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    field = fields.get(key)
    return tuple(object_name(element) for element in field.elements()) if field else ()


def _tolerations(field: Field | None) -> tuple[dict[str, Any], ...]:
    return tuple(_toleration(element) for element in field.elements()) if field else ()


def _toleration(field: Field) -> dict[str, Any]:
    """As written; the rules are Kubernetes'."""
    fields = field.fields()
    key, operator, value = fields.get("key"), fields.get("operator"), fields.get("value")
    effect, seconds = fields.get("effect"), fields.get("tolerationSeconds")
    fields.finish()
    for part in (key, value):
        if part:
            part.string()
    exists = operator is not None and operator.one_of(_OPERATORS) == "Exists"
    if effect:
        effect.one_of(_EFFECTS)
    if seconds:
        seconds.integer()
        if effect is None or effect.value != "NoExecute":
            raise seconds.error("needs the effect NoExecute")
    if exists and value:
        raise value.error("must be left out where the operator is Exists")
    if not exists and key is None:
        raise field.error("needs a key, or the operator Exists")
    return field.mapping()
