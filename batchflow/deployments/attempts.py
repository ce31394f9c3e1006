"""Trying what may fail again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TypeVar

from batchflow.errors import Unreachable

__all__ = ["Attempts"]

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Attempts:
    """Logs what fails, but only once as long as it fails in the same way. Several threads may use it."""

    def __init__(self) -> None:
        self._failed: dict[str, type[Exception]] = {}

    def made(self, what: str, act: Callable[[], _Result]) -> _Result | None:
        """What `act` returns; None if it failed. `what` names it for people; empty for all of it."""
        try:
            result = act()
        except Exception as error:
            if self._failed.get(what) is not type(error):
                self._failed[what] = type(error)
                _log.warning(
                    "failed, and is tried again", extra={"what": what, "error": str(error)}, exc_info=not isinstance(error, Unreachable)
                )
            return None
        self._failed.pop(what, None)
        return result

    def keep_only(self, whats: Collection[str]) -> None:
        """Forget all others, which are not tried again."""
        for what in set(list(self._failed)) - set(whats):  # a copy first: another thread may add to them
            self._failed.pop(what, None)
