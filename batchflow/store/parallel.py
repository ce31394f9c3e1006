"""Many requests to a store at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

__all__ = ["in_parallel"]

_THREADS: Final = 16
_AT_ONCE: Final = 1000  # items in memory

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(act: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What `act` returns of each, in their order; there may be any number. What it raises is raised here, and ends it."""
    rest = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(rest, _AT_ONCE)):
            yield from pool.map(act, some)
