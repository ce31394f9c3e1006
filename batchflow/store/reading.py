"""Reads many records, several at a time: S3 takes some 20 ms for each, and a large job's outcomes are tens of thousands of objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from batchflow.store.protocol import Store

__all__ = ["read_all"]

AT_ONCE: Final = 16
_AHEAD: Final = 2 * AT_ONCE  # so many are in memory at most


def read_all(store: Store, keys: Iterable[str]) -> Generator[bytes | None]:
    """What is at each of the keys, in their order, a stream; None where there is no such key."""
    ahead: deque[Future[bytes | None]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for key in keys:
                ahead.append(threads.submit(store.get, key))
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # whoever stops reading, or can't go on, waits for those alone that are under way
            for future in ahead:
                future.cancel()
