"""Does a Handler class have `on_job_complete`? Answered by reading its file, never by importing it."""

from __future__ import annotations

import ast
import sys
import warnings
from typing import Final

from batchflow.errors import InvalidInput

__all__ = ["defines_hook"]

_HOOK: Final = "on_job_complete"
_CLASSES: Final = frozenset({"Handler", "PythonPredictor", "TensorFlowPredictor", "ONNXPredictor"})


def defines_hook(source: bytes, name: str) -> bool:
    """False only where that is certain: one class of the expected name, without bases or decorators, and the hook's name nowhere.

    Raises:
        InvalidInput: the file, called `name` in the error, is not Python.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about the user's code, which is not ours to judge
            module = ast.parse(source)
    except SyntaxError as error:
        hint = f"it was read with Python {sys.version_info.major}.{sys.version_info.minor}"
        raise InvalidInput(f"is not valid Python: {error.msg}", where=f"{name}:{error.lineno or 1}", hint=hint) from error
    except ValueError as error:  # NUL bytes, in Python 3.11
        raise InvalidInput(f"is not valid Python: {error}", where=name) from error
    except (RecursionError, MemoryError):  # the parser's own limits
        return True
    return _may_have_hook(module)


def _may_have_hook(module: ast.Module) -> bool:
    names = [name for node in ast.walk(module) for name in _names(node)]
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name in _CLASSES]
    if _HOOK in names or len(classes) != 1:
        return True
    handler = classes[0]
    plain = not (handler.bases or handler.keywords or handler.decorator_list)
    # The class's name bound a second time, by an import or an assignment, may stand for another class.
    return not plain or sum(name in _CLASSES for name in names) > 1


def _names(node: ast.AST) -> tuple[str, ...]:
    """What a node defines, binds or spells; reading a class's name is no second binding."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return (name,)
        case ast.Name(id=name, ctx=context):
            return () if isinstance(context, ast.Load) else (name,)
        case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return (name,) if name == _HOOK else ()
        case ast.alias(name=name, asname=asname):
            return (asname or name,)
        case _:
            return ()
