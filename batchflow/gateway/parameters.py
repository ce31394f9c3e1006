"""What a request says beside its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from starlette.requests import Request

from batchflow.errors import InvalidInput
from batchflow.gateway.guard import Visitor
from batchflow.gateway.share import Share
from batchflow.gateway.tenants import Tenant, Tenants

__all__ = ["SPELLINGS", "base_url_of", "flag", "in_thread", "share_of", "tenant_of"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Go's strconv.ParseBool, which read them for Cortex.
_TRUE: Final = ("1", "t", "T", "true", "True", "TRUE")
_FALSE: Final = ("", "0", "f", "F", "false", "False", "FALSE")

SPELLINGS: Final[dict[str, Any]] = {"enum": [*_TRUE, *_FALSE]}


def flag(name: str, text: str) -> bool:
    """A query parameter that is true or false. Cortex took every other value for false, and so a `dryRun=yes` for a submission."""
    if text not in _TRUE + _FALSE:
        raise InvalidInput(f'{name}: must be true or false (got "{text}")')
    return text in _TRUE


async def tenant_of(request: Request) -> Tenant:
    """Whose request it is, as the guard has found; raises Unreachable if that namespace can't be served."""
    return await in_thread(request, lambda tenant: tenant)


async def in_thread(
    request: Request, work: Callable[Concatenate[Tenant, _Parameters], _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Run `work`, with the tenant as its first argument, in a thread of the tenant's share; raises as `tenant_of`."""
    tenants: Tenants = request.app.state.tenants
    visitor: Visitor = request.state.visitor

    def opened() -> _Result:
        return work(tenants.tenant(visitor.namespace, visitor.token), *args, **kwargs)

    return await share_of(request).run(opened)


def share_of(request: Request) -> Share:
    """What its namespace has of this process."""
    tenants: Tenants = request.app.state.tenants
    visitor: Visitor = request.state.visitor
    return tenants.share(visitor.namespace)


def base_url_of(request: Request) -> str:
    """The gateway's address as this client knows it, without a slash at its end."""
    return str(request.base_url).rstrip("/")
