"""Which files a source names: raw prefixes filtered by globs (spec/cortex.md section 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from batchflow.enqueuer.globs import compile_glob
from batchflow.errors import InvalidInput
from batchflow.spec.model import DelimitedFiles, FilePathLister, ItemList, Source
from batchflow.store.protocol import SourceFile, Sources

__all__ = ["check_source", "list_files", "nothing_matches"]

_S3_PATH: Final = re.compile(r"s3://[^/]+(/.*)?", re.DOTALL)
_LOCAL_PATH: Final = re.compile(r"(file://)?/.*", re.DOTALL)


def check_source(source: Source, sources: Sources) -> None:
    """Raise InvalidInput, in Cortex's words, for globs, paths or buckets that can't be used, or if no file matches.

    Reads listings only, and stops at the first match.
    """
    if isinstance(source, ItemList):
        return
    files = list_files(source, sources)  # first, since bad globs are told before bad paths
    for path in source.s3_paths:
        if not (_S3_PATH.fullmatch(path) or _LOCAL_PATH.fullmatch(path)):
            what = f'"{path}" is not a valid s3 path (e.g. s3://bucket/path)'
            raise InvalidInput(what, where=source.key, kind="aws.invalid_s3_path")
    if next(files, None) is None:
        raise nothing_matches(source)


def list_files(source: FilePathLister | DelimitedFiles, sources: Sources) -> Iterator[SourceFile]:
    """The files in the order of `s3_paths`, then of their bytes; overlapping prefixes repeat them. A stream.

    A file is kept if `includes` is empty or one of them matches its whole path, and none of `excludes` does. Paths stay as they
    are: Cortex made `a/b` of `a//b`, which names another file.
    """
    includes = _compiled(source, "includes", source.includes)
    excludes = _compiled(source, "excludes", source.excludes)
    return _filtered(source, sources, includes, excludes)


def _compiled(source: FilePathLister | DelimitedFiles, field: str, patterns: Sequence[str]) -> list[Callable[[str], bool]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(compile_glob(pattern))
        except InvalidInput as error:
            raise InvalidInput(error.what, where=f"{source.key}: {field}: {pattern}", hint=error.hint) from None
    return compiled


def _filtered(
    source: FilePathLister | DelimitedFiles,
    sources: Sources,
    includes: Sequence[Callable[[str], bool]],
    excludes: Sequence[Callable[[str], bool]],
) -> Iterator[SourceFile]:
    for prefix in source.s3_paths:
        try:
            for file in sources.list(prefix):
                if (not includes or any(match(file.path) for match in includes)) and not any(match(file.path) for match in excludes):
                    yield file
        except InvalidInput as error:
            where = f"{source.key}: {error.where}" if error.where else source.key
            raise InvalidInput(error.what, where=where, hint=error.hint, kind=error.kind) from None


def nothing_matches(source: FilePathLister | DelimitedFiles) -> InvalidInput:
    """The error of a source without files; for local paths it says which were searched."""
    kind = "batchapi.no_s3_files_found"
    if all(path.startswith("s3://") for path in source.s3_paths):
        return InvalidInput("no s3 files match search criteria", where=source.key, kind=kind)
    searched = ", ".join(source.s3_paths)
    hint = f"files were searched whose path begins with {searched}" + (" and that the globs let through" if source.includes else "")
    relative = [glob for glob in source.includes if not glob.startswith(("*" * 2, "/", "s3://", "{"))]
    if relative:
        hint = f'a glob matches the whole path: for "{relative[0]}" write "**/{relative[0]}"'
    return InvalidInput("no files match search criteria", where=source.key, hint=hint, kind=kind)
