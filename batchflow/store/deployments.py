"""Reads and writes the records of job deployments and their calls: with call.py the only module that knows where each of them is.

names/                                      which deployment_id each name stands for: store/names.py
deployments/<name>/<deployment_id>/
    deployment.json                         the deployment as it is now
    paused, terminating                     there or not
    ids/<SHA-256 of a client's id>.json     the call of that id; created once
    waiting/<call>.<expires>                calls to be started, in order of arrival; <expires> in Unix seconds
    running/<call>.<token>                  calls that have one of the deployment's slots; <token>: whose claim that is
    calls/<call>/registered.json            the client's id
                 request.json, body         what to ask the replica
                 fate.json                  started, or dropped and why; created once
                 submitted                  its Workflow was created
                 delivered.json             the request is on its way to the replica; created once
                 reply.json, reply          what the replica answered
                 unanswered.json            or that it gave no whole answer
                 stop.json                  why the replica is to be stopped
                 ended.json                 completed; created once
                 logs/<container>.log       the last 1 MiB
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import orjson

from batchflow.callrecords import CallRef, JobDeploymentRecord, check_deployment_name, new_deployment_id
from batchflow.store.call import CallRecords
from batchflow.store.creation import create_own
from batchflow.store.names import Names
from batchflow.store.protocol import Store

__all__ = ["PAUSED", "TERMINATING", "CallRecords", "DeploymentRecords", "JobDeployments", "Waiting"]

PAUSED: Final = "paused"
TERMINATING: Final = "terminating"


class Waiting(NamedTuple):
    """A call that waits, and until when (Unix seconds)."""

    call: str
    expires: int


class JobDeployments:
    """All that a store holds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._names = Names(store)

    def names(self) -> Iterator[str]:
        """In their order; one that is being deleted is among them until its last record is gone."""
        return self.store.folders("deployments/")

    def find(self, name: str) -> DeploymentRecords | None:
        """The deployment of that name, also one that is being deleted; None if there is none."""
        deployment_id = self._names.find(check_deployment_name(name))
        return None if deployment_id is None else DeploymentRecords(self.store, name, deployment_id)

    def create(self, name: str, record: JobDeploymentRecord) -> DeploymentRecords | None:
        """None, and nothing written, if the name is taken."""
        records = DeploymentRecords(self.store, check_deployment_name(name), new_deployment_id())
        records.save(record)  # first: whoever finds the name finds the deployment
        if self._names.take(name, records.deployment_id):
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
        self._names.free(records.name, records.deployment_id)
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
        """`flag`: PAUSED or TERMINATING."""
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
        return create_own(self.store, self._id_key(client_id), orjson.dumps({"call": call}))

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
        """The calls that have a slot, in order of arrival, however many have claimed it for them."""
        return list(dict.fromkeys(_claimed_call(key) for key in self.store.list(self.prefix + "running/")))

    def has_running_or_waiting(self) -> bool:
        """False if no call has a slot, or waits for one; it costs less than to list them."""
        return not {"running", "waiting"}.isdisjoint(self.store.folders(self.prefix))

    def claim(self, call: str, token: str) -> None:
        """Take a slot for a call; no effect if that was done. `token`: the caller's own, so that it takes back no other's claim."""
        self.store.put(self._claim_key(call, token), b"")

    def claims(self, call: str) -> list[str]:
        """The tokens of those that have claimed its slot."""
        return [key.rpartition(".")[2] for key in self.store.list(self._claim_key(call, ""))]

    def withdraw(self, call: str, token: str) -> None:
        """Take back one claim; while there is another, the call keeps its slot."""
        self.store.delete([self._claim_key(call, token)])

    def release(self, call: str) -> None:
        """Give back the call's slot, whoever claimed it."""
        self.store.delete(list(self.store.list(self._claim_key(call, ""))))

    def delete_calls(self) -> None:
        """Delete every record but the deployment's own; the clients' ids first, so that nobody takes a call that is half gone for whole."""
        self.store.delete(self.store.list(self.prefix + "ids/"))
        kept = {self.prefix + name for name in ("deployment.json", TERMINATING)}
        self.store.delete(key for key in self.store.list(self.prefix) if key not in kept)

    def delete(self) -> None:
        """Delete every record; those of the deployment itself last, so that a repeat finds what is left."""
        self.delete_calls()
        self.store.delete(self.store.list(self.prefix))

    def _id_key(self, client_id: str) -> str:
        return f"{self.prefix}ids/{hashlib.sha256(client_id.encode()).hexdigest()}.json"

    def _claim_key(self, call: str, token: str) -> str:
        return f"{self.prefix}running/{call}.{token}"

    def _waiting_key(self, waiting: Waiting) -> str:
        return f"{self.prefix}waiting/{waiting.call}.{waiting.expires}"


def _waiting(key: str) -> Waiting:
    call, _, expires = key.rpartition("/")[2].partition(".")
    return Waiting(call, int(expires))


def _claimed_call(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
