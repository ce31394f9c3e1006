"""Files of tokens, good ones and those that can't be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS, THEIRS, SPARE = "ours-0123456789abcdef", "theirs-0123456789abcdef", "spare-0123456789abcdef"


def write_tokens(file: Path, **namespaces: str) -> None:
    """Namespace by token, each token's dashes written as underscores."""
    tokens = [{"token": token.replace("_", "-"), "namespace": namespace} for token, namespace in namespaces.items()]
    file.write_text(json.dumps({"tokens": tokens}))


def key(token: str) -> str:
    return token.replace("-", "_")


def removed(file: Path) -> None:
    file.unlink()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def no_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("")


BROKEN_FILES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda file: file.write_text(""),
    "no YAML": lambda file: file.write_text("tokens: ["),
    "another form": lambda file: file.write_text("tokens: {a: b}"),
    "no tokens": lambda file: file.write_text("tokens: []"),
    "a short token": lambda file: file.write_text(f"tokens: [{{token: {SPARE[:8]}, namespace: batchflow}}]"),
    "no namespace": lambda file: file.write_text(f"tokens: [{{token: {SPARE}}}]"),
    "an unknown key": lambda file: file.write_text(f"tokens: [{{token: {SPARE}, namespace: batchflow, admin: true}}]"),
    "a namespace that is a path": lambda file: file.write_text(f"tokens: [{{token: {SPARE}, namespace: ../batchflow}}]"),
    "a token that is a number": lambda file: file.write_text("tokens: [{token: 12345678901234567, namespace: batchflow}]"),
    "nobody at all": lambda file: file.write_text("{tokens: [], clients: [], inference_keys: [], deadline_minimum_s: 60}"),
    "a client without a secret": lambda file: file.write_text("clients: [{id: a, namespace: batchflow}]"),
    "a client with a short secret": lambda file: file.write_text(f"clients: [{{id: a, secret: {SPARE[:8]}, namespace: batchflow}}]"),
    "a client that is there twice": lambda file: file.write_text(
        f"clients: [{{id: a, secret: {SPARE}, namespace: batchflow}}, {{id: a, secret: {SPARE}, namespace: batchflow}}]"
    ),
    "a client with a token": lambda file: file.write_text(f"clients: [{{id: a, secret: {SPARE}, token: {SPARE}, namespace: batchflow}}]"),
    "an inference key that is a map": lambda file: file.write_text("inference_keys: [{key: {}, namespace: batchflow}]"),
    "a key that is a token of another namespace": lambda file: file.write_text(
        f"{{tokens: [{{token: {SPARE}, namespace: batchflow}}], inference_keys: [{{key: {SPARE}, namespace: theirs}}]}}"
    ),
    "rules of another form": lambda file: file.write_text(
        f"{{tokens: [{{token: {SPARE}, namespace: batchflow}}], compute_resources: [{{sizes: [1]}}]}}"
    ),
    "a deadline of nothing": lambda file: file.write_text(f"{{tokens: [{{token: {SPARE}, namespace: batchflow}}], deadline_minimum_s: 0}}"),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "gone": removed,
    "a folder": a_folder,
    "below a file": no_folder,
}
