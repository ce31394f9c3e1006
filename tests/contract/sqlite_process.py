"""A process of test_sqlite.py: sends numbered messages, or receives and deletes until the queue is empty, printing each body.

sqlite_process.py URL send FIRST COUNT | sqlite_process.py URL receive
"""

from __future__ import annotations

import sys
from pathlib import Path

from batchflow.queues.protocol import MAX_ENTRIES
from batchflow.queues.sqlite import SqliteQueues
from batchflow.records import Message

url, action, *numbers = sys.argv[1:]
queue = SqliteQueues(Path("/nowhere")).open(url)
if action == "send":
    first, count = map(int, numbers)
    for start in range(first, first + count, MAX_ENTRIES):
        messages = [Message(str(n), group=str(n), dedup=str(n)) for n in range(start, start + MAX_ENTRIES)]
        assert queue.send(messages) == []
else:
    while deliveries := queue.receive(MAX_ENTRIES, wait_s=5, visibility_s=600):
        print(*(delivery.message.body for delivery in deliveries), sep="\n", flush=True)
        queue.delete(deliveries)
queue.close()
