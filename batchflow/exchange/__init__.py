"""The HTTP client for the server in the pod: batches, readiness probes and the completion hook go through it.

Each exchange has one deadline, whatever the server does. Redirects are followed as Go's default client does, since Cortex's sidecar used
that one (spec/cortex.md section 3).
"""

from batchflow.exchange.client import Client
from batchflow.exchange.connection import Connection
from batchflow.exchange.messages import Origin, Reply, Request, target_of

__all__ = ["Client", "Connection", "Origin", "Reply", "Request", "target_of"]
