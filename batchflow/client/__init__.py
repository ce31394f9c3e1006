"""Submit, watch, stop and resume jobs: what the CLI, the gateway and Python users call."""

from batchflow.client.client import Client, Plan
from batchflow.client.job import FailedBatch, Job
from batchflow.client.services import Services

__all__ = ["Client", "FailedBatch", "Job", "Plan", "Services"]
