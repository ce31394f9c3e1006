"""`tensorflow_client` against a server that obeys TensorFlow Serving's documented REST shapes (tests/serving.py), not the real one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchflow import contract
from batchflow.runtime.reasons import StartError
from batchflow.runtime.serving import ServingError, TensorFlowClient

SERVER = Path(__file__).parents[2] / "serving.py"
HANG_S = 60
TIMEOUT_S = 10
MODEL_FILES = ("saved_model.pb", "model.json")  # what a version must have for `prepare`, and for the server

Json = dict[str, Any]


def tensor(dtype: str = "DT_FLOAT", **rule: str) -> Json:
    return {"dtype": dtype, "shape": [-1, 2], **rule}


SUM = {"inputs": {"x": tensor()}, "outputs": {"total": tensor(rule="sum", of="x")}}
BOTH = {"inputs": {"x": tensor()}, "outputs": {"total": tensor(rule="sum", of="x"), "same": tensor(rule="echo", of="x")}}
ECHO = {"inputs": {"x": tensor()}, "outputs": {"same": tensor(rule="echo", of="x")}}
TEXTS = {"inputs": {"t": tensor("DT_STRING")}, "outputs": {"t_bytes": tensor("DT_STRING", rule="bytes", of="t")}}
VERSION = {"inputs": {"x": tensor()}, "outputs": {"version": tensor(rule="version")}}
INIT_OP = {"outputs": {"__saved_model_init_op": tensor("DT_INVALID")}}

Serve = Callable[..., int]


@pytest.fixture
def run_server() -> Iterator[Callable[[Path], int]]:
    """Starts a server with this configuration; returns its port."""
    servers = []

    def run(config: Path) -> int:
        port = free_port()
        servers.append(subprocess.Popen([sys.executable, str(SERVER), f"--rest_api_port={port}", f"--model_config_file={config}"]))
        deadline = time.monotonic() + HANG_S
        while not listens(port):
            assert servers[-1].poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        return port

    yield run
    for server in servers:
        server.kill()
        server.wait()


@pytest.fixture
def serve(run_server: Callable[[Path], int], tmp_path: Path) -> Serve:
    """Serves models: name → version → what it does, or a signature that is its only one; returns the port."""

    def serve(models: dict[str, dict[int, Json]]) -> int:
        config = ""
        for name, versions in models.items():
            for number, described in versions.items():
                folder = tmp_path / "models" / name / str(number)
                folder.mkdir(parents=True)
                (folder / "model.json").write_text(described_as_json(described))
            config += f'config {{ name: "{name}" base_path: "{folder.parent}" model_version_policy {{ all {{}} }} }}\n'
        (tmp_path / "models.config").write_text(f"model_config_list {{\n{config}}}\n")
        return run_server(tmp_path / "models.config")

    return serve


def described_as_json(described: Json) -> str:
    return json.dumps(described if "signatures" in described else {"signatures": {"serving_default": described}})


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(port: int, *names: str, **signature_keys: str) -> TensorFlowClient:
    return TensorFlowClient({**dict.fromkeys(names), **signature_keys}, port, TIMEOUT_S)


class Array:
    """As numpy's: a value with `tolist`."""

    def __init__(self, values: Any) -> None:
        self.tolist = lambda: values


class Tensor:
    """As TensorFlow's: a value with `numpy`."""

    def __init__(self, values: Any) -> None:
        self.numpy = lambda: Array(values)


@pytest.mark.parametrize(
    ("signature", "model_input", "outputs"),
    [
        (SUM, {"x": [[1, 2], [3, 4.5]]}, {"total": [3, 7.5]}),
        (BOTH, {"x": [[1, 2], [3, 4]]}, {"total": [3, 7], "same": [1, 2, 3, 4]}),  # flat, as Cortex's
        (SUM, {"x": Array([[1, 2]])}, {"total": [3]}),
        (SUM, {"x": [Array([1, 2]), (3, Array(4))]}, {"total": [3, 7]}),
        (SUM, {"x": Tensor([[1, 2]])}, {"total": [3]}),
        (ECHO, {"x": 5.5}, {"same": [5.5]}),
        (ECHO, {"x": ["text", b"\xff"]}, {"same": ["text", b"\xff"]}),
        (ECHO, {"x": Array([b"\x00"])}, {"same": [b"\x00"]}),
        (TEXTS, {"t": ["a", "é"]}, {"t_bytes": [b"a", "é".encode()]}),
        (ECHO, {"x": [float("inf")]}, {"same": [float("inf")]}),
    ],
)
def test_what_goes_in_and_what_comes_out(serve: Serve, signature: Json, model_input: Json, outputs: Json) -> None:
    assert client(serve({"m": {1: signature}}), "m").predict(model_input) == outputs


def test_models_and_versions_are_chosen_by_name_and_number(serve: Serve) -> None:
    port = serve({"a-b": {9: VERSION, 10: VERSION}, "c": {1: SUM}})
    both = client(port, "a-b", "c")
    x = {"x": [[1, 2]]}
    assert both.predict(x, "a-b") == both.predict(x, "a-b", "latest") == {"version": [10]}
    assert both.predict(x, "a-b", "9") == both.predict(x, "a-b", model_version=9) == {"version": [9]}
    assert both.predict(x, model_name="c") == {"total": [3]}


def test_the_model_of_path_is_asked_whatever_name_is_given(serve: Serve) -> None:
    single = client(serve({"default": {1: SUM}}), "default")
    assert single.predict({"x": [[1, 2]]}) == single.predict({"x": [[1, 2]]}, "iris") == {"total": [3]}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (({"x": 1},), "model_name was not specified, choose one of the following: 'm', 'n'"),
        (({"x": 1}, "zz"), "'zz' model wasn't found in the list of available models: 'm', 'n'"),
        (({"x": 1}, "m", "7"), "model 'm' of version '7': Servable not found for request: Specific(m, 7)"),
        (({"x": 1}, "m", "newest"), "model_version must be a number or 'latest', not 'newest'"),
        (({"y": 1}, "m"), "missing key 'x' for model 'm' of version 'latest'"),
        (({"x": 1, "y": 1}, "m"), "model 'm' of version 'latest': inputs are ['x', 'y'], the signature has ['x']"),
        (([1], "m"), "model_input must be a dict of 'x', not list"),
        (({"x": {1, 2}}, "m"), "model_input holds a value of type set, which can't be sent"),
    ],
)
def test_what_can_not_be_asked(serve: Serve, arguments: tuple[Any, ...], error: str) -> None:
    both = client(serve({"m": {1: SUM}, "n": {1: SUM}}), "m", "n")
    with pytest.raises(ServingError) as raised:
        both.predict(*arguments)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("keys", "configured", "output"),
    [
        (["serving_default"], None, "total"),
        (["other"], None, "total"),
        (["predict", "serving_default"], None, "total"),
        (["one", "two"], "two", "total"),
        (["serving_default", "__saved_model_init_op"], None, "total"),
    ],
)
def test_the_signature_is_the_named_the_only_one_or_predict(serve: Serve, keys: list[str], configured: str, output: str) -> None:
    asked = configured or ("predict" if "predict" in keys else keys[0])
    signatures = {key: SUM if key == asked else INIT_OP for key in keys}
    models = client(serve({"m": {1: {"signatures": signatures}}}), **{"m": configured})
    assert models.predict({"x": [[1, 2]]}) == {output: [3]}


@pytest.mark.parametrize(
    ("keys", "configured", "error"),
    [
        (
            ["one", "two"],
            None,
            "signature_key was not configured, specify one of the following for model 'm' of version 'latest': 'one', 'two'",
        ),
        (["one", "two"], "three", "signature_key 'three' was not found for model 'm' of version 'latest', which has 'one', 'two'"),
        ([], None, "model 'm' of version 'latest' has no signature"),
    ],
)
def test_a_signature_that_is_not_clear(serve: Serve, keys: list[str], configured: str, error: str) -> None:
    models = client(serve({"m": {1: {"signatures": dict.fromkeys(keys, SUM)}}}), **{"m": configured})
    with pytest.raises(ServingError) as raised:
        models.predict({"x": [[1, 2]]})
    assert str(raised.value) == error


def test_a_server_that_is_gone() -> None:
    port = free_port()
    with pytest.raises(ServingError, match=f"gives no answer at 127.0.0.1:{port}: .*refused"):
        client(port, "m").predict({"x": 1})


def test_a_proxy_of_the_environment_is_not_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client(serve({"m": {1: SUM}}), "m").predict({"x": [[1, 2]]}) == {"total": [3]}


def test_models_that_load_are_waited_for(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    port = serve({"m": {1: SUM}, "slow": {1: {"signatures": {"s": SUM}, "loading_s": 1.5}}})
    models = client(port, "m", "slow")
    models.wait_until_available()
    assert models.predict({"x": [[1, 2]]}, "slow") == {"total": [3]}
    assert capsys.readouterr().out == f"waiting for TensorFlow Serving at 127.0.0.1:{port} to load the models\n"


def test_a_model_that_can_not_be_loaded_ends_the_waiting(serve: Serve) -> None:
    port = serve({"m": {1: {"signatures": {}, "error": "no SavedModel"}, 2: {"signatures": {}, "error": "out of memory"}}})
    with pytest.raises(StartError, match="TensorFlow Serving can't load model 'm': out of memory"):
        client(port, "m").wait_until_available()


def test_one_version_that_loads_is_enough(serve: Serve) -> None:
    port = serve({"m": {1: SUM, 2: {"signatures": {}, "error": "out of memory"}}})
    client(port, "m").wait_until_available()


# A worker with the client, its models in the project, put into place by `prepare`


def start(worker: Any, run_server: Callable[[Path], int], handler: str, api: Json, models: dict[str, Json]) -> None:
    """`models`: their folders in the project, version included, and what they do."""
    files = {f"{folder}/{name}": described_as_json(described) for folder, described in models.items() for name in MODEL_FILES}
    worker.environ[contract.ENV_MODELS] = str(worker.folder / "model")
    worker.prepare({"handler.py": handler, **files}, api=api)
    port = run_server(worker.folder / "model" / contract.SERVING_CONFIG)
    worker.launch(**{contract.ENV_SERVING_PORT: str(port)})
    worker.wait_until_it_listens()


@pytest.mark.parametrize(
    ("key", "class_name", "method"), [("handler", "Handler", "handle_batch"), ("predictor", "TensorFlowPredictor", "predict")]
)
def test_a_class_of_either_era_gets_the_client(
    worker: Any, run_server: Callable[[Path], int], key: str, class_name: str, method: str
) -> None:
    handler = f"""
class {class_name}:
    def __init__(self, tensorflow_client, config): self.client = tensorflow_client
    def {method}(self, payload): print(self.client.predict({{"x": payload}}), self.client.predict({{"x": payload}}, "any", "3"))
"""
    api = {key: {"type": "tensorflow", "path": "handler.py", "models": {"path": "exported", "signature_key": "sums"}}}
    start(worker, run_server, handler, api, {"exported/3": {"signatures": {"sums": SUM, "other": ECHO}, "loading_s": 1}})
    assert worker.post([[1, 2]]) == (200, "{}")
    waited, answered = worker.output().splitlines()
    assert waited.startswith("waiting for TensorFlow Serving at 127.0.0.1:")
    assert answered == "[batch 12] {'total': [3]} {'total': [3]}"


def test_models_of_a_folder_and_a_list_are_asked_by_their_names(worker: Any, run_server: Callable[[Path], int]) -> None:
    handler = """
class Handler:
    def __init__(self, tensorflow_client, config): self.client = tensorflow_client
    def handle_batch(self, payload):
        for name in payload: print(self.client.predict({"x": [[1, 2]]}, name))
"""
    paths = [{"name": "sums", "path": "all/a"}, {"name": "same", "path": "all/b", "signature_key": "twice"}]
    api = {"handler": {"type": "tensorflow", "path": "handler.py", "models": {"paths": paths}}}
    start(worker, run_server, handler, api, {"all/a/1": SUM, "all/b/1": {"signatures": {"twice": ECHO, "other": SUM}}})
    assert worker.post(["sums", "same"]) == (200, "{}")
    assert worker.output() == "[batch 12] {'total': [3]}\n[batch 12] {'same': [1, 2]}\n"
    assert worker.post(["a"]) == (
        500,
        "ServingError: 'a' model wasn't found in the list of available models: 'sums', 'same' (handler.py:5)",
    )


def test_a_model_that_can_not_be_loaded_is_a_failed_start(worker: Any, run_server: Callable[[Path], int]) -> None:
    handler = "class Handler:\n def __init__(self, tensorflow_client, config): pass\n def handle_batch(self): pass\n"
    api = {"handler": {"type": "tensorflow", "path": "handler.py", "models": {"dir": "all"}}}
    start(worker, run_server, handler, api, {"all/a/1": SUM, "all/b/1": {"signatures": {}, "error": "out of memory"}})
    assert worker.wait() == 1
    assert worker.failures() == ["TensorFlow Serving can't load model 'b': out of memory"]
