"""What a token may see: one namespace, with a client of its own, and which path is which api's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Final

from batchflow import contract
from batchflow.client import Client
from batchflow.client.services import Services
from batchflow.errors import InvalidInput, NotFound, Unreachable
from batchflow.gateway.jobdeployments import TenantDeployments
from batchflow.gateway.jobmetrics import JobMetrics
from batchflow.gateway.share import Share
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules

__all__ = ["Tenant", "Tenants"]

# How long an api that was deployed by somebody else with an endpoint of its own may stay unknown here.
_ENDPOINTS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace as one token sees it."""

    namespace: str
    token: str
    client: Client
    endpoints: Endpoints
    jobs: JobMetrics
    deployments: TenantDeployments


@dataclass(slots=True)
class Endpoints:
    """Which deployed api answers at a path."""

    client: Client
    _apis: Mapping[str, str] = field(default_factory=dict)
    _read_at: float = float("-inf")
    _lock: Lock = field(default_factory=Lock)

    def api_at(self, path: str) -> str | None:
        """The api's name; None if no api has this endpoint."""
        name = path.removeprefix("/")
        try:
            found = self.client.deployed(name)
        except NotFound:  # no name, or deleted between two looks
            found = None
        if found and found[0].endpoint == path:
            return name
        with self._lock:
            if time.monotonic() - self._read_at > _ENDPOINTS_S:
                self._apis = self.client.endpoints()
                self._read_at = time.monotonic()
            return self._apis.get(path)

    def forget(self) -> None:
        """Read them again at the next question."""
        with self._lock:
            self._read_at = float("-inf")


class Tenants:
    """The tenants of this gateway, each made when it first asks.

    On a cluster each namespace has its own store, which its ConfigMap names; on this machine each but the gateway's own has a folder
    of the store. `environ` is what engines and workers see of this process's environment, with the address of the gateway.
    `rules` gives those for job deployments that are in force now.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, url: str, rules: Callable[[], Rules] = Rules) -> None:
        self._settings = settings
        self.rules = rules
        self._environ = {**environ, contract.ENV_GATEWAY_URL: url}
        self._lock = Lock()
        self._tenants: dict[str, Tenant] = {}
        self._shares: dict[str, Share] = {}

    @property
    def own(self) -> str:
        """The namespace of whoever needs no token."""
        return self._settings.namespace

    def share(self, namespace: str) -> Share:
        """What it has of this process; for the event loop's thread. The tenant is opened there, too."""
        return self._shares.setdefault(namespace, Share())

    def tenant(self, namespace: str, token: str) -> Tenant:
        """`token` is what its workers get. Raises Unreachable if it has no store that can be used: none, another's, or a bad address."""
        known = self._tenants.get(namespace)
        if known and known.token == token:
            return known
        made = self._make(namespace, token)  # may ask the cluster, so nobody waits for it
        with self._lock:
            known = self._tenants.get(namespace)
            if known is None or known.token != token:
                self._refuse_shared_store(made)
                if known:  # another token: its scheduler goes on
                    made = replace(made, deployments=known.deployments)
                self._tenants[namespace] = known = made
        return known

    def _make(self, namespace: str, token: str) -> Tenant:
        is_own = namespace == self.own
        settings = self._settings if is_own else self._of_other(namespace)
        # A ConfigMap is overridden by its own namespace's shell only.
        environ = {**self._environ, contract.ENV_TOKEN: token} if is_own or settings.engine == "local" else {}
        schemes = [scheme.strip() for scheme in self._environ.get("BATCHFLOW_SOURCES", "").split(",")]
        client = Client(settings, environ=environ, sources=schemes)
        try:
            _ = client.store_url
        except (InvalidInput, NotFound) as error:  # the settings', not the request's
            raise Unreachable(error.what, where=error.where, hint=error.hint) from error
        deployments = TenantDeployments(Services(settings, environ=self._environ if environ else {}), self.rules)  # no token for replicas
        return Tenant(namespace, token, client, Endpoints(client), JobMetrics(client), deployments)

    def _refuse_shared_store(self, made: Tenant) -> None:
        for tenant in self._tenants.values():
            if tenant.namespace != made.namespace and tenant.client.store_url == made.client.store_url:
                where = f"{made.client.store_url} of {tenant.namespace} and {made.namespace}"
                what = "two namespaces have the same store, so that each would see the other's jobs"
                raise Unreachable(what, where=where, hint="install one of them again with a store of its own")

    def _of_other(self, namespace: str) -> Settings:
        if self._settings.engine == "argo":
            return replace(self._settings, namespace=namespace, store="")
        store = f"{self._settings.store}/namespaces/{namespace}"
        queues = f"{self._settings.queues}/namespaces/{namespace}" if self._settings.queues.startswith("sqlite:") else self._settings.queues
        local_dir = str(Path(self._settings.local_dir, "namespaces", namespace))
        return replace(self._settings, namespace=namespace, store=store, queues=queues, local_dir=local_dir)
