"""Submit, watch, stop, resume and delete jobs; deploy and delete apis: what the CLI, the gateway and Python users call."""

from batchflow.client.client import Client
from batchflow.client.deployment import Deployment
from batchflow.client.job import FailedBatch, Job
from batchflow.client.listing import ApiSummary, JobList
from batchflow.client.plan import Plan
from batchflow.client.pruning import Pruned
from batchflow.client.services import Services

__all__ = ["ApiSummary", "Client", "Deployment", "FailedBatch", "Job", "JobList", "Plan", "Pruned", "Services"]
