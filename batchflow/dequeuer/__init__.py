"""The dequeuer: brings batches from the queue to the user's handler, and their outcomes to the store.

The life of a delivery:

    received   the receiver (receiver.py) fetches it before the handler needs it, but no more than the handler finishes in 2 s
    held       in the hand (holding.py); the heartbeat (held.py) keeps it hidden from other workers until it is deleted or given back
    handled    a slot (slot.py) posts it (handler.py): one attempt
    settled    settling.py: an outcome; or the batch is sent again as its next attempt; or it goes to the dead-letter queue
    committed  the committer (outcomes.py) writes outcomes into the store, many at a time, and then
    deleted    their messages

A message is deleted only when its batch's outcome is in the store or its next message in a queue: whatever is killed, and whenever,
the message comes back. What a worker does not settle it gives back (worker.py). attempts.py decides what follows a failed attempt.
"""

from batchflow.dequeuer.assignment import Assignment
from batchflow.dequeuer.worker import work, work_off

__all__ = ["Assignment", "work", "work_off"]
