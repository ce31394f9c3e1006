"""`batchflow step courier`: what runs beside a call's replica. It belongs to a call, not to a job as the other steps do."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from threading import Event, Thread
from typing import Final

from batchflow import contract, logs
from batchflow.callrecords import CallRef
from batchflow.cli.environment import check_version, required
from batchflow.courier import Replica, Shutdown, carry
from batchflow.errors import Unreachable
from batchflow.settings import Settings
from batchflow.store.deployments import CallRecords
from batchflow.store.open import open_store

__all__ = ["carry_call"]

READING_SHARE: Final = 0.8  # of the grace period: for a reply that is on its way; the rest is for saving it


def carry_call(environ: Mapping[str, str]) -> int:
    """Run the courier until SIGTERM; returns 0, or 143 if that came while the store was out of reach."""
    check_version(environ)
    settings = Settings.from_env(environ)
    logs.setup(settings.log_level)
    ref = CallRef(
        required(environ, contract.ENV_DEPLOYMENT), required(environ, contract.ENV_DEPLOYMENT_ID), required(environ, contract.ENV_CALL)
    )
    replica = Replica(
        port=int(required(environ, contract.ENV_REPLICA_PORT)),
        health_port=int(required(environ, contract.ENV_HEALTH_PORT)),
        health_path=environ.get(contract.ENV_HEALTH_PATH, ""),
    )
    max_reply_bytes = int(required(environ, contract.ENV_MAX_REPLY_BYTES))
    shutdown = _on_sigterm(settings.grace_s)
    try:
        records = CallRecords(open_store(settings.store, settings.call_timeout_s), ref)
        carry(records, replica, max_reply_bytes=max_reply_bytes, retry_s=settings.retry_s, shutdown=shutdown)
    except Unreachable:
        if not shutdown.asked.is_set():
            raise
        return contract.EXIT_TERMINATED
    return contract.EXIT_OK


def _on_sigterm(grace_s: float) -> Shutdown:
    shutdown = Shutdown(asked=Event(), over=Event())
    # Before there are other threads, which inherit it; from now on only the thread below gets the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        shutdown.asked.set()
        shutdown.over.wait(READING_SHARE * grace_s)
        shutdown.over.set()

    Thread(target=wait, name="sigterm", daemon=True).start()
    return shutdown
