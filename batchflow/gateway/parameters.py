"""What a request says beside its body."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

from batchflow.errors import InvalidInput
from batchflow.gateway.guard import Visitor
from batchflow.gateway.tenants import Tenant, Tenants

__all__ = ["SPELLINGS", "base_url_of", "flag", "tenant_of"]

# Go's strconv.ParseBool, which read them for Cortex.
_TRUE: Final = ("1", "t", "T", "true", "True", "TRUE")
_FALSE: Final = ("", "0", "f", "F", "false", "False", "FALSE")

SPELLINGS: Final[dict[str, Any]] = {"enum": [*_TRUE, *_FALSE]}


def flag(name: str, text: str) -> bool:
    """A query parameter that is true or false. Cortex took every other value for false, and so a `dryRun=yes` for a submission."""
    if text not in _TRUE + _FALSE:
        raise InvalidInput(f'{name}: must be true or false (got "{text}")')
    return text in _TRUE


def tenant_of(request: Request) -> Tenant:
    """Whose request it is, as the guard has found; raises Unreachable if that namespace can't be served."""
    tenants: Tenants = request.app.state.tenants
    visitor: Visitor = request.state.visitor
    return tenants.tenant(visitor.namespace, visitor.token)


def base_url_of(request: Request) -> str:
    """The gateway's address as this client knows it, without a slash at its end."""
    return str(request.base_url).rstrip("/")
