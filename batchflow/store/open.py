"""Chooses the store that `BATCHFLOW_STORE` names, and where users' files are read from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from batchflow.errors import InvalidInput
from batchflow.settings import CALL_TIMEOUT_S, Settings
from batchflow.store.directory import DirectoryStore
from batchflow.store.protocol import Store
from batchflow.store.sources import LocalFiles, StoredFiles, UserSources

__all__ = ["open_sources", "open_store"]


def open_store(url: str, call_timeout_s: float = CALL_TIMEOUT_S) -> Store:
    """The store at `s3://bucket/prefix`, or in an absolute directory (made at need); raises InvalidInput.

    `call_timeout_s`: how long an answer of S3 is waited for.
    """
    if url.startswith("s3://"):
        from batchflow.store.s3 import S3Store, connect  # boto3 takes 0.3 s to import

        return S3Store(connect(call_timeout_s), url)
    if not url:
        raise InvalidInput(
            "is not set", where="BATCHFLOW_STORE", hint='give s3://bucket/prefix; or run on this machine: --local, engine="local"'
        )
    return DirectoryStore(Path(url))


def open_sources(settings: Settings) -> UserSources:
    """`s3://` always; absolute paths and `file://` if `settings.sources` lists `file`."""
    return UserSources(partial(_s3_files, settings.call_timeout_s), LocalFiles() if "file" in settings.sources else None)


def _s3_files(call_timeout_s: float) -> StoredFiles:
    from batchflow.store.s3 import S3Files, connect  # boto3 takes 0.3 s to import

    return S3Files(connect(call_timeout_s))
