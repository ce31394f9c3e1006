"""Picks the engine that the settings name, and completes the settings by what it knows."""

from __future__ import annotations

import os
from collections.abc import Mapping

from batchflow.engines.protocol import Engine
from batchflow.settings import Settings

__all__ = ["complete", "open_engine"]


def open_engine(settings: Settings, environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine of `settings.engine`; `environ` is what local jobs see of this process's environment."""
    if settings.engine == "local":
        from batchflow.engines.local.engine import LocalEngine

        return LocalEngine(settings, environ)
    from batchflow.engines.argo.engine import ArgoEngine  # the kubernetes client takes half a second to import

    return ArgoEngine(settings)


def complete(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings to compile with: on a cluster those of its namespace, but for what the shell (`environ`) says otherwise."""
    if settings.engine == "local":
        return settings
    from batchflow.engines.argo.installed import installed_settings
    from batchflow.engines.argo.kube import Kube

    return installed_settings(Kube(settings.namespace, context=settings.kube_context), settings, environ)
