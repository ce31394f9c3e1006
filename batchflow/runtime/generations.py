"""What Cortex's generations expect of a class: its name, its methods, and their arguments, which are matched by name.

Source of the rules and texts: spec/cortex.md section 2.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .reasons import StartError

__all__ = ["CLASS_NAMES", "HOOK", "KEYS", "Generation", "argument_names", "generation"]

HOOK = "on_job_complete"
KEYS = ("handler", "predictor")  # of an api's entry in cortex.yaml
CLASS_NAMES = ("Handler", "PythonPredictor", "TensorFlowPredictor", "ONNXPredictor")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Generation:
    """`required` must be arguments of the constructor, `optional` may be; so may `batch` of `method`."""

    class_name: str
    method: str
    batch: tuple[str, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ("job_spec", "metrics_client")

    def check(self, cls: type, path: str) -> None:
        """Raises StartError, beginning with `path`, if the class breaks a rule."""
        where = f"{path}: class {cls.__name__}"
        if getattr(cls, HOOK, None):
            _check_method(cls, HOOK, ("self",), (), where)
        _check_method(cls, "__init__", ("self", *self.required), self.optional, where)
        _check_method(cls, self.method, ("self",), self.batch, where)


def generation(key: str, type_: str) -> Generation:
    """That of an api with this key, `handler` or `predictor`, and this type, `python` or `tensorflow`."""
    tensorflow = type_ == "tensorflow"
    required = ("config", "tensorflow_client") if tensorflow else ("config",)
    if key == "handler":
        return Generation("Handler", "handle_batch", ("payload", "batch_id"), required)
    class_name = "TensorFlowPredictor" if tensorflow else "PythonPredictor"
    return Generation(class_name, "predict", ("payload", "batch_id", "headers", "query_params"), required)


def argument_names(function: Callable[..., Any]) -> list[str]:
    """In their order; `self`, where the function is not bound; not `*args` and `**kwargs`."""
    return [parameter.name for parameter in inspect.signature(function).parameters.values() if parameter.kind not in _VARIADIC]


def _check_method(cls: type, method: str, required: tuple[str, ...], optional: tuple[str, ...], where: str) -> None:
    function = getattr(cls, method, None)
    if not function:
        raise StartError(f'{where}: required method "{method}" is not defined')
    if not callable(function):
        raise StartError(f'{where}: "{method}" is defined, but is not a method')
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise StartError(f"{where}: {method} must be a plain method: nobody would await it, or iterate over it")
    names = argument_names(function)
    invalid = f'{where}: invalid signature for method "{method}({", ".join(names)})"'
    for name in required:
        if name not in names:
            raise StartError(f'{invalid}: "{name}" is a required argument, but was not provided')
    if names[0] != "self":
        raise StartError(f'{invalid}: "self" must be the first argument')
    for name in names:
        if name not in required and name not in optional:
            raise StartError(f'{invalid}: "{name}" is not a supported argument')
