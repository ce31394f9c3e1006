"""Chooses the queue service that `BATCHFLOW_QUEUES` names."""

from __future__ import annotations

from pathlib import Path

from batchflow.errors import InvalidInput
from batchflow.queues.protocol import Queues
from batchflow.settings import Settings

__all__ = ["open_queues"]


def open_queues(settings: Settings) -> Queues:
    """The service of `settings.queues`: `sqs`, or `sqlite:<absolute directory>` (made at need); raises InvalidInput."""
    if settings.queues == "sqs":
        from batchflow.queues.sqs import SqsQueues  # boto3 takes 0.3 s to import

        return SqsQueues(settings.call_timeout_s)
    scheme, _, directory = settings.queues.partition(":")
    if scheme == "sqlite" and Path(directory).is_absolute():
        from batchflow.queues.sqlite import SqliteQueues

        return SqliteQueues(Path(directory))
    raise InvalidInput(
        f'"{settings.queues}" is no queue service', where="BATCHFLOW_QUEUES", hint="give sqs, or sqlite:<absolute directory>"
    )
