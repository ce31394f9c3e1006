"""From a job's source to its queue: listing, cutting into batches, sending, checkpoints."""

from batchflow.enqueuer.batching import recut
from batchflow.enqueuer.dry_run import DryRun, dry_run
from batchflow.enqueuer.enqueue import enqueue, queue_name
from batchflow.enqueuer.listing import check_source, list_files

__all__ = ["DryRun", "check_source", "dry_run", "enqueue", "list_files", "queue_name", "recut"]
