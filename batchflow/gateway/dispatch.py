"""Which of the gateway's applications answers: Cortex's endpoints, Verda's management API, or its inference side."""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from batchflow.errors import NotFound, Unreachable
from batchflow.gateway.answers import problem
from batchflow.gateway.credentials import Kind
from batchflow.gateway.forwarding import INFERENCE_ID
from batchflow.gateway.guard import Visitor
from batchflow.gateway.tenants import Tenants
from batchflow.gateway.verda.answers import FORBIDDEN, UNAVAILABLE
from batchflow.spec.jobdeployment import RESERVED_NAMES

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)

_MANAGEMENT: Final = "v1"
_ABOUT_CALLS: Final = ("status", "result")


class Dispatcher:
    """Goes by the path to the management API, else by what the bearer is for.

    Whose bearer is for several things, as everybody's is where there are no credentials, gets to the inference side with a path that
    begins with a job deployment's name, and with one that asks for a call.
    """

    def __init__(self, tenants: Tenants, *, cortex: ASGIApp, management: ASGIApp, inference: ASGIApp) -> None:
        self._tenants = tenants
        self._cortex = cortex
        self._management = management
        self._inference = inference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._cortex
        if scope["type"] == "http":
            try:
                app = await self._choose(scope)
            except Unreachable as error:
                _log.warning("out of reach", extra={"request_id": scope["state"]["request_id"], "error": error})
                app = problem(503, "error", error.what, code=UNAVAILABLE, headers={"Retry-After": "5"})
        await app(scope, receive, send)

    async def _choose(self, scope: Scope) -> ASGIApp:
        """The application, or a refusal; raises Unreachable."""
        visitor: Visitor | None = scope["state"].get("visitor")
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        is_management = first == _MANAGEMENT
        if visitor is None:  # anybody may ask
            return self._management if is_management else self._cortex
        if is_management:
            return self._management if Kind.ACCESS in visitor.kinds else _refusal("this needs an access token of /v1/oauth2/token")
        if visitor.kinds == {Kind.ACCESS}:
            return _refusal("an access token opens nothing but what is below /v1; this needs an inference key")
        if visitor.kinds == {Kind.TOKEN}:
            return self._cortex
        if visitor.kinds == {Kind.INFERENCE}:
            return self._inference
        if first in _ABOUT_CALLS and (INFERENCE_ID in Headers(scope=scope) or await self._is_deployment(visitor, rest)):
            return self._inference
        return self._inference if await self._is_deployment(visitor, first) else self._cortex

    async def _is_deployment(self, visitor: Visitor, name: str) -> bool:
        return name not in RESERVED_NAMES and await self._tenants.share(visitor.namespace).run(self._find, visitor, name)

    def _find(self, visitor: Visitor, name: str) -> bool:
        try:
            return self._tenants.tenant(visitor.namespace, visitor.token).deployments.records.find(name) is not None
        except NotFound:  # it can't be the name of one
            return False


def _refusal(message: str) -> ASGIApp:
    return problem(403, "forbidden", message, code=FORBIDDEN)
