"""`metrics_client`: metrics of the user's own, as DogStatsD datagrams to the node's agent.

Format: https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/. Source of the behaviour: spec/cortex.md section 2.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["METRICS_PORT", "MetricsClient"]

METRICS_PORT = 9125  # Cortex's
_RESERVED = ("cortex_", "istio_")


class MetricsClient:
    """Sends each metric at once, and neither waits for an agent nor fails if there is none. Any thread may call it."""

    def __init__(self, host: str, port: int = METRICS_PORT) -> None:
        self._family = socket.AF_INET
        self._address: Any = None
        with suppress(OSError):  # no such host: nobody listens
            self._family, _, _, _, self._address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]

    def gauge(self, metric: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Set a value that goes up and down. Raises ValueError for a reserved name, as all three do."""
        self._send(metric, value, "g", tags)

    def increment(self, metric: str, value: float = 1, tags: Mapping[str, str] | None = None) -> None:
        """Add to a counter."""
        self._send(metric, value, "c", tags)

    def histogram(self, metric: str, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Add a value to a distribution."""
        self._send(metric, value, "h", tags)

    def _send(self, metric: str, value: float, kind: str, tags: Mapping[str, str] | None) -> None:
        if metric.startswith(_RESERVED):
            raise ValueError(f'metric name "{metric}" is reserved: names can\'t start with {" or ".join(_RESERVED)}')
        tagged = ",".join(f"{key}:{tag}" for key, tag in (tags or {}).items())
        datagram = f"{metric}:{value}|{kind}" + (f"|#{tagged}" if tagged else "")
        if self._address is None:
            return
        # Such errors are none of the handler: a full buffer, a network that is down, a datagram that is too long.
        with suppress(OSError), socket.socket(self._family, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto(datagram.encode("utf-8", "backslashreplace"), self._address)
