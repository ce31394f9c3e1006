"""Stands in for `tensorflow_model_server`: a REST server of our own that obeys the documented shapes. It runs no TensorFlow.

`python tests/serving.py --rest_api_port=8501 --model_config_file=models.config`, or below any name on PATH. A model is a folder
(`base_path`) of version folders, and a version holds, in place of a SavedModel, a file `model.json`:

    {"signatures": {"serving_default": {
        "inputs": {"x": {"dtype": "DT_FLOAT", "shape": [-1, 2]}},
        "outputs": {"total": {"dtype": "DT_FLOAT", "shape": [-1], "rule": "sum", "of": "x"}}}},
     "loading_s": 0.5, "error": "out of memory"}

A rule is `sum` (of each row), `echo` (the input itself), `bytes` (the input's texts as binary strings), `version` (the model's). A
version is LOADING for `loading_s` (default 0), then AVAILABLE, or END if `error` is there. Sources:
https://www.tensorflow.org/tfx/serving/api_rest and https://www.tensorflow.org/tfx/serving/serving_config
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Flags of the real server that have no meaning here.
IGNORED = ("--port", "--rest_api_timeout_in_ms", "--max_num_load_retries", "--load_retry_interval_micros", "--grpc_channel_arguments")
PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<what>/metadata|:predict)?")
TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*(?:"((?:[^"\\]|\\.)*)"|([{}:<>,\[\]])|([^\s"{}:<>,\[\]]+))')
STARTED_S = time.monotonic()


class Refusal(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True)
class Version:
    number: int
    description: dict[str, Any]

    @property
    def state(self) -> str:
        if time.monotonic() - STARTED_S < self.description.get("loading_s", 0):
            return "LOADING"
        return "END" if self.description.get("error") else "AVAILABLE"

    def status(self) -> dict[str, Any]:
        failed = self.state == "END"
        error = {"error_code": "UNKNOWN" if failed else "OK", "error_message": self.description["error"] if failed else ""}
        return {"version": str(self.number), "state": self.state, "status": error}


def parse_proto(text: str) -> dict[str, list[Any]]:
    """A text protobuf as field name → values; a message is such a dict again."""
    tokens = iter([match.groups() for match in TOKEN.finditer(text.rstrip())])
    return _message(tokens, end=None)


def _message(tokens: Iterator[tuple[str | None, ...]], end: str | None) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for quoted, mark, word in tokens:
        if mark == end and end:
            return fields
        if mark == ",":
            continue
        assert quoted is None and word, f"a field's name was expected, not {quoted or mark}"
        quoted, mark, value = next(tokens)
        if mark == ":":
            quoted, mark, value = next(tokens)
        if mark in ("{", "<"):
            fields.setdefault(word, []).append(_message(tokens, {"{": "}", "<": ">"}[mark]))
        elif mark == "[":
            fields.setdefault(word, []).extend(_list(tokens))
        else:
            fields.setdefault(word, []).append(value if quoted is None else quoted)
    assert end is None, f"{end} is missing"
    return fields


def _list(tokens: Iterator[tuple[str | None, ...]]) -> Iterator[str | None]:
    for quoted, mark, word in tokens:
        if mark == "]":
            return
        if mark != ",":
            yield word if quoted is None else quoted


def load_models(config: Path) -> dict[str, dict[int, Version]]:
    """The versions that the policy of each model serves: the latest by default, as the real one does."""
    models = {}
    [model_list] = parse_proto(config.read_text())["model_config_list"]
    for model in model_list.get("config", []):
        [base_path] = model["base_path"]
        assert base_path.startswith("/"), f"base_path must be absolute: {base_path}"
        assert model.get("model_platform", ["tensorflow"]) == ["tensorflow"]
        numbers = sorted(int(folder.name) for folder in Path(base_path).iterdir() if folder.name.isdigit())
        [policy] = model.get("model_version_policy", [{"latest": [{}]}])
        if "specific" in policy:
            numbers = [number for number in numbers if str(number) in policy["specific"][0]["versions"]]
        elif "all" not in policy:
            numbers = numbers[-int(policy["latest"][0].get("num_versions", ["1"])[0]) :]
        described = {number: json.loads(Path(base_path, str(number), "model.json").read_text()) for number in numbers}
        models[model["name"][0]] = {number: Version(number, description) for number, description in described.items()}
    return models


def tensors(described: dict[str, Any]) -> dict[str, Any]:
    """A signature's inputs or outputs as the metadata API shows them."""
    return {
        name: {
            "dtype": tensor["dtype"],
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in tensor["shape"]], "unknown_rank": False},
            "name": f"{name}:0",
        }
        for name, tensor in described.items()
    }


def encode(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def each(value: Any, function: Callable[[Any], Any]) -> Any:
    return [each(one, function) for one in value] if isinstance(value, list) else function(value)


def output(tensor: dict[str, Any], inputs: dict[str, Any], version: int) -> Any:
    rule = tensor["rule"]
    if rule == "version":
        return version
    value = inputs[tensor["of"]]
    if rule == "sum":
        return [sum(row) for row in value]
    return each(value, lambda text: encode(text.encode())) if rule == "bytes" else value


class Handler(BaseHTTPRequestHandler):
    models: dict[str, dict[int, Version]]

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self._post(body))

    def _answer(self, document: Callable[[], dict[str, Any]]) -> None:
        try:
            status, answer = 200, document()
        except Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        body = json.dumps(answer, indent=4).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _asked(self) -> tuple[str, int | None, str | None]:
        match = PATH.fullmatch(self.path)
        if not match:
            raise Refusal(404, f"Malformed request: {self.command} {self.path}")
        return match["model"], int(match["version"]) if match["version"] else None, match["what"]

    def _get(self) -> dict[str, Any]:
        model, number, what = self._asked()
        if what == ":predict":
            raise Refusal(404, f"Malformed request: GET {self.path}")
        if what == "/metadata":
            return self._metadata(model, self._available(model, number))
        versions = [version for version in self.models.get(model, {}).values() if number in (None, version.number)]
        if not versions:
            missing = f"version {number}" if number else "any versions"
            raise Refusal(404, f"Could not find {missing} of model {model}")
        return {"model_version_status": [version.status() for version in versions]}

    def _available(self, model: str, number: int | None) -> Version:
        available = [version for version in self.models.get(model, {}).values() if version.state == "AVAILABLE"]
        chosen = [version for version in available if number in (None, version.number)]
        if not chosen:
            asked = f"Specific({model}, {number})" if number else f"Latest({model})"
            raise Refusal(404, f"Servable not found for request: {asked}")
        return max(chosen, key=lambda version: version.number)

    def _metadata(self, model: str, version: Version) -> dict[str, Any]:
        signatures = {
            key: {
                "inputs": tensors(signature.get("inputs", {})),
                "outputs": tensors(signature.get("outputs", {})),
                "method_name": "tensorflow/serving/predict",
            }
            for key, signature in version.description["signatures"].items()
        }
        return {
            "model_spec": {"name": model, "signature_name": "", "version": str(version.number)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _post(self, body: bytes) -> dict[str, Any]:
        model, number, what = self._asked()
        if what != ":predict":
            raise Refusal(404, f"Malformed request: POST {self.path}")
        version = self._available(model, number)
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Refusal(400, f"JSON Parse error: {error}") from error
        name = request.get("signature_name", "serving_default")
        signature = version.description["signatures"].get(name)
        if signature is None:
            raise Refusal(400, f'Serving signature name: "{name}" not found in signature def')
        if "inputs" not in request:
            raise Refusal(400, "Missing 'inputs' or 'instances' key")
        inputs = request["inputs"]
        if not isinstance(inputs, dict) and len(signature["inputs"]) == 1:
            inputs = {next(iter(signature["inputs"])): inputs}
        if set(inputs) != set(signature["inputs"]):
            raise Refusal(400, f"inputs are {sorted(inputs)}, the signature has {sorted(signature['inputs'])}")
        outputs = {key: output(tensor, inputs, version.number) for key, tensor in signature["outputs"].items()}
        # As documented: a single output comes without its name.
        return {"outputs": next(iter(outputs.values())) if len(outputs) == 1 else outputs}

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_config_file", type=Path, required=True)
    for flag in IGNORED:
        parser.add_argument(flag)
    arguments = parser.parse_args()
    Handler.models = load_models(arguments.model_config_file)
    ThreadingHTTPServer(("127.0.0.1", arguments.rest_api_port), Handler).serve_forever()


if __name__ == "__main__":
    main()
