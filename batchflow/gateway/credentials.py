"""Who may ask, and for what: the file that `BATCHFLOW_CREDENTIALS` names. It also has an installation's rules for job deployments."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Final

from batchflow.errors import BatchflowError, InvalidInput
from batchflow.gateway.accesstokens import ApiClient, Use, client_of
from batchflow.spec.computeresource import Rules, parse_rules
from batchflow.spec.fields import Field, Fields
from batchflow.spec.reader import read_document

__all__ = ["Bearer", "Credentials", "Kind"]

_log = logging.getLogger(__name__)

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # Kubernetes' DNS label
_CLIENT_ID: Final = re.compile(r"[!-~]{1,128}")
_SECRET: Final = re.compile(r"[!-~]{16,}")  # what a header can carry, and nobody guesses
_FORM: Final = (
    "write tokens: [{token: …, namespace: …}], clients: [{id: …, secret: …, namespace: …}], inference_keys: [{key: …, namespace: …}], "
    "or some of these; a secret has at least 16 visible ASCII characters and opens one namespace, whose name is in lower case; "
    "make one with: openssl rand -hex 32"
)
_RULES: Final = ("deadline_minimum_s", "allow_latest_tag", "compute_resources")
_Stamp = tuple[int, int, int]


class Kind(Enum):
    """What a bearer's string is for."""

    TOKEN = "token"  # Cortex's endpoints
    ACCESS = "access token"  # Verda's management API
    INFERENCE = "inference key"  # Verda's inference side


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a string in `Authorization: Bearer` opens."""

    namespace: str
    kinds: frozenset[Kind]


@dataclass(slots=True)
class _Content:
    """The file's. `bearers` are by their digests, `tokens` the first of each namespace."""

    bearers: dict[bytes, Bearer] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    clients: dict[str, ApiClient] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)

    def add(self, secret: Field, namespace: str, kind: Kind) -> None:
        """Raises InvalidInput if the string opens another namespace already."""
        known = self.bearers.get(_digest(secret.value), Bearer(namespace, frozenset()))
        if known.namespace != namespace:
            raise secret.error("opens another namespace above")
        self.bearers[_digest(secret.value)] = Bearer(namespace, known.kinds | {kind})


class Credentials:
    """The file's. A change of it counts from the next request on; one that can't be read leaves the last good one in force.

    Secrets are compared as digests in constant time, all of them each time, so that an answer's time tells nothing.
    """

    def __init__(self, file: Path) -> None:
        """Raises InvalidInput or NotFound if the file can't be used."""
        self._file = file
        self._lock = Lock()
        self._stamp = _stamp(file)
        self._content = _read(file)

    def bearer(self, text: str) -> Bearer | None:
        """What a string opens, None if nothing."""
        asked, found = _digest(text), None
        content = self._current()
        for known, bearer in content.bearers.items():
            if hmac.compare_digest(known, asked):
                found = bearer
        client = None if found else client_of(text, Use.ACCESS, content.clients.get, now=time.time())
        return Bearer(client.namespace, frozenset({Kind.ACCESS})) if client else found

    def client(self, client_id: str) -> ApiClient | None:
        return self._current().clients.get(client_id)

    def authenticated(self, client_id: str, secret: str) -> ApiClient | None:
        """The client, if that is its secret."""
        client = self.client(client_id)
        return client if hmac.compare_digest(_digest(client.secret if client else ""), _digest(secret)) else None

    def token_of(self, namespace: str) -> str:
        """The first token that opens a namespace, for its own workers; empty if there is none."""
        return self._current().tokens.get(namespace, "")

    def namespaces(self) -> frozenset[str]:
        """All that something opens."""
        content = self._current()
        opened = {bearer.namespace for bearer in content.bearers.values()}
        return frozenset(opened | {client.namespace for client in content.clients.values()})

    @property
    def rules(self) -> Rules:
        return self._current().rules

    def _current(self) -> _Content:
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._content = _read(self._file)
                    counts = {"secrets": len(self._content.bearers), "clients": len(self._content.clients)}
                    _log.info("credentials read again", extra={"file": self._file, **counts})
                except BatchflowError as error:
                    _log.error("credentials can't be read, the last ones stay in force", extra={"error": error})
            return self._content


def _read(file: Path) -> _Content:
    """An error about anything but the rules tells the place only: what stands there may be a secret, and errors are logged."""
    try:
        fields = Field.of(read_document(file)).fields()
        content = _parsed(fields)
        for key in _RULES:
            fields.get(key)
        fields.finish()
    except InvalidInput as error:
        raise InvalidInput("is not as it must be", where=error.where, hint=_FORM) from None
    content.rules = parse_rules(fields)
    return content


def _parsed(fields: Fields) -> _Content:
    content = _Content()
    for entry in _entries(fields, "tokens"):
        token, namespace = _secret(entry, "token"), _namespace(entry)
        content.add(token, namespace, Kind.TOKEN)
        content.tokens.setdefault(namespace, token.text())
    for entry in _entries(fields, "inference_keys"):
        content.add(_secret(entry, "key"), _namespace(entry), Kind.INFERENCE)
    for entry in _entries(fields, "clients"):
        name, secret = entry.need("id"), _secret(entry, "secret")
        if not _CLIENT_ID.fullmatch(name.string()) or name.string() in content.clients:
            raise name.error("is no id, or is there twice")
        content.clients[name.string()] = ApiClient(name.string(), secret.text(), _namespace(entry))
    if not content.bearers and not content.clients:
        raise fields.place.error("lets nobody in")
    return content


def _entries(fields: Fields, key: str) -> list[Fields]:
    field = fields.get(key)
    return [element.fields() for element in field.elements()] if field else []


def _secret(entry: Fields, key: str) -> Field:
    secret = entry.need(key)
    if not isinstance(secret.value, str) or not _SECRET.fullmatch(secret.value):
        raise secret.error("is no secret")
    return secret


def _namespace(entry: Fields) -> str:
    """The entry's last field, so that whatever else is there is unknown."""
    namespace = entry.need("namespace")
    entry.finish()
    if not _NAMESPACE.fullmatch(namespace.text()):
        raise namespace.error("is not the name of a namespace")
    return namespace.text()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _stamp(file: Path) -> _Stamp:
    """Changes with the file, also where a link to it is swapped, as Kubernetes does with a Secret's; zeros if it can't be seen."""
    try:
        status = os.stat(file)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size
