"""How a job is: pure functions from records and what was observed to Cortex's job status."""
