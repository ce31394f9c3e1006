"""Who may ask: the tokens in the file that `BATCHFLOW_CREDENTIALS` names, each with the namespace that it opens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from batchflow.errors import BatchflowError, InvalidInput
from batchflow.spec.fields import Field
from batchflow.spec.reader import read_document

__all__ = ["Credentials"]

_log = logging.getLogger(__name__)

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # Kubernetes' DNS label
_TOKEN: Final = re.compile(r"[!-~]{16,}")  # what a header can carry, and nobody guesses
_FORM: Final = (
    "write tokens: [{token: at least 16 visible ASCII characters, namespace: a name in lower case}], each token for one namespace; "
    "make one with: openssl rand -hex 32"
)
_Stamp = tuple[int, int, int]


class Credentials:
    """The file's tokens. A change of it counts from the next request on; one that can't be read leaves the last good one in force.

    Tokens are compared as digests in constant time, all of them each time, so that an answer's time tells nothing.
    """

    def __init__(self, file: Path) -> None:
        """Raises InvalidInput or NotFound if the file can't be used."""
        self._file = file
        self._lock = Lock()
        self._stamp = _stamp(file)
        self._namespaces = _read(file)

    def namespace_of(self, token: str) -> str | None:
        """The namespace that a token opens, None if it opens none."""
        asked = _digest(token)
        found = None
        for known, namespace in self._current().items():
            if hmac.compare_digest(_digest(known), asked):
                found = namespace
        return found

    def token_of(self, namespace: str) -> str:
        """The first token that opens a namespace, for its own workers; empty if there is none."""
        return next((token for token, opened in self._current().items() if opened == namespace), "")

    def _current(self) -> Mapping[str, str]:
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._namespaces = _read(self._file)
                    _log.info("credentials read again", extra={"file": self._file, "tokens": len(self._namespaces)})
                except BatchflowError as error:
                    _log.error("credentials can't be read, the last ones stay in force", extra={"error": error})
            return self._namespaces


def _read(file: Path) -> dict[str, str]:
    """Namespace by token. Its errors tell the place only: what stands there may be a token, and they are logged."""
    try:
        return _parsed(file)
    except InvalidInput as error:
        raise InvalidInput("is not as it must be", where=error.where, hint=_FORM) from None


def _parsed(file: Path) -> dict[str, str]:
    fields = Field.of(read_document(file)).fields()
    found: dict[str, str] = {}
    for entry in fields.need("tokens").elements(least=1):
        parts = entry.fields()
        token, namespace = parts.need("token"), parts.need("namespace")
        parts.finish()
        if not isinstance(token.value, str) or not _TOKEN.fullmatch(token.value):
            raise token.error("is no token")
        if not _NAMESPACE.fullmatch(namespace.text()):
            raise namespace.error("is not the name of a namespace")
        if found.setdefault(token.text(), namespace.text()) != namespace.text():
            raise token.error("opens another namespace above")
    fields.finish()
    return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _stamp(file: Path) -> _Stamp:
    """Changes with the file, also where a link to it is swapped, as Kubernetes does with a Secret's; zeros if it can't be seen."""
    try:
        status = os.stat(file)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size
