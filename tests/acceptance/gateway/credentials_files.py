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
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "gone": removed,
    "a folder": a_folder,
    "below a file": no_folder,
}
