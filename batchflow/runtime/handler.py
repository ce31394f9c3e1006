"""The user's class: found, checked by Cortex's rules, constructed, called."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from .generations import CLASS_NAMES, HOOK, KEYS, Generation, argument_names, generation
from .metrics import MetricsClient
from .reasons import StartError, describe
from .serving import TensorFlowClient
from .settings import Settings

__all__ = ["LoadedHandler", "api_entry", "load", "merge_config"]


class LoadedHandler:
    """An instance of the user's class. Its methods raise whatever the user's code raises."""

    def __init__(self, instance: Any, method: str, job_id: str) -> None:
        self.job_id = job_id
        self._handle = getattr(instance, method)
        self._batch_args = argument_names(self._handle)
        self._hook = getattr(instance, HOOK, None) or None

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
    for key in KEYS:
        if spec.get(key):
            return key, spec[key]
    raise StartError(f"{settings.api_spec}: the api has neither handler nor predictor")


def load(settings: Settings) -> LoadedHandler:
    """Load the api's file, construct its class with what it asks for; raises StartError, or what the user's code raises."""
    key, entry = api_entry(settings)
    expected = generation(key, entry["type"])
    document = _read_json(settings.job_spec)
    cls = _find_class(settings, entry["path"], expected)
    expected.check(cls, entry["path"])
    sources: dict[str, Callable[[], Any]] = {
        "config": lambda: merge_config(entry.get("config") or {}, document.get("config") or {}),
        "job_spec": lambda: copy.deepcopy(document),
        "metrics_client": lambda: MetricsClient(settings.metrics_host),
        "tensorflow_client": lambda: _tensorflow_client(settings),
    }
    wanted = argument_names(cls.__init__)[1:]  # type: ignore[misc]  # of the class itself, no subclass's
    return LoadedHandler(cls(**{name: sources[name]() for name in wanted}), expected.method, document["job_id"])


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


def _tensorflow_client(settings: Settings) -> TensorFlowClient:
    models = _read_json(settings.models)["models"]
    keys = {model["name"]: model.get("signature_key") for model in models}
    client = TensorFlowClient(keys, settings.serving_port, settings.batch_timeout_s)
    client.wait_until_available()
    return client


def _find_class(settings: Settings, path: str, expected: Generation) -> type:
    file = os.path.join(settings.project, path)
    if not os.path.isfile(file):
        raise StartError(f"{path}: there is no such file in the project")
    if path.endswith(".pickle"):
        return _unpickle(file, path)
    module = _import(file, path)
    cls = getattr(module, expected.class_name, None)
    if inspect.isclass(cls):
        return cls
    raise StartError(f"{path}: {expected.class_name} class is not defined{_hint(module)}")


def _hint(module: ModuleType) -> str:
    """What to do about a class that another generation or type has."""
    others = [name for name in CLASS_NAMES if inspect.isclass(getattr(module, name, None))]
    if "ONNXPredictor" in others:
        return "; ONNXPredictor is no longer supported: write a PythonPredictor that loads the model with onnxruntime"
    return f"; there is {others[0]}, so look at key and type in cortex.yaml" if others else ""


def _unpickle(file: str, path: str) -> type:
    """A class of any name, pickled by dill, which brings the class's code along."""
    try:
        dill = importlib.import_module("dill")
    except ImportError as error:
        raise StartError(f"{path}: dill is needed to load it; add dill to requirements.txt") from error
    try:
        with open(file, "rb") as opened:
            loaded = dill.load(opened)
    except Exception as error:  # code of the user's may run while it is loaded
        raise StartError(f"{path}: unable to load pickle: {describe(error)}") from error
    if not inspect.isclass(loaded):
        raise StartError(f"{path}: holds an object of type {type(loaded).__name__}; pickle the class itself")
    return loaded


def _import(file: str, path: str) -> ModuleType:
    """Load the file under its own name, so that other modules and pickles find it, unless that name is taken."""
    if not path.endswith(".py"):
        raise StartError(f"{path}: must be a .py or .pickle file")
    name = os.path.basename(path)[: -len(".py")]
    name = "cortex_handler" if name in sys.modules else name
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
