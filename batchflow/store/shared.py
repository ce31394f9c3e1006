"""What several jobs may share: versions of apis, Handlers' projects, uploaded files. All of it is content-addressed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from batchflow.store.protocol import Store

__all__ = ["Shared", "keys_of", "stored", "uploads_in"]

_VERSION: Final = re.compile(r"apis/(?P<api>[^/]+)/(?P<id>[0-9a-f]{32})\.json")
_PROJECT: Final = re.compile(r"projects/(?P<sha256>[0-9a-f]{64})\.zip")
_UPLOAD: Final = re.compile(r"/uploads/(?P<name>[^/]+)/")


@dataclass(frozen=True, slots=True)
class Shared:
    """Versions as (api, api id), projects by SHA-256, uploads by their folders' names."""

    versions: frozenset[tuple[str, str]] = frozenset()
    projects: frozenset[str] = frozenset()
    uploads: frozenset[str] = frozenset()

    def without(self, other: Shared) -> Shared:
        return Shared(self.versions - other.versions, self.projects - other.projects, self.uploads - other.uploads)


def stored(store: Store, api: str = "") -> Shared:
    """All there is; of one api its versions, since the rest belongs to no api alone."""
    keys = store.list(f"apis/{api}/" if api else "apis/")
    versions = frozenset((match["api"], match["id"]) for key in keys if (match := _VERSION.fullmatch(key)))
    if api:
        return Shared(versions)
    projects = frozenset(match["sha256"] for key in store.list("projects/") if (match := _PROJECT.fullmatch(key)))
    return Shared(versions, projects, frozenset(store.folders("uploads/")))


def keys_of(store: Store, shared: Shared) -> Iterator[str]:
    """Versions first, because they name projects; a stream."""
    yield from (f"apis/{api}/{api_id}.json" for api, api_id in sorted(shared.versions))
    yield from (f"projects/{sha256}.zip" for sha256 in sorted(shared.projects))
    for name in sorted(shared.uploads):
        yield from store.list(f"uploads/{name}/")


def uploads_in(submission: dict[str, Any]) -> frozenset[str]:
    """The uploads that a submission's body names as its input; rather one too many than one too few."""
    sources: Iterable[Any] = (value for value in submission.values() if isinstance(value, dict))
    paths = (path for source in sources for path in source.get("s3_paths", ()))
    return frozenset(match["name"] for path in paths for match in _UPLOAD.finditer(path))
