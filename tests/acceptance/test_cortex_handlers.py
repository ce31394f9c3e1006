"""Cortex's users bring their handlers: each era's class unchanged, with the files beside it, as jobs of this machine."""

from __future__ import annotations

import json
import random
import re
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.command import REPOSITORY, Terminal

SERVING = REPOSITORY / "tests" / "serving.py"
AGENT_PORT = 9125  # Cortex's
HANG_S = 30

# What seeds/000 prints, indented as Python, with a confidence to log.
HANDLER = """\
import json

from cortex_internal.lib.log import logger as cortex_logger


class Handler:
    def __init__(self, config, job_spec):
        with open('values.json', 'r') as values_file:
            values = json.load(values_file)
        self.values = values
        self.job_spec = job_spec
        print("config", json.dumps(config))
        print("job", json.dumps(job_spec))

    def handle_batch(self, payload, batch_id):
        confidence = self.values["confidence"]
        cortex_logger.debug("not at this level")
        cortex_logger.info("completed processing batch", extra={"batch_id": batch_id, "confidence": confidence})

    def on_job_complete(self):
        print("complete", self.job_spec["job_id"])
"""
PREDICTOR = """\
import json
import os


class PythonPredictor:
    def __init__(self, config, job_spec, metrics_client):
        metrics_client.increment("started")
        self.greeting = config["greeting"]
        print("job", json.dumps(job_spec))
        print("environment", json.dumps({**os.environ, "cwd": os.getcwd()}))

    def predict(self, payload, batch_id, headers, query_params):
        print("predicted", self.greeting, payload, len(batch_id), headers, query_params)
"""
# Of a handler that says `python_path: src`, in the region eu-west-1; paths are those of a pod.
ENVIRONMENT = {
    **{"CORTEX_KIND": "BatchAPI", "CORTEX_VERSION": "0.35.0", "CORTEX_LOG_LEVEL": "INFO", "HOST_IP": "127.0.0.1", "MODEL": "m"},
    **{"CORTEX_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "PYTHONUNBUFFERED": "1"},
    **{"CORTEX_PROJECT_DIR": "/mnt/project", "CORTEX_PYTHON_PATH": "/mnt/project/src", "cwd": "/mnt/project"},
    **{"CORTEX_MODEL_DIR": "/mnt/model", "CORTEX_CLI_CONFIG_DIR": "/mnt/client"},
    **{"CORTEX_API_SPEC": "/mnt/spec/spec.json", "CORTEX_JOB_SPEC": "/mnt/spec/batch.json"},
}
BODY = {"workers": 1, "item_list": {"items": ["a", "b"], "batch_size": 2}}


def job(folder: Path, handler: dict[str, Any], files: dict[str, str], key: str = "handler", **body: Any) -> Path:
    """A project with one api, `moved`, and its job.yaml."""
    project = folder / "project"
    for name, content in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)
    (project / "cortex.yaml").write_text(json.dumps([{"name": "moved", "kind": "BatchAPI", key: {"type": "python", **handler}}]))
    (project / "job.yaml").write_text(json.dumps({"api": {"file": "cortex.yaml"}, **BODY, **body}))
    return project / "job.yaml"


def run(shell: Terminal, file: Path, **environ: str) -> tuple[dict[str, Any], list[str]]:
    """The job's status, and what its handler printed, without the logs' own prefixes."""
    done = shell.run("submit", file, "--watch", "-o", "json", **environ)
    status = done.json()["job_status"]
    assert status["status"] == "succeeded"
    lines = shell.logs("moved", status["job_id"])
    return status, [line.partition(" | ")[2] for line in lines if "/handler | " in line]


def printed(lines: list[str], word: str) -> Any:
    """The JSON that the handler printed after this word, the first time."""
    return json.loads(next(line for line in lines if line.startswith(f"{word} ")).partition(" ")[2])


def test_a_handler_of_the_handler_era(shell: Terminal) -> None:
    handler = {"path": "handler.py", "config": {"model": {"name": "svc", "depth": 3}, "tags": ["a"]}}
    files = {"handler.py": HANDLER, "values.json": '{"confidence": 0.97}'}
    status, lines = run(shell, job(shell.folder, handler, files, config={"model": {"depth": 5}, "tags": ["b"]}))
    [line] = [line for line in lines if line.startswith("{")]
    record = json.loads(line)
    assert line == json.dumps(record)  # one JSON object, as json writes it
    assert list(record) == ["asctime", "levelname", "message", "process", "batch_id", "confidence"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", record["asctime"])
    assert (record["levelname"], record["message"], record["confidence"]) == ("INFO", "completed processing batch", 0.97)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", record["batch_id"])
    assert isinstance(record["process"], int)
    assert printed(lines, "config") == {"model": {"name": "svc", "depth": 5}, "tags": ["b"]}
    spec = printed(lines, "job")
    documented = {"job_id", "api_name", "config", "workers", "total_batch_count", "start_time"}
    assert documented | {"api_id", "spec_id", "handler_id"} <= set(spec)
    assert (spec["job_id"], spec["config"], spec["total_batch_count"]) == (status["job_id"], {"model": {"depth": 5}, "tags": ["b"]}, 1)
    assert spec["spec_id"] == spec["handler_id"] == spec["api_id"] == status["api_id"]
    assert lines[-1] == f"complete {status['job_id']}"


def test_a_handler_of_the_predictor_era(shell: Terminal) -> None:
    handler = {"path": "src/predictor.py", "python_path": "src", "config": {"greeting": "hi"}, "env": {"MODEL": "m"}}
    file = job(shell.folder, handler, {"src/predictor.py": PREDICTOR}, key="predictor")
    _, lines = run(shell, file, AWS_REGION="eu-west-1")
    assert lines[-1] == "[batch 0] predicted hi ['a', 'b'] 36 None None"
    spec = printed(lines, "job")
    assert spec["predictor_id"] == spec["spec_id"] == spec["api_id"]
    assert "handler_id" not in spec
    environ = printed(lines, "environment")
    root = environ["BATCHFLOW_MNT_DIR"].removesuffix("/mnt")
    assert {name: environ.get(name, "").removeprefix(root) for name in ENVIRONMENT} == ENVIRONMENT


def test_dotenv_shell_and_pip_in_their_order(shell: Terminal) -> None:
    steps = shell.folder / "steps"
    backend = f"""
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    open({str(steps)!r}, "a").write("pip " + os.environ["GREETING"] + "\\n")
    name = "step-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("step.py", "NAME = 'of pip'\\n")
        wheel.writestr("step-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: step\\nVersion: 1.0\\n")
        wheel.writestr("step-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("step-1.0.dist-info/RECORD", "")
    return name
"""
    files = {
        "handler.py": "import os, step\n"
        "class Handler:\n"
        "    def __init__(self, config): print(step.NAME, os.environ['GREETING'], os.environ['LATE'], os.getcwd())\n"
        "    def handle_batch(self): pass\n",
        ".env": "GREETING=hello\nLATE=early\n",
        "tools.sh": f"echo \"shell $GREETING\" | tee -a {shlex.quote(str(steps))}\necho LATE='$GREETING-late' >> .env\n",
        "requirements.txt": "./step\n",
        "step/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "step/backend.py": backend,
    }
    handler = {"path": "handler.py", "dependencies": {"shell": "tools.sh"}}
    _, lines = run(shell, job(shell.folder, handler, files), BATCHFLOW_CACHE_DIR=str(shell.folder / "cache"))
    assert steps.read_text().splitlines() == ["shell hello", "pip hello"]
    assert lines[-1].startswith("of pip hello hello-late ") and lines[-1].endswith("/mnt/project")
    assert lines[0] == "shell hello"
    assert "Successfully installed step-1.0" in lines


def test_a_dependency_that_fails_ends_the_job_with_its_reason(shell: Terminal) -> None:
    files = {"handler.py": HANDLER, "dependencies.sh": "echo no such tool\nexit 3\n"}
    done = shell.run("submit", job(shell.folder, {"path": "handler.py"}, files), "--watch", "-o", "json", code=1)
    status = done.json()["job_status"]
    assert status["status"] == "worker_error"
    assert "dependencies.sh: exit status 3: no such tool" in status["message"]


def test_metrics_reach_the_nodes_agent(shell: Terminal) -> None:
    code = """\
class Handler:
    def __init__(self, config, metrics_client):
        self.metrics = metrics_client

    def handle_batch(self, payload):
        self.metrics.gauge(metric="batch_size", value=len(payload), tags={"model_version": "v1"})
        self.metrics.increment("batches")
"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"  # so that nobody else has the port
        agent.bind((host, AGENT_PORT))
        agent.settimeout(HANG_S)
        run(shell, job(shell.folder, {"path": "h.py", "env": {"HOST_IP": host}}, {"h.py": code}))
        assert [agent.recv(1024), agent.recv(1024)] == [b"batch_size:2|g|#model_version:v1", b"batches:1|c"]


def test_a_tensorflow_handler_asks_its_model(shell: Terminal) -> None:
    code = """\
labels = ["setosa", "versicolor", "virginica"]


class Handler:
    def __init__(self, tensorflow_client, config):
        self.client = tensorflow_client

    def handle_batch(self, payload):
        for sample in payload:
            prediction = self.client.predict(sample)
            print(labels[int(prediction["class_ids"][0])])
"""
    output = {"dtype": "DT_INT64", "shape": [-1, 1], "rule": "echo", "of": "petals"}
    signature = {"inputs": {"petals": {"dtype": "DT_INT64", "shape": [-1, 1]}}, "outputs": {"class_ids": output}}
    server = shell.folder / "bin" / "tensorflow_model_server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SERVING))} "$@"\n')
    server.chmod(0o755)
    files = {
        "handler.py": code,
        "iris/1/saved_model.pb": "",
        "iris/1/model.json": json.dumps({"signatures": {"predict": signature}}),
    }
    handler = {"type": "tensorflow", "path": "handler.py", "models": {"path": "iris"}}
    items = [{"petals": [[2]]}, {"petals": [[0]]}]
    file = job(shell.folder, handler, files, item_list={"items": items, "batch_size": 2})
    _, lines = run(shell, file, PATH=f"{server.parent}:{shell.environ['PATH']}")
    assert lines[-2:] == ["[batch 0] virginica", "[batch 0] setosa"]
