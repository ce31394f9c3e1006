"""The ConfigMap `batchflow`: what the steps of this namespace are set to, and so what a client has to agree with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from batchflow import contract
from batchflow.engines.argo.kube import Kube
from batchflow.errors import InvalidInput, NotFound
from batchflow.settings import Settings

__all__ = ["installed_settings"]


def installed_settings(kube: Kube, settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with which to compile for that namespace: the ConfigMap's, but for what the shell says otherwise.

    Raises NotFound if batchflow is not installed there, InvalidInput if its steps would look into another store than this client
    writes to, or have another version than this client compiles for.
    """
    data = kube.config_map(contract.CONFIG_MAP)
    where = f"ConfigMap {contract.CONFIG_MAP} in namespace {kube.namespace}"
    if data is None:
        hint = f"install it: batchflow install -n {kube.namespace} --store s3://bucket/prefix | kubectl apply -f -"
        raise NotFound("batchflow is not installed there", where=f"namespace {kube.namespace} on {kube.host}", hint=hint)
    theirs = Settings.from_env({**data, "BATCHFLOW_ENGINE": "argo"})
    if settings.store and settings.store != theirs.store:
        raise InvalidInput(
            f"the steps' store is {theirs.store or 'not set'}, yours is {settings.store}",
            where=where,
            hint="unset BATCHFLOW_STORE here, or install again with --store",
        )
    if (version := data.get(contract.ENV_VERSION, "")) != contract.VERSION:
        raise InvalidInput(
            f"it is of batchflow {version or 'unknown'}, this is {contract.VERSION}",
            where=where,
            hint="install again with this version and its image, or use the client of that version",
        )
    said = {name: value for name, value in environ.items() if value}
    merged = Settings.from_env({**data, **said, "BATCHFLOW_ENGINE": "argo"})
    return dataclasses.replace(merged, store=theirs.store, namespace=settings.namespace, kube_context=settings.kube_context)
