"""job.yaml: a submission's body, plus `api`, with paths relative to the file, and what the command line overrides."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from batchflow.errors import InvalidInput
from batchflow.spec.api import api_name, load_api, load_apis
from batchflow.spec.fields import Field
from batchflow.spec.model import ItemList, Source, Submission
from batchflow.spec.reader import document_of, read_document
from batchflow.spec.submission import parse_fields

__all__ = ["load_submission"]

_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_API_FILE: Final = "cortex.yaml"


def load_submission(path: Path, *, overrides: Mapping[str, Any]) -> Submission:
    """Read a job file.

    Args:
        path: YAML or JSON.
        overrides: `workers`, and `config.<key>` with a dotted path of keys below `config`; they win over the file.

    Raises:
        NotFound: the file, the api's file, or the api in it isn't there.
        InvalidInput: a rule is broken; says which, and in which line.
    """
    document = read_document(path)
    Field.of(document).mapping()
    document = replace(document, value=_overridden(document.value, overrides), message_names_fields=True)
    body = Field.of(document).fields()
    folder = path.absolute().parent
    name, api_file = _api(body.need("api"), folder)
    submission = parse_fields(body, api=name, api_file=api_file)
    return replace(submission, source=_absolute_source(submission.source, folder))


def _api(field: Field, folder: Path) -> tuple[str, str]:
    """The api's name, and the file that holds it: the one named, else a cortex.yaml beside the job file that has the api, else none."""
    if isinstance(field.value, dict):
        fields = field.fields()
        file, name = folder / fields.need("file").text(), fields.optional_string("name")
        fields.finish()
        return load_api(file, name).name, os.path.normpath(file)
    if not isinstance(field.value, str):
        raise field.error("must be an api's name, or a map of file and name")
    name, beside = api_name(field), folder / _API_FILE
    if beside.is_file() and any(api.name == name for api in load_apis(beside)):
        return name, str(beside)
    return name, ""


def _overridden(body: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A new body; the given one may be shared, and stays as it is."""
    for key, value in overrides.items():
        keys = key.split(".")
        if key == "workers":
            Field.of(document_of(value, "--workers")).integer(least=1)
        elif keys[0] != "config" or len(keys) == 1 or not all(keys):
            raise InvalidInput(f'"{key}" can\'t be set', where="--set", hint="set config.<key>, or config.<key>.<key>")
        body = _with(body, keys, value, key)
        if key != "workers":
            document_of(body["config"], f"--set {key}")
    return body


def _with(mapping: dict[str, Any], keys: list[str], value: Any, whole: str) -> dict[str, Any]:
    if len(keys) > 1:
        inner = mapping.get(keys[0])
        if inner is not None and not isinstance(inner, dict):
            raise InvalidInput(f'"{keys[0]}" is not a map', where=f"--set {whole}")
        value = _with(inner or {}, keys[1:], value, whole)
    return {**mapping, keys[0]: value}


def _absolute_source(source: Source, folder: Path) -> Source:
    if isinstance(source, ItemList):
        return source
    return replace(source, s3_paths=tuple(_absolute(path, folder) for path in source.s3_paths))


def _absolute(path: str, folder: Path) -> str:
    """A path is a raw prefix, so its trailing slash counts: `images` also means images2/, `images/` doesn't. Addresses stay as they are."""
    if not path or _SCHEME.match(path):
        return path
    slash = "/" if path.endswith("/") or path.split("/")[-1] in (".", "..") else ""
    return os.path.normpath(folder / os.path.expanduser(path)).rstrip("/") + slash
