"""Picks the engine that the settings name."""

from __future__ import annotations

from batchflow.engines.local.engine import LocalEngine
from batchflow.engines.protocol import Engine
from batchflow.errors import InvalidInput
from batchflow.settings import Settings

__all__ = ["open_engine"]


def open_engine(settings: Settings) -> Engine:
    """The engine of `settings.engine`; raises InvalidInput for one that this version does not have."""
    if settings.engine == "local":
        return LocalEngine(settings)
    raise InvalidInput(
        f"this version of batchflow can't run jobs on {settings.engine}",
        where="BATCHFLOW_ENGINE",
        hint="run the job on this machine with --local, or apply what `batchflow compile` prints with kubectl",
    )
