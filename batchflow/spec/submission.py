"""A job as asked for: the rules, their order, their words and codes are Cortex's (spec/cortex.md section 4).

First every field's type, then the rules, so that a wrong type wins over a broken rule, as it does where JSON is decoded into structs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from batchflow.spec.fields import CANNOT_BE_EMPTY, TOO_FEW, TOO_SMALL, Field, Fields
from batchflow.spec.model import MAX_BATCH_BYTES, DeadLetterQueue, DelimitedFiles, FilePathLister, ItemList, Source, Submission
from batchflow.spec.reader import Place, document_of

__all__ = ["NO_PATHS", "parse_fields", "parse_submission"]

_FIFO_ARN: Final = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d+:[A-Za-z0-9_-]{1,75}\.fifo")
_LIMIT: Final = MAX_BATCH_BYTES - 1
_ITEM_LIMIT: Final = _LIMIT - 2  # alone in its batch it stands between two brackets
NO_PATHS: Final = "s3_paths: must contain at least 1 elements"
_ONE_SOURCE: Final = "specify exactly one of the following keys: item_list, file_path_lister, or delimited_files"
_SEVERAL_SOURCES: Final = (
    "please specify either the item_list or file_path_lister field (but not more than one at the same time)"  # names two of three
)


def parse_submission(body: Mapping[str, Any], *, api: str, strict: bool) -> Submission:
    """A submission's body, which has no `api` of its own. Unknown keys fail if `strict`; else they are ignored, as Cortex does.

    Raises:
        InvalidInput: `kind` is Cortex's error code, `what` its message, without the link to the docs that the gateway may add.
    """
    document = document_of(body, message_names_fields=True, ignores_unknown=not strict)
    return parse_fields(Field.of(document).fields(), api=api)


def parse_fields(body: Fields, *, api: str, api_file: str = "") -> Submission:
    """As `parse_submission`, for a body of which the caller has already asked for what is not Cortex's."""
    workers = body.integer("workers", 0)
    timeout, queue, config = body.get("timeout"), body.get("sqs_dead_letter_queue"), body.get("config")
    submission = _Draft(
        place=body.place,
        workers=workers,
        timeout_s=timeout.integer() if timeout else None,
        config=config.mapping() if config else None,
        queue=_queue(queue) if queue else None,
        sources=[_source(key, field) for key in _SOURCES if (field := body.get(key))],
    )
    body.finish()
    source = submission.checked_source()
    return Submission(
        api=api,
        workers=submission.workers,
        source=source,
        timeout_s=submission.timeout_s,
        dead_letter_queue=submission.queue,
        config=submission.config,
        api_file=api_file,
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A submission whose types are right."""

    place: Place
    workers: int
    timeout_s: int | None
    config: Mapping[str, Any] | None
    queue: DeadLetterQueue | None
    sources: list[Source]

    def checked_source(self) -> Source:
        """The one source; the first rule broken raises."""
        if not self.sources:
            raise self.place.error(_ONE_SOURCE, kind="job.specify_exactly_one_key")
        if len(self.sources) > 1:
            raise self.place.at(self.sources[1].key).called().error(_SEVERAL_SOURCES, kind="job.conflicting_fields")
        source = self.sources[0]
        place = self.place.at(source.key)
        sizes = _item_sizes(source, place) if isinstance(source, ItemList) else []
        _at_least_one(place.at("batch_size"), source.batch_size)
        _at_least_one(self.place.at("workers"), self.workers)
        if self.timeout_s is not None:
            _at_least_one(self.place.at("timeout"), self.timeout_s)
        if self.queue is not None:
            queue_place = self.place.at("sqs_dead_letter_queue")
            if not self.queue.arn:
                raise queue_place.at("arn").error("cannot be empty", kind=CANNOT_BE_EMPTY)
            _at_least_one(queue_place.at("max_receive_count"), self.queue.max_receive_count)
            if not _FIFO_ARN.fullmatch(self.queue.arn):
                hint = "such as arn:aws:sqs:us-west-2:123456789012:failed.fifo"
                raise queue_place.at("arn").error(f'"{self.queue.arn}" is not the ARN of a FIFO queue', hint=hint)
        if isinstance(source, ItemList):
            _check_batches(sizes, source.batch_size, place)
        elif not source.s3_paths:
            raise place.error(NO_PATHS, kind=TOO_FEW)
        return source


def _queue(field: Field) -> DeadLetterQueue:
    fields = field.fields()
    arn = fields.get("arn")
    queue = DeadLetterQueue(arn=arn.string() if arn else "", max_receive_count=fields.integer("max_receive_count", 0))
    fields.finish()
    return queue


def _item_list(fields: Fields) -> ItemList:
    items = fields.get("items")
    return ItemList(items=items.sequence() if items else [], batch_size=fields.integer("batch_size", 0))


def _file_path_lister(fields: Fields) -> FilePathLister:
    return FilePathLister(**_files(fields))


def _delimited_files(fields: Fields) -> DelimitedFiles:
    return DelimitedFiles(**_files(fields))


def _files(fields: Fields) -> dict[str, Any]:
    lists = {key: fields.strings(key) for key in ("s3_paths", "includes", "excludes")}
    return {**lists, "batch_size": fields.integer("batch_size", 0)}


_SOURCES: Final[dict[str, Callable[[Fields], Source]]] = {
    ItemList.key: _item_list,
    FilePathLister.key: _file_path_lister,
    DelimitedFiles.key: _delimited_files,
}


def _source(key: str, field: Field) -> Source:
    fields = field.fields()
    source = _SOURCES[key](fields)
    fields.finish()
    return source


def _at_least_one(place: Place, number: int) -> None:
    if number < 1:
        raise place.error(f"must be greater than or equal to 1 (got {number})", kind=TOO_SMALL)


def _item_sizes(source: ItemList, place: Place) -> list[int]:
    """Bytes of each item as compact JSON."""
    items = place.at("items").called("items")
    if not source.items:
        raise items.error("must contain at least 1 elements", kind=TOO_FEW)
    sizes = [len(orjson.dumps(item)) for item in source.items]
    for index, size in enumerate(sizes):
        if size > _ITEM_LIMIT:
            what = f"item {index} has size {size} bytes which exceeds the limit ({_ITEM_LIMIT} bytes)"
            raise (
                items.at(index)
                .called()
                .error(what, kind="batchapi.item_size_exceeds_limit", hint="put its data into a file, and list that")
            )
    return sizes


def _check_batches(sizes: list[int], batch_size: int, place: Place) -> None:
    for index, size in enumerate(_batch_sizes(sizes, batch_size)):
        if size > _LIMIT:
            what = f"cannot enqueue batch {index} because its size of {size} bytes exceeds the {_LIMIT} bytes limit"
            raise place.at("batch_size").called().error(what, hint=f"lower batch_size (it is {batch_size})")


def _batch_sizes(sizes: list[int], batch_size: int) -> Iterator[int]:
    """Bytes of each batch as a compact JSON array: its items, the commas between them, two brackets."""
    for start in range(0, len(sizes), batch_size):
        batch = sizes[start : start + batch_size]
        yield sum(batch) + len(batch) + 1
