"""Reads and writes the records of one call. Where they are: deployments.py."""

from __future__ import annotations

from typing import BinaryIO

import orjson

from batchflow.callrecords import CallRef, CallRequest, Ending, Fate, Reply
from batchflow.store.creation import create_own
from batchflow.store.protocol import Store

__all__ = ["CallRecords"]


class CallRecords:
    """deployments/<name>/<deployment_id>/calls/<call>/: one call's."""

    def __init__(self, store: Store, ref: CallRef) -> None:
        self.store = store
        self.ref = ref
        self.prefix = f"deployments/{ref.deployment}/{ref.deployment_id}/calls/{ref.call}/"

    def names(self) -> frozenset[str]:
        """The names of the records that are there, such as `request.json`."""
        return frozenset(key.removeprefix(self.prefix) for key in self.store.list(self.prefix))

    def save_registered(self, client_id: str) -> None:
        self.store.put(self.prefix + "registered.json", orjson.dumps({"id": client_id}))

    def registered(self) -> str | None:
        """The client's id."""
        data = self._get("registered.json")
        return None if data is None else str(orjson.loads(data)["id"])

    def save_request(self, request: CallRequest) -> None:
        self.store.put(self.prefix + "request.json", request.dump())

    def request(self) -> CallRequest | None:
        data = self._get("request.json")
        return None if data is None else CallRequest.load(data)

    def save_body(self, file: BinaryIO, size_bytes: int) -> None:
        self.store.put_file(self.prefix + "body", file, size_bytes)

    def body(self) -> BinaryIO | None:
        """A stream of the request's body."""
        return self.store.open(self.prefix + "body")

    def decide(self, fate: Fate) -> Fate:
        """Decide whether the call is started, unless that is decided; returns what holds."""
        if create_own(self.store, self.prefix + "fate.json", fate.dump()):
            return fate
        return self.fate() or fate

    def fate(self) -> Fate | None:
        data = self._get("fate.json")
        return None if data is None else Fate.load(data)

    def mark_submitted(self) -> None:
        self.store.put(self.prefix + "submitted", b"")

    def deliver(self, token: str) -> bool:
        """Whether the caller may send the request: true for the first token only, for ever, however often it asks.

        `token`: the caller's own, so that it may ask again when the store did not answer.
        """
        return create_own(self.store, self.prefix + "delivered.json", orjson.dumps({"token": token}))

    def save_reply(self, reply: Reply, body: BinaryIO) -> None:
        self.store.put_file(self.prefix + "reply", body, reply.body_bytes)
        self.store.put(self.prefix + "reply.json", reply.dump())

    def reply(self) -> Reply | None:
        data = self._get("reply.json")
        return None if data is None else Reply.load(data)

    def reply_body(self) -> BinaryIO | None:
        """A stream."""
        return self.store.open(self.prefix + "reply")

    def save_unanswered(self, error: str) -> None:
        """There will be no reply. `error` is empty if the replica took the request and said nothing: its exit code tells how it went."""
        self.store.put(self.prefix + "unanswered.json", orjson.dumps({"error": error}))

    def unanswered(self) -> str | None:
        """None: there may have been a reply."""
        data = self._get("unanswered.json")
        return None if data is None else str(orjson.loads(data)["error"])

    def ask_to_stop(self, why: str) -> None:
        """The first reason stays. It becomes the call's error, unless that ended before."""
        self.store.create(self.prefix + "stop.json", orjson.dumps({"why": why}))

    def stop_reason(self) -> str:
        """Empty: it was not asked to stop."""
        data = self._get("stop.json")
        return "" if data is None else str(orjson.loads(data)["why"])

    def end(self, ending: Ending) -> None:
        """Complete the call; the first ending stays."""
        self.store.create(self.prefix + "ended.json", ending.dump())

    def ending(self) -> Ending | None:
        data = self._get("ended.json")
        return None if data is None else Ending.load(data)

    def save_log(self, container: str, tail: bytes) -> None:
        self.store.put(f"{self.prefix}logs/{container}.log", tail)

    def log(self, container: str) -> bytes | None:
        return self._get(f"logs/{container}.log")

    def delete(self) -> None:
        """Delete every record; the client's id last, so that a repeat finds it."""
        kept = self.prefix + "registered.json"
        self.store.delete(key for key in self.store.list(self.prefix) if key != kept)
        self.store.delete([kept])

    def _get(self, name: str) -> bytes | None:
        return self.store.get(self.prefix + name)
