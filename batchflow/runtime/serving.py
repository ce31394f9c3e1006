"""`tensorflow_client`: asks TensorFlow Serving, in the container beside this one, over its REST API.

Source of the API: https://www.tensorflow.org/tfx/serving/api_rest; of what a handler gives and gets: spec/cortex.md section 2.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .reasons import StartError

__all__ = ["SINGLE_MODEL", "ServingError", "TensorFlowClient"]

_HOST = "127.0.0.1"
_ASK_AGAIN_S = 0.2
SINGLE_MODEL = "default"  # the model that `models.path` names
_LATEST = "latest"
_PREFERRED_KEY = "predict"  # of several signatures, if the api names none
_NO_KEY = "__saved_model_init_op"  # what TensorFlow 2 lists among a model's signatures


class ServingError(Exception):
    """A prediction that can't be had; the text says why."""


@dataclass(frozen=True)
class _Model:
    """`version` is a number, or latest."""

    name: str
    version: str = _LATEST

    @property
    def path(self) -> str:
        return f"/v1/models/{quote(self.name, safe='')}" + ("" if self.version == _LATEST else f"/versions/{self.version}")

    def __str__(self) -> str:
        return f"model '{self.name}' of version '{self.version}'"


@dataclass(frozen=True)
class _Signature:
    """`inputs` and `outputs` are the names of tensors."""

    key: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class TensorFlowClient:
    """Any thread may call it. `signature_keys`: the models by name, each with the key that the api names, or None."""

    def __init__(self, signature_keys: Mapping[str, str | None], port: int, timeout_s: float) -> None:
        self._signature_keys = dict(signature_keys)
        self._port = port
        self._timeout_s = timeout_s
        self._signatures: dict[_Model, _Signature] = {}  # what is served does not change while this runs

    def predict(self, model_input: Mapping[str, Any], model_name: str | None = None, model_version: str | int = _LATEST) -> dict[str, Any]:
        """Ask a model: `model_input` has a value for each of its inputs, the result a list of values for each of its outputs.

        Values are numbers, texts, bytes, lists of them, or arrays (what has `tolist` or `numpy`). An output's values come one after the
        other, whatever its shape, as from Cortex's client. `model_name` is needed where there are several models. Raises ServingError.
        """
        model = self._model(model_name, str(model_version))
        signature = self._signature(model)
        if not isinstance(model_input, Mapping):
            raise ServingError(f"model_input must be a dict of {_quoted(signature.inputs)}, not {type(model_input).__name__}")
        for name in signature.inputs:
            if name not in model_input:
                raise ServingError(f"missing key '{name}' for {model}")
        request = json.dumps({"signature_name": signature.key, "inputs": dict(model_input)}, default=_plain)
        outputs = self._ask(model, "POST", ":predict", request)["outputs"]
        if len(signature.outputs) == 1:  # then its name is left out
            outputs = {signature.outputs[0]: outputs}
        return {name: _flat(value) for name, value in outputs.items()}

    def wait_until_available(self) -> None:
        """Returns when every model can be asked; the worker's start limit bounds that. Raises StartError if one can't be loaded."""
        waits = False
        for name in self._signature_keys:
            while not self._is_available(_Model(name)):
                if not waits:
                    print(f"waiting for TensorFlow Serving at {_HOST}:{self._port} to load the models")
                    waits = True
                time.sleep(_ASK_AGAIN_S)

    def _is_available(self, model: _Model) -> bool:
        try:
            versions = self._ask(model, "GET")["model_version_status"]
        except ServingError:  # it does not listen yet, or has not looked for the model's versions
            return False
        failed = [version for version in versions if version["state"] == "END"]
        if failed and len(failed) == len(versions):
            error = failed[-1].get("status", {}).get("error_message") or "it was unloaded"
            raise StartError(f"TensorFlow Serving can't load model '{model.name}': {error}")
        return any(version["state"] == "AVAILABLE" for version in versions)

    def _model(self, name: str | None, version: str) -> _Model:
        names = list(self._signature_keys)
        if version != _LATEST and not version.isdigit():
            raise ServingError(f"model_version must be a number or '{_LATEST}', not '{version}'")
        if names == [SINGLE_MODEL] or (name is None and len(names) == 1):
            return _Model(names[0], version)
        if name is None:
            raise ServingError(f"model_name was not specified, choose one of the following: {_quoted(names)}")
        if name not in self._signature_keys:
            raise ServingError(f"'{name}' model wasn't found in the list of available models: {_quoted(names)}")
        return _Model(name, version)

    def _signature(self, model: _Model) -> _Signature:
        if model not in self._signatures:
            described = self._ask(model, "GET", "/metadata")["metadata"]["signature_def"]["signature_def"]
            described.pop(_NO_KEY, None)
            key = _signature_key(list(described), self._signature_keys[model.name], model)
            tensors = described[key]
            self._signatures[model] = _Signature(key, tuple(tensors.get("inputs") or ()), tuple(tensors.get("outputs") or ()))
        return self._signatures[model]

    def _ask(self, model: _Model, method: str, what: str = "", body: str | None = None) -> dict[str, Any]:
        try:
            # Not urllib: it would go by the proxies of the user's environment.
            with closing(http.client.HTTPConnection(_HOST, self._port, timeout=self._timeout_s)) as connection:
                connection.request(method, model.path + what, body, {"Content-Type": "application/json"} if body else {})
                response = connection.getresponse()
                answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServingError(f"{model}: TensorFlow Serving gives no answer at {_HOST}:{self._port}: {error}") from error
        if response.status != 200:
            raise ServingError(f"{model}: {answer.get('error', f'status {response.status}')}")
        return answer


def _signature_key(keys: list[str], configured: str | None, model: _Model) -> str:
    """The one that the api names, else the only one, else `predict`."""
    if configured is not None:
        if configured not in keys:
            raise ServingError(f"signature_key '{configured}' was not found for {model}, which has {_quoted(keys)}")
        return configured
    if len(keys) == 1:
        return keys[0]
    if _PREFERRED_KEY in keys:
        return _PREFERRED_KEY
    if not keys:
        raise ServingError(f"{model} has no signature")
    raise ServingError(f"signature_key was not configured, specify one of the following for {model}: {_quoted(keys)}")


def _plain(value: Any) -> Any:
    """What json can't write by itself."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    for method in ("tolist", "numpy"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise ServingError(f"model_input holds a value of type {type(value).__name__}, which can't be sent")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [single for one in value for single in _flat(one)]
    return [base64.b64decode(value["b64"]) if isinstance(value, dict) else value]


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
