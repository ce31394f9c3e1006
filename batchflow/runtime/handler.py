"""The user's class: found, checked by Cortex's rules, constructed, called."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .reasons import StartError
from .settings import Settings

__all__ = ["LoadedHandler", "api_entry", "load", "merge_config"]

_HOOK = "on_job_complete"


@dataclass(frozen=True)
class _Generation:
    """What a class must look like; `batch_args` and `init_args` may be asked for by name, the `required_args` must be."""

    class_name: str
    method: str
    batch_args: tuple[str, ...]
    init_args: tuple[str, ...] = ("config", "job_spec")
    required_args: tuple[str, ...] = ("config",)


_GENERATIONS = {
    "handler": _Generation("Handler", "handle_batch", ("payload", "batch_id")),
    "predictor": _Generation("PythonPredictor", "predict", ("payload", "batch_id", "headers", "query_params")),
}


class LoadedHandler:
    """An instance of the user's class. Its methods raise whatever the user's code raises."""

    def __init__(self, instance: Any, generation: _Generation, job_id: str) -> None:
        self.job_id = job_id
        self._handle = getattr(instance, generation.method)
        self._batch_args = _arguments(self._handle)
        self._hook = getattr(instance, _HOOK, None)

    @property
    def has_hook(self) -> bool:
        return self._hook is not None

    def handle(self, payload: list[Any], batch_id: str) -> None:
        """Handle one batch; the return value is ignored, as in Cortex."""
        given = {"payload": payload, "batch_id": batch_id, "headers": None, "query_params": None}
        self._handle(**{name: given[name] for name in self._batch_args})

    def complete(self) -> None:
        """Call the class's on_job_complete; nothing if it has none."""
        if self._hook is not None:
            self._hook()


def api_entry(settings: Settings) -> tuple[str, dict[str, Any]]:
    """`handler` or `predictor`, whichever key the api's entry of cortex.yaml has, and what is under it."""
    spec = _read_json(settings.api_spec)
    for key in _GENERATIONS:
        if spec.get(key):
            return key, spec[key]
    raise StartError(f"{settings.api_spec}: the api has neither handler nor predictor")


def load(settings: Settings) -> LoadedHandler:
    """Import the api's file, construct its class with the job's config; raises StartError, or what the user's code raises."""
    key, entry = api_entry(settings)
    generation = _GENERATIONS[key]
    module = _import(settings, entry["path"])
    cls = getattr(module, generation.class_name, None)
    if not inspect.isclass(cls):
        raise StartError(f"{entry['path']}: {generation.class_name} class is not defined")
    _check(cls, generation, entry["path"])
    job = _read_json(settings.job_spec)
    job_id = job["job_id"]  # read before the user's code can change it
    given = {"config": merge_config(entry.get("config") or {}, job.get("config") or {}), "job_spec": job}
    instance = cls(**{name: given[name] for name in _arguments(cls.__init__, bound=False)})
    return LoadedHandler(instance, generation, job_id)


def merge_config(api: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of the api's config with the job's over it, key by key in nested maps; other values are replaced."""
    merged = copy.deepcopy(dict(api))
    for key, value in job.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge_config(below, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError) as error:
        raise StartError(f"{path}: {error}") from error


def _import(settings: Settings, path: str) -> ModuleType:
    """Load the file under its own name, so that other modules and pickles find it, unless that name is taken."""
    file = os.path.join(settings.project, path)
    if not path.endswith(".py"):
        raise StartError(f"{path}: must be a .py file")
    if not os.path.isfile(file):
        raise StartError(f"{path}: there is no such file in the project")
    name = os.path.basename(path)[: -len(".py")]
    name = "cortex_handler" if name in sys.modules else name
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check(cls: type, generation: _Generation, path: str) -> None:
    """Cortex's rules on methods and their arguments, with its texts (spec/cortex.md section 2)."""
    where = f"{path}: class {cls.__name__}"
    for method, allowed in (
        ("__init__", generation.init_args),
        (generation.method, generation.batch_args),
        (_HOOK, ()),
    ):
        function = getattr(cls, method, None)
        if function is None:
            if method == _HOOK:
                continue
            raise StartError(f'{where}: required method "{method}" is not defined')
        if not callable(function):
            raise StartError(f'{where}: "{method}" is defined, but is not a method')
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise StartError(f"{where}: {method} must be a plain method: nobody would await it, or iterate over it")
        required = generation.required_args if method == "__init__" else ()
        _check_arguments(where, method, function, allowed, required)


def _check_arguments(where: str, method: str, function: Callable[..., Any], allowed: tuple[str, ...], required: tuple[str, ...]) -> None:
    names = _arguments(function, bound=False)
    invalid = f'{where}: invalid signature for method "{method}({", ".join(["self", *names])})"'
    for name in required:
        if name not in names:
            raise StartError(f'{invalid}: "{name}" is a required argument, but was not provided')
    for name in names:
        if name not in allowed:
            raise StartError(f'{invalid}: "{name}" is not a supported argument')


def _arguments(function: Callable[..., Any], *, bound: bool = True) -> list[str]:
    """Names of the arguments, without `self`, `*args` and `**kwargs`."""
    parameters = list(inspect.signature(function).parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters[0 if bound else 1 :] if p.kind not in variadic]
