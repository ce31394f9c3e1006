"""A call's companion: it waits until the replica beside it is ready, brings it the request, and its reply to the store.

courier.py    a call from its request to its ending, by the records of store/deployments.py
health.py     whether the replica may be given its job
delivery.py   the one HTTP exchange
incoming.py   what comes over a connection
"""

from batchflow.courier.courier import Shutdown, carry
from batchflow.courier.health import Replica

__all__ = ["Replica", "Shutdown", "carry"]
