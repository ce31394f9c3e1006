"""What a submission would enqueue, found out without creating anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from batchflow.enqueuer.batching import cut
from batchflow.enqueuer.listing import list_files, nothing_matches
from batchflow.spec.model import ItemList, Source
from batchflow.store.protocol import SourceFile, Sources

__all__ = ["DryRun", "dry_run"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """How much a job has to do."""

    items: int
    batches: int


def dry_run(source: Source, sources: Sources, *, on_file: Callable[[SourceFile], None] = lambda _: None) -> DryRun:
    """List the files and really cut the batches, so that a bad line or a batch too large is found; memory stays flat.

    `on_file` is told each file as it is reached. Raises as `check_source` and `cut`.
    """
    items = batches = 0
    found = False

    def told(listed: Iterable[SourceFile]) -> Iterator[SourceFile]:
        nonlocal found
        for file in listed:
            found = True
            on_file(file)
            yield file

    for batch in cut(source, () if isinstance(source, ItemList) else told(list_files(source, sources)), sources):
        batches += 1
        items += batch.items
    if not isinstance(source, ItemList) and not found:
        raise nothing_matches(source)
    return DryRun(items, batches)
