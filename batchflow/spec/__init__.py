"""What users write: cortex.yaml (both generations) and job.yaml, read, checked, and turned into frozen values."""
