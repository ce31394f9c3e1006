"""Records that are created once, by one of several that try."""

from __future__ import annotations

from batchflow.store.protocol import Store

__all__ = ["create_own"]


def create_own(store: Store, key: str, data: bytes) -> bool:
    """Whether `key` is this very caller's. `data` is unlike anybody else's: S3 also refuses a write whose own answer was lost."""
    return store.create(key, data) or store.get(key) == data
