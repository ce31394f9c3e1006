"""The check of a submission's dead-letter queue (DLQ): Cortex's 400 for one that can't be (spec/cortex.md section 4)."""

from __future__ import annotations

from batchflow.errors import InvalidInput, Unreachable
from batchflow.queues.protocol import Queues

__all__ = ["check_dead_letter_queue"]


def check_dead_letter_queue(queues: Queues, arn: str) -> None:
    """Raises InvalidInput if failed batches surely can't be sent to the queue with this ARN; makes nothing.

    Sure is: it is no ARN of a FIFO queue, or our own account has no such queue. Everything else passes: that we are denied the look,
    have no credentials, get no answer, or that another account's queue is not there for us to see. The machine that submits need not
    have the cluster's rights; the workers find out, and the outcome of a failed batch says so. Where a DLQ is a file of SQLite's it is made
    at need, so each passes that has the form of an ARN.
    """
    try:
        if queues.has_arn(arn):
            return
        reason = "the queue does not exist"
    except Unreachable:
        return
    except InvalidInput as error:
        reason = error.what
    hint = "give the ARN of a FIFO queue that exists, as arn:aws:sqs:us-west-2:123456789012:failed.fifo"
    raise InvalidInput(f"failed to create sqs queue: {arn.rpartition(':')[2]}: {reason}", hint=hint)
