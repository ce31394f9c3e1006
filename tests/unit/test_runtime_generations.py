"""Cortex's rules on classes: names, methods, arguments, with its texts (spec/cortex.md section 2)."""

from __future__ import annotations

from typing import Any

import pytest

from batchflow.runtime.generations import generation
from batchflow.runtime.reasons import StartError

HANDLER, PREDICTOR = ("handler", "python"), ("predictor", "python")
WITH_MODELS, PREDICTOR_WITH_MODELS = ("handler", "tensorflow"), ("predictor", "tensorflow")
INIT = "def __init__(self, config): pass"
BATCH = "def handle_batch(self, payload): pass"


def defined(*lines: str) -> type:
    """The class `H` with these methods."""
    names: dict[str, Any] = {}
    exec("import functools\nclass H:\n" + "".join(f"    {line}\n" for line in lines or ("pass",)), names)
    return names["H"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("era", "class_name", "method"),
    [
        (HANDLER, "Handler", "handle_batch"),
        (PREDICTOR, "PythonPredictor", "predict"),
        (WITH_MODELS, "Handler", "handle_batch"),
        (PREDICTOR_WITH_MODELS, "TensorFlowPredictor", "predict"),
    ],
)
def test_each_era_and_type_has_its_names(era: tuple[str, str], class_name: str, method: str) -> None:
    assert (generation(*era).class_name, generation(*era).method) == (class_name, method)


@pytest.mark.parametrize(
    ("era", "lines"),
    [
        (HANDLER, [INIT, BATCH]),
        (HANDLER, ["def __init__(self, metrics_client, job_spec, config): pass", "def handle_batch(self, batch_id, payload): pass"]),
        (HANDLER, [INIT, "def handle_batch(self): pass", "def on_job_complete(self): pass"]),
        (HANDLER, [INIT, "def handle_batch(self, *, payload, **rest): pass"]),
        (HANDLER, [INIT, BATCH, "on_job_complete = None"]),
        (HANDLER, [INIT, "@functools.lru_cache", BATCH]),
        (PREDICTOR, [INIT, "def predict(self, headers, query_params, batch_id, payload): pass"]),
        (WITH_MODELS, ["def __init__(self, tensorflow_client, config, job_spec, metrics_client): pass", BATCH]),
        (PREDICTOR_WITH_MODELS, ["def __init__(self, config, tensorflow_client): pass", "def predict(self, payload): pass"]),
    ],
)
def test_what_may_be_asked_for(era: tuple[str, str], lines: list[str]) -> None:
    generation(*era).check(defined(*lines), "h.py")


def required(signature: str, name: str) -> str:
    return f'invalid signature for method "{signature}": "{name}" is a required argument, but was not provided'


def unsupported(signature: str, name: str) -> str:
    return f'invalid signature for method "{signature}": "{name}" is not a supported argument'


@pytest.mark.parametrize(
    ("era", "lines", "error"),
    [
        (HANDLER, [INIT], 'required method "handle_batch" is not defined'),
        (PREDICTOR, [INIT, BATCH], 'required method "predict" is not defined'),
        (HANDLER, [INIT, "handle_batch = 3"], '"handle_batch" is defined, but is not a method'),
        (HANDLER, [INIT, BATCH, "on_job_complete = 3"], '"on_job_complete" is defined, but is not a method'),
        (HANDLER, [BATCH], required("__init__(self)", "config")),
        (HANDLER, ["def __init__(self): pass", BATCH], required("__init__(self)", "config")),
        (HANDLER, ["def __init__(this, config): pass", BATCH], required("__init__(this, config)", "self")),
        (HANDLER, ["def __init__(config, self): pass", BATCH], 'method "__init__(config, self)": "self" must be the first argument'),
        (HANDLER, [INIT, "@staticmethod", "def handle_batch(payload): pass"], required("handle_batch(payload)", "self")),
        (HANDLER, ["def __init__(self, config, model): pass", BATCH], unsupported("__init__(self, config, model)", "model")),
        (HANDLER, ["def __init__(self, config, tensorflow_client): pass", BATCH], '"tensorflow_client" is not a supported argument'),
        (
            PREDICTOR,
            ["def __init__(self, config, onnx_client): pass", "def predict(self): pass"],
            '"onnx_client" is not a supported argument',
        ),
        (HANDLER, [INIT, "def handle_batch(self, headers): pass"], unsupported("handle_batch(self, headers)", "headers")),
        (PREDICTOR, [INIT, "def predict(self, batch): pass"], unsupported("predict(self, batch)", "batch")),
        (HANDLER, [INIT, BATCH, "def on_job_complete(self, summary): pass"], unsupported("on_job_complete(self, summary)", "summary")),
        (WITH_MODELS, [INIT, BATCH], required("__init__(self, config)", "tensorflow_client")),
        (HANDLER, [INIT, "async def handle_batch(self): pass"], "handle_batch must be a plain method: nobody would await it"),
        (HANDLER, [INIT, "def handle_batch(self): yield"], "handle_batch must be a plain method: nobody would await it"),
        (HANDLER, [INIT, "async def handle_batch(self): yield"], "handle_batch must be a plain method: nobody would await it"),
    ],
)
def test_what_breaks_a_rule(era: tuple[str, str], lines: list[str], error: str) -> None:
    with pytest.raises(StartError) as raised:
        generation(*era).check(defined(*lines), "src/h.py")
    assert str(raised.value).startswith("src/h.py: class H: ")
    assert error in str(raised.value)
