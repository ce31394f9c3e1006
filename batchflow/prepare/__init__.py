"""What the init container `prepare` does in a worker's pod, before any container of the user's starts.

prepare.py   the documents that containers read, the runtime, and what follows
project.py   a Handler's files
models.py    a tensorflow Handler's models
"""

from batchflow.prepare.prepare import prepare
from batchflow.prepare.project import unpack

__all__ = ["prepare", "unpack"]
