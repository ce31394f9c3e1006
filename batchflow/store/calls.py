"""Reads and writes the records of job deployments and their calls: the only module that knows where in the store each of them is.

deployments/<name>/current.json             which deployment_id the name stands for; created once, deleted last
deployments/<name>/<deployment_id>/
    deployment.json                         the deployment as it is now
    paused, terminating                     there or not
    ids/<SHA-256 of a client's id>.json     the call of that id; created once
    waiting/<call>.<expires>                calls to be started, in order of arrival; <expires> in Unix seconds
    running/<call>                          calls that have one of the deployment's slots
    calls/<call>/registered.json            the client's id
                 request.json, body         what to ask the replica
                 fate.json                  started, or dropped and why; created once
                 submitted                  its Workflow was created
                 delivered.json             the request is on its way to the replica; created once
                 reply.json, reply          what the replica answered
                 stop.json                  why the replica is to be stopped
                 ended.json                 completed; created once
                 logs/<container>.log       the last 1 MiB
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import orjson

from batchflow.callrecords import CallRef, CallRequest, Ending, Fate, JobDeploymentRecord, Reply, check_deployment_name, new_deployment_id
from batchflow.store.protocol import Store

__all__ = ["CallRecords", "DeploymentRecords", "JobDeployments", "Waiting"]


class Waiting(NamedTuple):
    """A call that waits, and until when (Unix seconds)."""

    call: str
    expires: int


class JobDeployments:
    """All that a store holds."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def names(self) -> Iterator[str]:
        """In their order; one that is being deleted is among them until its last record is gone."""
        return self.store.folders("deployments/")

    def find(self, name: str) -> DeploymentRecords | None:
        """The deployment of that name, also one that is being deleted; None if there is none."""
        data = self.store.get(f"deployments/{check_deployment_name(name)}/current.json")
        return None if data is None else DeploymentRecords(self.store, name, orjson.loads(data)["deployment_id"])

    def create(self, name: str, record: JobDeploymentRecord) -> DeploymentRecords | None:
        """None, and nothing written, if the name is taken."""
        records = DeploymentRecords(self.store, check_deployment_name(name), new_deployment_id())
        records.save(record)  # first: whoever finds the name finds the deployment
        if _create(self.store, f"deployments/{name}/current.json", orjson.dumps({"deployment_id": records.deployment_id})):
            return records
        records.delete()
        return None

    def left_over(self, name: str) -> Iterator[str]:
        """The ids of earlier deployments of a name, of which late replicas have written records, or whose creation was cut off."""
        current = self.find(name)
        for deployment_id in self.store.folders(f"deployments/{name}/"):
            if current is None or current.deployment_id != deployment_id:
                yield deployment_id

    def forget(self, records: DeploymentRecords) -> None:
        """Delete every record of it; a repeat goes on where it was cut off, and if the name was gone by then, what is left is `left_over`.

        That it is terminating is deleted after the name: until then nobody takes it for one that lasts.
        """
        records.delete_calls()
        current = self.find(records.name)
        if current is not None and current.deployment_id == records.deployment_id:
            self.store.delete([f"deployments/{records.name}/current.json"])
        records.delete()


class DeploymentRecords:
    """deployments/<name>/<deployment_id>/: one deployment's."""

    def __init__(self, store: Store, name: str, deployment_id: str) -> None:
        self.store = store
        self.name = name
        self.deployment_id = deployment_id
        self.prefix = f"deployments/{name}/{deployment_id}/"

    def save(self, record: JobDeploymentRecord) -> None:
        self.store.put(self.prefix + "deployment.json", record.dump())

    def load(self) -> JobDeploymentRecord | None:
        """None if it was deleted a moment ago."""
        data = self.store.get(self.prefix + "deployment.json")
        return None if data is None else JobDeploymentRecord.load(data)

    def set_flag(self, flag: str, value: bool) -> None:
        """`flag`: paused or terminating."""
        if value:
            self.store.put(self.prefix + flag, b"")
        else:
            self.store.delete([self.prefix + flag])

    def has_flag(self, flag: str) -> bool:
        return self.store.get(self.prefix + flag) is not None

    def ref(self, call: str) -> CallRef:
        return CallRef(self.name, self.deployment_id, call)

    def call(self, call: str) -> CallRecords:
        return CallRecords(self.store, self.ref(call))

    def calls(self) -> Iterator[str]:
        """Every call that has a record, in order of arrival; a stream."""
        return self.store.folders(self.prefix + "calls/")

    def register(self, client_id: str, call: str) -> bool:
        """Let the client's id stand for the call; False if it stands for another."""
        CallRecords(self.store, self.ref(call)).save_registered(client_id)
        return _create(self.store, self._id_key(client_id), orjson.dumps({"call": call}))

    def call_of(self, client_id: str) -> str | None:
        data = self.store.get(self._id_key(client_id))
        return None if data is None else str(orjson.loads(data)["call"])

    def unregister(self, call: str) -> None:
        """Delete the call's records, and its id; a repeat goes on where it was cut off."""
        records = self.call(call)
        client_id = records.registered()
        if client_id is not None and self.call_of(client_id) == call:
            self.store.delete([self._id_key(client_id)])
        records.delete()

    def waiting(self) -> Iterator[Waiting]:
        """In order of arrival; a stream."""
        return map(_waiting, self.store.list(self.prefix + "waiting/"))

    def waiting_of(self, call: str) -> Waiting | None:
        """None if it does not wait (any more)."""
        keys = self.store.list(f"{self.prefix}waiting/{call}.")
        return next((_waiting(key) for key in keys), None)

    def wait(self, waiting: Waiting) -> None:
        """Have a call wait: from then on it may be started."""
        self.store.put(self._waiting_key(waiting), b"")

    def no_longer_waits(self, waiting: Waiting) -> None:
        self.store.delete([self._waiting_key(waiting)])

    def running(self) -> list[str]:
        """The calls that have a slot, in order of arrival."""
        return [key.rpartition("/")[2] for key in self.store.list(self.prefix + "running/")]

    def claim(self, call: str) -> bool:
        """Take a slot for a call; False if it has one already."""
        return _create(self.store, f"{self.prefix}running/{call}", secrets.token_bytes(8))

    def release(self, call: str) -> None:
        self.store.delete([f"{self.prefix}running/{call}"])

    def delete_calls(self) -> None:
        """Delete every record but the deployment's own."""
        kept = {self.prefix + name for name in ("deployment.json", "terminating")}
        self.store.delete(key for key in self.store.list(self.prefix) if key not in kept)

    def delete(self) -> None:
        """Delete every record; those of the deployment itself last, so that a repeat finds what is left."""
        self.delete_calls()
        self.store.delete(self.store.list(self.prefix))

    def _id_key(self, client_id: str) -> str:
        return f"{self.prefix}ids/{hashlib.sha256(client_id.encode()).hexdigest()}.json"

    def _waiting_key(self, waiting: Waiting) -> str:
        return f"{self.prefix}waiting/{waiting.call}.{waiting.expires}"


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
        if _create(self.store, self.prefix + "fate.json", fate.dump()):
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
        return _create(self.store, self.prefix + "delivered.json", orjson.dumps({"token": token}))

    def save_reply(self, reply: Reply, body: BinaryIO) -> None:
        self.store.put_file(self.prefix + "reply", body, reply.body_bytes)
        self.store.put(self.prefix + "reply.json", reply.dump())

    def reply(self) -> Reply | None:
        data = self._get("reply.json")
        return None if data is None else Reply.load(data)

    def reply_body(self) -> BinaryIO | None:
        """A stream."""
        return self.store.open(self.prefix + "reply")

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


def _waiting(key: str) -> Waiting:
    call, _, expires = key.rpartition("/")[2].partition(".")
    return Waiting(call, int(expires))


def _create(store: Store, key: str, data: bytes) -> bool:
    """Whether `key` is this very caller's. `data` is unlike anybody else's: S3 also refuses a write whose own answer was lost."""
    return store.create(key, data) or store.get(key) == data
