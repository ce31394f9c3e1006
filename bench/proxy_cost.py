"""What the proxy itself does to a call: POSTs of 200 bytes to the instant handler, directly and through it."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.harness import Plan, interleaved
from bench.places import FAR_MS, far
from bench.services import handler

__all__ = ["proxy"]

CALLS = 500
CLIENTS = 8
BODY = b"x" * 200


def proxy(plan: Plan) -> Iterator[Figure]:
    """Milliseconds that a call gets longer, at 0 ms and at 10 ms; the latter also with eight clients at once, who must not queue up."""
    with handler() as instant:
        direct = f"127.0.0.1:{instant.port}"
        with far(direct, 0) as near, far(direct, FAR_MS) as distant:
            took = interleaved(
                {
                    "direct": lambda: _call_ms(direct, CALLS),
                    "0 ms": lambda: _call_ms(near, CALLS),
                    "10 ms": lambda: _call_ms(distant, CALLS // 5),
                    "10 ms, 8 clients": lambda: _together_ms(distant, CALLS // 5),
                },
                plan.rounds,
            )
    for side in ("0 ms", "10 ms", "10 ms, 8 clients"):
        added = [through - straight for through, straight in zip(took[side], took["direct"], strict=True)]
        sides = f"{statistics.median(took[side]):.2f} ms against {statistics.median(took['direct']):.2f} ms directly"
        yield Figure(f"the bench's proxy, {side}: added to a call", added, "ms", None, sides)


def _call_ms(address: str, calls: int) -> float:
    """Of one client's calls, the mean."""
    client = http.client.HTTPConnection(address, timeout=30)
    began = time.perf_counter()
    for _ in range(calls):
        client.request("POST", "/", BODY)
        with client.getresponse() as response:
            response.read()
    took_s = time.perf_counter() - began
    client.close()
    return took_s / calls * 1000


def _together_ms(address: str, calls: int) -> float:
    """Of several clients' calls at the same time, the mean."""
    means: list[float] = []
    threads = [threading.Thread(target=lambda: means.append(_call_ms(address, calls))) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.fmean(means)
