"""Cortex's Python client inside a worker: `import cortex; cortex.client()`, for an api with `batchflow: {cortex_client: true}`.

It talks to batchflow's gateway, whose address and token are in the worker's environment. Standard library only, Python 3.8 and later.
To submit a job, post to an api's endpoint, as with Cortex; the gateway wants the worker's token:

    endpoint = cortex.client().get_api("digits")["endpoint"]
    requests.post(endpoint, json=job, headers={"Authorization": "Bearer " + os.environ["BATCHFLOW_TOKEN"]})
"""

from __future__ import annotations

import os

from .client import Client
from .exceptions import CortexException, NotFound
from .gateway import Gateway

__all__ = ["Client", "__version__", "client"]

__version__ = "0.35.0"  # the last of Cortex's releases with this interface, for code that asks

_ENVIRONMENT = "default"
_URL = "BATCHFLOW_GATEWAY_URL"
_TOKEN = "BATCHFLOW_TOKEN"


def client(env: str | None = None) -> Client:
    """A client of the gateway that this worker's api may use. There is one environment, `default`; another name raises NotFound.

    Raises CortexException if the worker was not given the gateway's address and a token.
    """
    if env not in (None, _ENVIRONMENT):
        raise NotFound(f"can't find environment {env}: a worker has only {_ENVIRONMENT}", kind="not_found")
    missing = [name for name in (_URL, _TOKEN) if name not in os.environ]
    if missing:
        reason = f"{' and '.join(missing)} not set: give this worker's api `batchflow: {{cortex_client: true}}` and deploy it again"
        raise CortexException(reason)
    url = os.environ[_URL]
    return Client({"name": _ENVIRONMENT, "operator_endpoint": url}, Gateway(url, os.environ[_TOKEN]))
