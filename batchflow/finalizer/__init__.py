"""The end of a job: account, work off what is left, the completion hook (finalize); logs, final status, queue (cleanup)."""
