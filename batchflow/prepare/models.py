"""The models of a tensorflow Handler: found where the api says, put where TensorFlow Serving and the runtime look for them.

A model is a folder with a SavedModel, or one of versions: folders named by numbers, each with a SavedModel. Without versions it is
version 1.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from batchflow import contract
from batchflow.errors import InvalidInput, Unreachable
from batchflow.spec.handler import MODEL_NAME
from batchflow.spec.model import Model, Models
from batchflow.store.protocol import SourceFile
from batchflow.store.sources import LocalFiles, StoredFiles, UserSources, local_path

__all__ = ["fetch_models"]

_ADDRESS: Final = re.compile(r"/|[a-z0-9]+://")
_SAVED_MODELS: Final = ("saved_model.pb", "saved_model.pbtxt")
_VERSION: Final = re.compile(r"[0-9]+")
_UNVERSIONED: Final = "1"
_DOWNLOADS: Final = 8
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder's files by their paths below it; `where` is what the user calls it."""

    where: str
    stored: StoredFiles
    files: Mapping[str, SourceFile]


def fetch_models(models: Models, sources: UserSources, project: Path, folder: Path) -> None:
    """Write each model to `folder/<name>/<version>/`, and beside them TensorFlow Serving's configuration and the models' names.

    Relative paths are below `project`. Raises InvalidInput for a path that holds no model, Unreachable if one can't be read or written.
    """
    found = [(model, _versions(files)) for model, files in _found(models, sources, project)]
    for model, files in found:
        _download(files, folder / model.name)
    named = [model for model, _ in found]
    (folder / contract.SERVING_CONFIG).write_text(_serving_config(folder / model.name for model in named), encoding="utf-8")
    listed = [{"name": model.name, "signature_key": model.signature_key} for model in named]
    (folder / contract.MODELS_FILE).write_text(json.dumps({"models": listed}), encoding="utf-8")


def _found(models: Models, sources: UserSources, project: Path) -> Iterator[tuple[Model, _Folder]]:
    """The models, each with all that is below its path."""
    for model in models.listed:
        yield model, _list(model.path, sources, project)
    if models.dir is not None:
        for name, files in _folders(_list(models.dir, sources, project)).items():
            yield Model(name, files.where, models.signature_key), files


def _list(path: str, sources: UserSources, project: Path) -> _Folder:
    relative = not _ADDRESS.match(path)
    stored = LocalFiles() if relative else sources.stored(path)
    prefix = (str(project / path) if relative else local_path(path)).rstrip("/") + "/"
    files = {_checked(file.path.removeprefix(prefix), file.path): file for file in stored.list(prefix)}
    for parent in {str(parent) for name in files for parent in PurePosixPath(name).parents} & files.keys():
        raise InvalidInput("is a file and a folder", where=files[parent].path, hint="delete the file")
    return _Folder(f"{path.rstrip('/')}/", stored, files)


def _checked(path: str, whole: str) -> str:
    """The path, if it stays below a folder: S3 takes any key."""
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidInput("can't be the path of a file", where=whole, hint="rename it")
    return path


def _folders(parent: _Folder) -> dict[str, _Folder]:
    """Its folders by name; files beside them, such as a README, are nobody's."""
    names: dict[str, dict[str, SourceFile]] = {}
    for path, file in parent.files.items():
        name, slash, rest = path.partition("/")
        if slash:
            names.setdefault(name, {})[rest] = file
    if not names:
        raise InvalidInput("holds no folder of a model", where=parent.where)
    for name in names:
        if not MODEL_NAME.fullmatch(name):
            hint = "use letters, digits, underscores and dashes"
            raise InvalidInput(f'"{name}" is not a valid name of a model', where=parent.where, hint=hint)
    return {name: _Folder(f"{parent.where}{name}/", parent.stored, files) for name, files in names.items()}


def _versions(model: _Folder) -> _Folder:
    """The files of its versions, by their paths as TensorFlow Serving wants them."""
    if any(name in model.files for name in _SAVED_MODELS):
        return replace(model, files={f"{_UNVERSIONED}/{path}": file for path, file in model.files.items()})
    versions = {path.partition("/")[0] for path in model.files if _VERSION.fullmatch(path.partition("/")[0]) and "/" in path}
    if not versions:
        raise InvalidInput(
            "holds no TensorFlow model",
            where=model.where,
            hint="there must be a saved_model.pb, or folders named by version numbers, each with one",
        )
    for version in sorted(versions, key=int):
        if not any(f"{version}/{name}" in model.files for name in _SAVED_MODELS):
            raise InvalidInput("holds no saved_model.pb", where=f"{model.where}{version}/", hint="see whether it was written whole")
    return replace(model, files={path: file for path, file in model.files.items() if path.partition("/")[0] in versions})


def _download(model: _Folder, folder: Path) -> None:
    def copy(path: str, file: SourceFile) -> None:
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with model.stored.open(file) as content, place.open("wb") as copied:
                shutil.copyfileobj(content, copied, _READ_BYTES)
        except OSError as error:  # errors of reading are ours already
            raise Unreachable(f"can't be written: {error.strerror}", where=str(place), hint="see how much room /mnt has") from error

    with ThreadPoolExecutor(_DOWNLOADS) as threads:
        try:
            list(threads.map(copy, model.files.keys(), model.files.values()))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _serving_config(folders: Iterable[Path]) -> str:
    """A ModelServerConfig as text: every version of each model is served. A JSON string is one of text protobufs, too.

    https://www.tensorflow.org/tfx/serving/serving_config
    """
    models = "".join(
        "  config {\n"
        f"    name: {json.dumps(folder.name)}\n"
        f"    base_path: {json.dumps(str(folder), ensure_ascii=False)}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy { all {} }\n"
        "  }\n"
        for folder in folders
    )
    return f"model_config_list {{\n{models}}}\n"
