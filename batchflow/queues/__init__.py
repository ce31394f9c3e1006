"""The queue between enqueuer and workers: one Protocol, SQS FIFO and SQLite behind it."""
