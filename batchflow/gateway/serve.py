"""Runs the gateway in this process until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from batchflow import contract, logs
from batchflow.errors import InvalidInput
from batchflow.gateway.app import create_app
from batchflow.gateway.credentials import Credentials
from batchflow.gateway.guard import is_loopback
from batchflow.gateway.schedulers import Schedulers
from batchflow.gateway.tenants import Tenants
from batchflow.settings import Settings
from batchflow.spec.computeresource import Rules

__all__ = ["serve"]

_BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 75  # longer than clients pause between two questions: one asked while a connection is closed is lost
_SCHEDULERS_END_S: Final = 8.0  # Kubernetes waits 15 s longer than for requests


def serve(settings: Settings, host: str, port: int, *, environ: Mapping[str, str] = os.environ, told: Callable[[str], None]) -> None:
    """Listen (port 0: any free one), tell the address, answer until SIGTERM or SIGINT; requests in hand then get their answers.

    Raises InvalidInput if it can't listen there, or must not: without credentials only this machine may ask.
    """
    file = environ.get(contract.ENV_CREDENTIALS, "")
    credentials = Credentials(Path(file)) if file else None
    if credentials is None and not is_loopback(host):
        hint = f"name a file of tokens in {contract.ENV_CREDENTIALS}, or listen on 127.0.0.1"
        raise InvalidInput(f"{host} can be reached by others, and there are no credentials", where="--host", hint=hint)
    logs.setup(settings.log_level)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad form is its sender's business
    with _listener(host, port) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        tenants = _tenants(settings, environ, credentials, environ.get(contract.ENV_GATEWAY_URL, "") or address)
        app = create_app(tenants, credentials, max_call_bytes=settings.max_call_bytes)
        config = uvicorn.Config(  # httptools, which it would prefer, has no limit of headers; no path has a WebSocket
            app,
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=settings.grace_s,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        server = uvicorn.Server(config)
        _stop_at_signal(server)
        where = f"store {settings.store}" if settings.store else f"namespace {settings.namespace}"
        told(f"batchflow serves {address} (engine {settings.engine}, {where})")
        schedulers = _schedulers(tenants, credentials)
        schedulers.start()
        server.run([listener])
        schedulers.stop(_SCHEDULERS_END_S)


def _tenants(settings: Settings, environ: Mapping[str, str], credentials: Credentials | None, url: str) -> Tenants:
    """`url` is where workers reach the gateway."""
    return Tenants(settings, environ, url=url, rules=(lambda: credentials.rules) if credentials else Rules)


def _schedulers(tenants: Tenants, credentials: Credentials | None) -> Schedulers:
    if credentials is None:
        return Schedulers(lambda: [tenants.own], lambda namespace: tenants.tenant(namespace, ""))
    return Schedulers(credentials.namespaces, lambda namespace: tenants.tenant(namespace, credentials.token_of(namespace)))


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, or asyncio leaves Nagle's algorithm on, and every answer on a kept connection waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"can't listen there: {reason}", where=f"{host}:{port}", hint="choose another --port; 0 is any free one"
        ) from error
    return listener


def _stop_at_signal(server: uvicorn.Server) -> None:
    """Uvicorn has handlers of its own while it runs, and raises the signal again afterwards, which must not kill an orderly end."""

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
