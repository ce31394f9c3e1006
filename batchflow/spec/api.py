"""cortex.yaml: a list of apis, of either Cortex generation, with their names and endpoints checked across the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from batchflow.errors import InvalidInput, NotFound, SeveralErrors
from batchflow.spec.additions import parse_additions
from batchflow.spec.compute import node_groups
from batchflow.spec.fields import Field
from batchflow.spec.handler import parse_handler
from batchflow.spec.model import Api
from batchflow.spec.naming import label_name, warn_of_cortex_image
from batchflow.spec.pod import parse_pod
from batchflow.spec.reader import MAX_TOLD, Document, Findings, Place, document_of, read_document, shown_path

__all__ = ["MAX_API_NAME", "api_name", "handler_place", "load_api", "load_apis", "parse_api"]

_KIND: Final = "BatchAPI"
# Other kinds, Cortex's and our own: why they can't be had here, and what to do.
_OTHER_KINDS: Final = {
    "RealtimeAPI": ("batchflow runs jobs, and serves no single requests", "leave it out of this file"),
    "AsyncAPI": ("batchflow runs jobs, and queues no single requests", "make it a BatchAPI, and submit each request as a job"),
    "TaskAPI": ("batchflow runs jobs over items", "make it a BatchAPI, and submit jobs of one item"),
    "TrafficSplitter": ("there are no RealtimeAPIs to split traffic between", "leave it out of this file"),
    "JobDeployment": ("this is a file of apis", "put it into a file of its own"),
}
# Keys of other kinds, which Cortex refused for this one, in these words.
_OTHER_KEYS: Final = {
    "autoscaling": "a job says in `workers` how many it wants",
    "update_strategy": "jobs keep the version that they were submitted with",
    "monitoring": "a job's status has its metrics",
}
_API_GATEWAYS: Final = ("public", "none")
MAX_API_NAME: Final = 42
_ENDPOINT: Final = re.compile(r"[a-zA-Z0-9_\-./]*")
_MAX_ENDPOINT: Final = 1000


def load_apis(path: Path) -> list[Api]:
    """Every api of a file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file breaks a rule; says which, and in which line. SeveralErrors: it breaks more than one; names every
            key that can't be honoured, and the first other rule that each api breaks.
    """
    entries = _entries(read_document(path))
    apis = _parse_entries(entries)
    _refuse_twice("name", "name", entries, [api.name for api in apis])
    _refuse_twice("endpoint", "networking", entries, [api.endpoint for api in apis])
    return apis


def load_api(path: Path, name: str | None) -> Api:
    """One api of a file, whose other entries are checked too; `name` may be None if there is only one. Raises as `load_apis`."""
    apis = load_apis(path)
    names = ", ".join(api.name for api in apis)
    if name is None:
        if len(apis) > 1:
            raise InvalidInput("holds several apis", where=shown_path(path), hint=f"name one of {names}")
        return apis[0]
    for api in apis:
        if api.name == name:
            return api
    raise NotFound(f'there is no api "{name}"', where=shown_path(path), hint=f"there is {names}")


def parse_api(value: Mapping[str, Any], *, where: str) -> Api:
    """One entry as a value; `where` begins an error's place. Raises as `load_apis`."""
    [api] = _parse_entries([Field.of(document_of(value, where))])
    return api


def api_name(field: Field) -> str:
    """An api's name by Cortex's rules."""
    name = label_name(field, longest=MAX_API_NAME)
    if name.startswith("b-"):
        raise field.error('cannot begin with "b-"', hint="choose another name")
    return name


def handler_place(path: Path, api: Api, key: str) -> Place:
    """Where a file that `load_apis` accepted has a key of an api's handler, for errors that are found later."""
    for entry in _entries(read_document(path)):
        if api.handler and entry.value.get("name") == api.name:
            return _labelled(entry).place.at(api.handler.key).at(key)
    return Place(Document(None, shown_path(path)))


def _entries(document: Document) -> list[Field]:
    root = Field.of(document)
    if isinstance(document.value, dict):
        raise root.error("must be a list of apis (got a map)", hint='begin each api with "- "')
    return root.elements(least=1)


def _labelled(entry: Field) -> Field:
    """The entry called `<name> (<kind>)` in errors, as far as it has them."""
    if not isinstance(entry.value, dict):
        return entry
    name, kind = entry.value.get("name"), entry.value.get("kind")
    index = f"index {entry.key}" if entry.key else "api"
    label = name if isinstance(name, str) and name else index
    return Field(entry.value, entry.place.called(f"{label} ({kind})" if isinstance(kind, str) and kind else label))


def _parse_entries(entries: list[Field]) -> list[Api]:
    """As `load_apis`, of the entries of one document."""
    apis: list[Api] = []
    errors: list[InvalidInput] = []
    for entry in entries:
        api, found = _parsed(entry)
        apis += [api] if api else []
        errors += found
        if len(errors) > MAX_TOLD:
            break
    if len(errors) > 1:
        raise SeveralErrors(errors[:MAX_TOLD], where=entries[0].place.document.name)
    for error in errors:
        raise error
    return apis


def _parsed(entry: Field) -> tuple[Api | None, list[InvalidInput]]:
    """An api, unless there are errors: each key that can't be honoured, and the first other rule that is broken."""
    findings = Findings()
    place = replace(entry.place, document=replace(entry.place.document, findings=findings))
    try:
        api = _parse_entry(_labelled(Field(entry.value, place)))
    except InvalidInput as error:
        return None, [*findings.errors(), error]
    return api and replace(api, warnings=tuple(findings.warnings)), findings.errors()


def _parse_entry(entry: Field) -> Api | None:
    """None only if something was refused."""
    fields = entry.fields()
    if _is_of_another_kind(entry):
        return None
    name = api_name(fields.need("name"))
    fields.need("kind").one_of((_KIND,))
    for key, hint in _OTHER_KEYS.items():
        fields.refuse(key, f'key "{key}" is not supported', hint=hint)
    endpoint = _endpoint(fields.get("networking"), name)
    code = fields.exactly_one_of("handler", "predictor", "pod")
    handler, pod = None, None
    if code.key == "pod":
        fields.refuse("compute", 'key "compute" is not supported beside `pod`', hint="put it into each container")
        pod, groups = parse_pod(code), node_groups(fields)
        computes = tuple(container.compute for container in pod.containers)
    else:
        fields.refuse("node_groups", f'key "node_groups" is not supported beside `{code.key}`', hint="put it under `compute`")
        handler, groups = parse_handler(code, fields.get("compute"))
        computes = (handler.compute,)
        for key in ("image", "tensorflow_serving_image"):
            warn_of_cortex_image(code.fields().get(key), hint=f"leave `{key}` out, or name an image of your own")
    additions = parse_additions(fields.get("batchflow"), computes)
    fields.finish()
    has_hook = additions.on_job_complete is not False
    return Api(name, endpoint, handler, pod, groups, additions, has_hook, raw=entry.mapping())


def _is_of_another_kind(entry: Field) -> bool:
    """Then none of its other keys need be looked at."""
    kind = entry.mapping().get("kind")
    if not isinstance(kind, str) or kind not in _OTHER_KINDS:
        return False
    why, hint = _OTHER_KINDS[kind]
    entry.place.at("kind").refuse(f"kind {kind} is not supported: {why}", hint=hint)
    return True


def _endpoint(networking: Field | None, name: str) -> str:
    """With its leading slash, without a trailing one."""
    if networking is None:
        return f"/{name}"
    fields = networking.fields()
    field = fields.get("endpoint")
    if gateway := fields.get("api_gateway"):  # until 0.23
        gateway.one_of(_API_GATEWAYS)
        gateway.place.warn("has no effect here", hint="`batchflow serve` answers at the endpoint")
    fields.finish()
    if field is None:
        return f"/{name}"
    text = field.text()
    if len(text) > _MAX_ENDPOINT:
        raise field.error(f"must be no more than {_MAX_ENDPOINT} characters (got {len(text)})")
    if not _ENDPOINT.fullmatch(text):
        raise field.error(f'"{text}" is not a valid endpoint', hint="use letters, digits, underscores, dashes, dots and slashes")
    if "//" in text:
        raise field.error(f'"{text}" cannot contain "//"')
    endpoint = "/" + text.strip("/")
    if endpoint == "/":
        raise field.error('cannot be "/"', hint=f"leave it out for /{name}")
    return endpoint


def _refuse_twice(what: str, key: str, entries: list[Field], values: list[str]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            first = _labelled(entries[values.index(value)]).place
            raise (
                _labelled(entries[index])
                .place.at(key)
                .called(*_labelled(entries[index]).place.labels)
                .error(f'{what} "{value}" is taken by another api of this file', hint=f"{first.labels[0]} has it")
            )
