"""boto3's clients as the queues and the store use them."""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

__all__ = ["connect"]

CONNECTIONS: Final = 32  # more than any step has threads: they share one client
CONNECT_TIMEOUT_S: Final = 5
# Few: the steps try again for minutes, and know better than botocore when to stop. Between these it waits up to 50 and 100 ms, and up to
# 1 and 2 s if it was throttled. With the steps' own pauses (retry.py), of up to 10 s, that keeps to a limit: see docs/limits.md.
TRIES: Final = 3

_WITHOUT_BODY: Final = (204, 304)


def connect(service: str, region: str | None, timeout_s: float) -> Any:
    """A client for any number of threads, which waits so long for an answer; `region`: None for that of the AWS_* variables.

    Raises BotoCoreError or ValueError if those variables make no client.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=timeout_s,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        tcp_keepalive=True,
        # Together 15 % less CPU for a call that sends ten messages: what we pass is right, and the agent's text is made once.
        parameter_validation=False,
        user_agent=f"batchflow Boto3/{boto3.__version__}",
    )
    # A session of its own: boto3's default one is not for several threads. boto3 itself only looks at AWS_DEFAULT_REGION.
    client = boto3.session.Session().client(service, region_name=region or os.environ.get("AWS_REGION"), config=config)
    http = client._endpoint.http_session

    def send_whole(request: Any, **_: Any) -> Any:
        """In place of botocore's own sending; what it raises is tried again."""
        response = http.send(request)
        if _cut_off(request, response):
            response.raw.close()
            raise ConnectionClosedError(endpoint_url=request.url)
        return response

    client.meta.events.register("before-send", send_whole)
    return client


def _cut_off(request: Any, response: Any) -> bool:
    """Whether the connection ended before the answer did, which nobody below notices.

    Python's http.client takes headers that end with the connection for all of them; botocore takes a piece of a JSON text for an answer
    that says nothing: for SendMessageBatch, that no message failed.
    """
    if request.method == "HEAD" or response.status_code in _WITHOUT_BODY:
        return False
    if response.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return False
    length = response.headers.get("Content-Length", "")
    if request.stream_output:  # its reader counts
        return not length
    return bool(length != str(len(response.content)))
