"""How a handler comes up, and what is said if it does not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import Any

import pytest

HANDLER = """
class Handler:
    def __init__(self, config):
        self.config = config
    def handle_batch(self, payload):
        print(payload)
"""


def test_a_listening_port_is_a_constructed_handler(worker: Any) -> None:
    worker.start(HANDLER.replace("self.config = config", "import time; time.sleep(0.3); print('constructed')"))
    assert worker.listens()
    assert worker.output() == "constructed\n"
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("import no_such_module", "handler.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\nclass Handler\n", "handler.py:2: SyntaxError: expected ':'"),
        ("raise SystemExit(3)", "handler.py:1: SystemExit: 3"),
        (HANDLER.replace("self.config = config", "{}['model']"), "handler.py:4: KeyError: 'model'"),
        ("class Other: pass", "handler.py: Handler class is not defined"),
        ("Handler = 3", "handler.py: Handler class is not defined"),
        (
            "class PythonPredictor: pass",
            "handler.py: Handler class is not defined; there is PythonPredictor, so look at key and type in cortex.yaml",
        ),
        (
            "class ONNXPredictor: pass",
            "handler.py: Handler class is not defined; ONNXPredictor is no longer supported: "
            "write a PythonPredictor that loads the model with onnxruntime",
        ),
        (
            "class Handler:\n def __init__(self, config): pass",
            'handler.py: class Handler: required method "handle_batch" is not defined',
        ),
        (
            HANDLER.replace("config):", "config, model):"),
            'handler.py: class Handler: invalid signature for method "__init__(self, config, model)": "model" is not a supported argument',
        ),
        (
            HANDLER.replace("(self, config)", "(self)"),
            'handler.py: class Handler: invalid signature for method "__init__(self)": '
            '"config" is a required argument, but was not provided',
        ),
        (
            HANDLER.replace("payload):", "payload, headers):"),
            'handler.py: class Handler: invalid signature for method "handle_batch(self, payload, headers)": '
            '"headers" is not a supported argument',
        ),
        (
            HANDLER + "    def on_job_complete(self, summary): pass",
            'handler.py: class Handler: invalid signature for method "on_job_complete(self, summary)": '
            '"summary" is not a supported argument',
        ),
        (
            HANDLER.replace("def handle_batch", "async def handle_batch"),
            "handler.py: class Handler: handle_batch must be a plain method: nobody would await it, or iterate over it",
        ),
    ],
)
def test_a_failed_start_says_why(worker: Any, handler: str, reason: str) -> None:
    worker.start(handler)
    assert worker.wait() == 1
    assert worker.failures() == [reason]
    assert reason.split(": ")[-1] in worker.output()


def test_a_traceback_starts_in_the_users_file(worker: Any) -> None:
    worker.start("import no_such_module")
    worker.wait()
    assert worker.output().splitlines()[1].endswith('project/handler.py", line 1, in <module>')


def test_a_failed_start_survives_an_unwritable_failures_file(worker: Any) -> None:
    worker.prepare({"handler.py": "import no_such_module"})
    shutil.rmtree(worker.mnt)
    worker.mnt.write_text("not a folder")
    worker.launch()
    assert worker.wait() == 1
    assert "No module named 'no_such_module'" in worker.output()


def test_a_taken_port_is_a_failed_start(worker: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", worker.port))
        taken.listen()
        worker.prepare({"handler.py": HANDLER})
        worker.launch()
        assert worker.wait() == 1
    assert "Address already in use" in worker.failures()[0]


def test_arguments_come_by_name_and_config_is_merged(worker: Any) -> None:
    handler = """
class Handler:
    def __init__(self, job_spec, config):
        print(config, job_spec["job_id"], job_spec["config"], job_spec["total_batch_count"])
    def handle_batch(self, batch_id, payload):
        print(batch_id, payload)
"""
    api = {"handler": {"type": "python", "path": "src/handler.py", "config": {"a": {"b": 1, "c": [1]}, "d": 1}}}
    worker.prepare({"src/handler.py": handler}, api=api, config={"a": {"c": [2]}, "d": {"e": 2}})
    worker.launch()
    worker.wait_until_it_listens()
    worker.post([1, "é"])
    merged, job = "{'a': {'b': 1, 'c': [2]}, 'd': {'e': 2}}", "{'a': {'c': [2]}, 'd': {'e': 2}}"
    assert worker.output() == f"{merged} 7777777777777777 {job} 3\n[batch 12] id-12 [1, 'é']\n"


def test_the_predictor_generation(worker: Any) -> None:
    handler = """
class PythonPredictor:
    def __init__(self, config, job_spec): pass
    def predict(self, payload, batch_id, headers, query_params):
        print(payload, batch_id, headers, query_params)
"""
    worker.prepare({"p.py": handler}, api={"predictor": {"type": "python", "path": "p.py"}})
    worker.launch()
    worker.wait_until_it_listens()
    assert worker.post([1]) == (200, "{}")
    assert worker.output() == "[batch 12] [1] id-12 None None\n"


def test_project_files_dotenv_and_python_path(worker: Any) -> None:
    handler = """
import json, os, subprocess, sys, model
class Handler:
    def __init__(self, config):
        print(json.load(open("values.json")), os.environ["NAME"], model.__name__, os.environ["BOTH"])
        print(subprocess.run([sys.executable, "-c", "import model; print(model)"], stdout=subprocess.PIPE).returncode)
    def handle_batch(self): pass
"""
    files = {
        "handler.py": handler,
        "lib/model.py": "",
        "values.json": "[1]",
        "queue.py": "raise ImportError('shadows the standard library')",
        ".env": "export NAME='two words'\nBOTH=\"$NAME and ${HOME_TOWN}\" # comment\n",
    }
    worker.prepare(files)
    worker.launch(CORTEX_PYTHON_PATH="lib", HOME_TOWN="Ulm")
    worker.wait_until_it_listens()
    assert worker.output() == "[1] two words model two words and Ulm\n0\n"


def test_sigterm_ends_a_start(worker: Any) -> None:
    worker.prepare({"handler.py": HANDLER.replace("self.config = config", "print('in', flush=True); import time; time.sleep(60)")})
    worker.launch()
    while "in" not in worker.output():
        assert worker.process.poll() is None
        time.sleep(0.01)
    assert worker.stop() == 143
    assert worker.failures() == []


def test_the_oldest_python(worker: Any) -> None:
    python = _oldest_python()
    worker.start(HANDLER, python=python)
    assert worker.post([1]) == (200, "{}")
    assert worker.output() == "[batch 12] [1]\n"
    assert worker.stop() == 0


def _oldest_python() -> str:
    for version in ("3.8", "3.9", "3.10"):
        python = shutil.which(f"python{version}")
        environ = {**os.environ, "PYENV_VERSION": version}  # where pyenv's shims stand for several versions
        asked = python and subprocess.run([python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, env=environ)
        if asked and asked.returncode == 0:
            return asked.stdout.strip()
    pytest.skip("no Python older than 3.11 here")
