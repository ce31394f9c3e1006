"""cortex.yaml: every row of spec/cortex.md section 1, accepted and refused, with the exact place and words."""

from pathlib import Path
from typing import Any

import pytest

from batchflow.errors import InvalidInput, NotFound, SeveralErrors
from batchflow.spec.api import load_api, load_apis, parse_api
from batchflow.spec.model import Additions, Api, Compute, Container, Dependencies, Handler, Model, Models, Pod, Probe

POD = """\
- name: web
  kind: BatchAPI
  pod:
    containers:
      - name: c
        image: i
        command: [run]
"""
HANDLER = """\
- name: old
  kind: BatchAPI
  handler:
    type: python
    path: h.py
"""
FIRST_HANDLER_LINE = "cortex.yaml:6: old (BatchAPI): "


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[Api]:
    monkeypatch.chdir(tmp_path)
    path = Path("cortex.yaml")
    path.write_text(text)
    return load_apis(path)


def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    with pytest.raises(InvalidInput) as raised:
        load(tmp_path, monkeypatch, text)
    return str(raised.value)


def in_pod(text: str) -> str:
    """Lines below `pod`."""
    return POD + "".join(f"    {line}\n" for line in text.splitlines())


def in_container(text: str) -> str:
    return POD + "".join(f"        {line}\n" for line in text.splitlines())


def in_handler(text: str) -> str:
    return HANDLER + "".join(f"    {line}\n" for line in text.splitlines())


def in_entry(entry: str, text: str) -> str:
    return entry + "".join(f"  {line}\n" for line in text.splitlines())


def test_the_container_generation_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
- name: digits-2
  kind: BatchAPI
  node_groups: [cpu_spot, cpu-1]
  networking: {endpoint: a/b_c.d-e/}
  pod:
    port: 9000
    containers:
      - name: server
        image: registry/server:1
        command: [python, -m, server]
        args: ["--port", "$(CORTEX_PORT)"]
        env: {MODE: fast, my.name: "1"}
        compute: {cpu: 0.5, mem: 1Gi, gpu: 1, inf: 0, shm: 1Gi}
        readiness_probe:
          http_get: {port: 9000, path: /ready}
          initial_delay_seconds: 1
          timeout_seconds: 2
          period_seconds: 3
          success_threshold: 4
          failure_threshold: 5
        liveness_probe: {exec: {command: [cat, /alive]}}
      - {name: side, image: redis, command: [redis-server], compute: {cpu: null}, readiness_probe: {tcp_socket: {port: 6379}}}
  batchflow:
    on_job_complete: false
    start_timeout_s: 60
    batch_timeout_s: 30
    max_concurrency: 4
    memory_limit: 2Gi
    service_account: runner
    env_from_secrets: [keys, more.keys]
    tolerations: [{key: gpu, operator: Exists, effect: NoExecute, tolerationSeconds: 60}, {key: spot, value: "true"}]
    image_pull_secrets: [pull]
    cortex_client: true
"""
    [api] = load(tmp_path, monkeypatch, text)
    assert api == Api(
        name="digits-2",
        endpoint="/a/b_c.d-e",
        node_groups=("cpu_spot", "cpu-1"),
        pod=Pod(
            port=9000,
            containers=(
                Container(
                    name="server",
                    image="registry/server:1",
                    command=("python", "-m", "server"),
                    args=("--port", "$(CORTEX_PORT)"),
                    env={"MODE": "fast", "my.name": "1"},
                    compute=Compute(cpu="0.5", mem="1Gi", gpu=1, shm="1Gi"),
                    readiness_probe=Probe(
                        "http_get",
                        port=9000,
                        path="/ready",
                        initial_delay_s=1,
                        timeout_s=2,
                        period_s=3,
                        success_threshold=4,
                        failure_threshold=5,
                    ),
                    liveness_probe=Probe("exec", command=("cat", "/alive")),
                ),
                Container(
                    name="side",
                    image="redis",
                    command=("redis-server",),
                    compute=Compute(cpu=None),
                    readiness_probe=Probe("tcp_socket", port=6379),
                ),
            ),
        ),
        additions=Additions(
            on_job_complete=False,
            start_timeout_s=60,
            batch_timeout_s=30,
            max_concurrency=4,
            memory_limit="2Gi",
            service_account="runner",
            env_from_secrets=("keys", "more.keys"),
            tolerations=(
                {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
                {"key": "spot", "value": "true"},
            ),
            image_pull_secrets=("pull",),
            cortex_client=True,
        ),
        has_hook=False,
        raw=api.raw,
    )
    assert api.raw["pod"]["containers"][0]["compute"]["cpu"] == 0.5


def test_the_handler_generation_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
- name: old
  kind: BatchAPI
  handler:
    type: tensorflow
    path: src/handler.py
    config: {threshold: 0.5, nested: {a: [1, null]}}
    python_path: src
    image: my/image
    tensorflow_serving_image: tf/serving
    env: {A: b}
    log_level: debug
    shm_size: 100Mi
    dependencies: {pip: reqs.txt, shell: setup.sh}
    models: {paths: [{name: a, path: "s3://b/m", signature_key: k}, {name: b, path: "s3://b/n"}], signature_key: x}
    processes_per_replica: 1
    threads_per_process: 1
  compute: {cpu: 2, mem: 200Mi, inf: 1, node_groups: [a]}
"""
    [api] = load(tmp_path, monkeypatch, text)
    assert api.node_groups == ("a",)
    assert api.handler == Handler(
        key="handler",
        type="tensorflow",
        path="src/handler.py",
        config={"threshold": 0.5, "nested": {"a": [1, None]}},
        python_path="src",
        image="my/image",
        tensorflow_serving_image="tf/serving",
        env={"A": "b"},
        log_level="debug",
        shm_size="100Mi",
        dependencies=Dependencies(pip="reqs.txt", shell="setup.sh"),
        models=Models(listed=(Model("a", "s3://b/m", "k"), Model("b", "s3://b/n", "x"))),
        compute=Compute(cpu="2", mem="200Mi", inf=1),
    )


def test_what_is_left_out_has_cortex_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web, old, older = load(tmp_path, monkeypatch, POD + HANDLER + HANDLER.replace("old", "older").replace("handler:", "predictor:"))
    assert web.pod == Pod(containers=(Container("c", "i", ("run",)),), port=8080)
    assert web.pod.containers[0].compute == Compute("200m", None, 0, 0, None)
    assert (web.endpoint, web.node_groups, web.additions, web.has_hook, web.project) == ("/web", None, Additions(), True, None)
    assert old.handler == Handler(key="handler", type="python", path="h.py")
    assert older.handler == Handler(key="predictor", type="python", path="h.py")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("name: web", "kid: web", "cortex.yaml:1: index 0 (BatchAPI): name: must be defined"),
        ("name: web", "nam: web", 'cortex.yaml:1: index 0 (BatchAPI): name: must be defined; is "nam" meant to be "name"?'),
        ("name: web", "name: 3", "cortex.yaml:1: index 0 (BatchAPI): name: must be a string (got 3); put it in quotes"),
        ("name: web", "name: ''", "cortex.yaml:1: index 0 (BatchAPI): name: cannot be empty"),
        (
            "name: web",
            "name: Web",
            'cortex.yaml:1: Web (BatchAPI): name: "Web" is not a valid name; '
            "use lower-case letters, digits and dashes; begin with a letter and don't end with a dash",
        ),
        (
            "name: web",
            "name: web-",
            'cortex.yaml:1: web- (BatchAPI): name: "web-" is not a valid name; '
            "use lower-case letters, digits and dashes; begin with a letter and don't end with a dash",
        ),
        (
            "name: web",
            "name: " + "w" * 43,
            f"cortex.yaml:1: {'w' * 43} (BatchAPI): name: must be no more than 42 characters (got 43); choose a shorter name",
        ),
        ("name: web", "name: b-web", 'cortex.yaml:1: b-web (BatchAPI): name: cannot begin with "b-"; choose another name'),
        ("kind: BatchAPI", "x: y", "cortex.yaml:1: web: kind: must be defined"),
        ("kind: BatchAPI", "kind: SyncAPI", 'cortex.yaml:2: web (SyncAPI): kind: must be BatchAPI (got "SyncAPI")'),
        (
            "kind: BatchAPI",
            "kind: RealtimeAPI",
            "cortex.yaml:2: web (RealtimeAPI): kind: kind RealtimeAPI is not supported: "
            "batchflow runs jobs, and serves no single requests; leave it out of this file",
        ),
        (
            "kind: BatchAPI",
            "kind: AsyncAPI",
            "cortex.yaml:2: web (AsyncAPI): kind: kind AsyncAPI is not supported: batchflow runs jobs, and queues no single requests; "
            "make it a BatchAPI, and submit each request as a job",
        ),
        (
            "kind: BatchAPI",
            "kind: TaskAPI",
            "cortex.yaml:2: web (TaskAPI): kind: kind TaskAPI is not supported: batchflow runs jobs over items; "
            "make it a BatchAPI, and submit jobs of one item",
        ),
        (
            "kind: BatchAPI",
            "kind: TrafficSplitter",
            "cortex.yaml:2: web (TrafficSplitter): kind: kind TrafficSplitter is not supported: "
            "there are no RealtimeAPIs to split traffic between; leave it out of this file",
        ),
        (
            "kind: BatchAPI",
            "kind: JobDeployment",
            "cortex.yaml:2: web (JobDeployment): kind: kind JobDeployment is not supported: this is a file of apis; "
            "put it into a file of its own",
        ),
    ],
)
def test_name_and_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, POD.replace(old, new)) == error


def test_the_longest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [api] = load(tmp_path, monkeypatch, POD.replace("name: web", "name: " + "w" * 42))
    assert api.name == "w" * 42


@pytest.mark.parametrize(
    ("endpoint", "expected"), [("/x", "/x"), ("x", "/x"), ("x/y/", "/x/y"), ("/A_b-c.d/", "/A_b-c.d"), ("e" * 1000, "/" + "e" * 1000)]
)
def test_endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, expected: str) -> None:
    [api] = load(tmp_path, monkeypatch, in_entry(POD, f"networking: {{endpoint: {endpoint}}}"))
    assert api.endpoint == expected


@pytest.mark.parametrize(
    ("entry", "text", "error"),
    [
        (POD, "networking: {endpoint: /}", 'networking: endpoint: cannot be "/"; leave it out for /web'),
        (POD, "networking: {endpoint: a//b}", 'networking: endpoint: "a//b" cannot contain "//"'),
        (
            POD,
            "networking: {endpoint: a b}",
            'networking: endpoint: "a b" is not a valid endpoint; use letters, digits, underscores, dashes, dots and slashes',
        ),
        (POD, f"networking: {{endpoint: {'e' * 1001}}}", "networking: endpoint: must be no more than 1000 characters (got 1001)"),
        (POD, "networking: {endpont: /x}", 'networking: key "endpont" is not supported; did you mean "endpoint"?'),
        (POD, "compute: {cpu: 1}", 'key "compute" is not supported beside `pod`; put it into each container'),
        (HANDLER, "node_groups: [a]", 'key "node_groups" is not supported beside `handler`; put it under `compute`'),
        (
            POD,
            "metrics: {}",
            'key "metrics" is not supported; known keys: name, kind, networking, handler, predictor, pod, node_groups, batchflow',
        ),
        (POD, "autoscaling: {}", 'key "autoscaling" is not supported; a job says in `workers` how many it wants'),
        (POD, "update_strategy: {}", 'key "update_strategy" is not supported; jobs keep the version that they were submitted with'),
        (POD, "monitoring: {}", 'key "monitoring" is not supported; a job\'s status has its metrics'),
        (POD, "networking: {api_gateway: private}", 'networking: api_gateway: must be public or none (got "private")'),
        (POD, "batchfolw: {}", 'key "batchfolw" is not supported; did you mean "batchflow"?'),
        (POD, "node_groups: []", "node_groups: must contain at least 1 elements"),
        (POD, "node_groups: a", 'node_groups: must be a list (got "a")'),
        (
            POD,
            "node_groups: [a.b]",
            'node_groups: index 0: "a.b" is not the name of a node group; use letters, digits, dashes and underscores',
        ),
        (POD, "node_groups: ['']", "node_groups: index 0: cannot be empty"),
    ],
)
def test_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, text: str, error: str) -> None:
    line, name = (8, "web") if entry is POD else (6, "old")
    assert refusal(tmp_path, monkeypatch, in_entry(entry, text)) == f"cortex.yaml:{line}: {name} (BatchAPI): {error}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "- name: a\n  kind: BatchAPI\n",
            "cortex.yaml:1: a (BatchAPI): specify exactly one of the following keys: handler, predictor, pod",
        ),
        (
            "- name: a\n  kind: BatchAPI\n  predicter: {}\n",
            "cortex.yaml:1: a (BatchAPI): specify exactly one of the following keys: handler, predictor, pod; "
            'is "predicter" meant to be "predictor"?',
        ),
        (
            in_entry(HANDLER, "pod: {containers: []}"),
            "cortex.yaml:1: old (BatchAPI): specify exactly one of the following keys: handler, predictor, pod (got handler and pod)",
        ),
        ("- name: a\n  kind: BatchAPI\n  pod: [1]\n", "cortex.yaml:3: a (BatchAPI): pod: must be a map (got a list)"),
        ("- a\n", 'cortex.yaml:1: index 0: must be a map (got "a")'),
        ("name: a\n", 'cortex.yaml:1: must be a list of apis (got a map); begin each api with "- "'),
        ("[]\n", "cortex.yaml:1: must contain at least 1 elements"),
        ("text\n", 'cortex.yaml:1: must be a list (got "text")'),
        ("\n", "cortex.yaml: is empty"),
    ],
)
def test_shape_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, text) == error


def test_names_and_endpoints_are_unique_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        refusal(tmp_path, monkeypatch, POD + POD)
        == 'cortex.yaml:8: web (BatchAPI): name "web" is taken by another api of this file; web (BatchAPI) has it'
    )
    assert (
        refusal(tmp_path, monkeypatch, POD + in_entry(HANDLER, "networking: {endpoint: web/}"))
        == 'cortex.yaml:13: old (BatchAPI): endpoint "/web" is taken by another api of this file; web (BatchAPI) has it'
    )


@pytest.mark.parametrize(
    ("text", "compute"),
    [
        ("cpu: 20m", Compute(cpu="20m")),
        ("cpu: 1", Compute(cpu="1")),
        ("cpu: 0.2", Compute(cpu="0.2")),
        ("cpu: '1.5'", Compute(cpu="1.5")),
        ("cpu: null", Compute(cpu=None)),
        ("mem: 20Mi", Compute(mem="20Mi")),
        ("mem: 1e9", Compute(mem="1e9")),
        ("mem: 2G", Compute(mem="2G")),
        ("mem: null", Compute()),
        ("gpu: 2", Compute(gpu=2)),
        ("inf: 1", Compute(inf=1)),
    ],
)
def test_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, compute: Compute) -> None:
    text = text if text != "mem: 1e9" else "mem: '1e9'"
    [old] = load(tmp_path, monkeypatch, in_entry(HANDLER, f"compute: {{{text}}}"))
    [web] = load(tmp_path, monkeypatch, in_container(f"compute: {{{text}}}"))
    assert old.handler is not None
    assert web.pod is not None
    assert old.handler.compute == web.pod.containers[0].compute == compute


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cpu: 10m", "cpu: must be greater than or equal to 20m (got 10m)"),
        ("cpu: 0.01", "cpu: must be greater than or equal to 20m (got 0.01)"),
        ("cpu: -1", "cpu: must be greater than or equal to 20m (got -1)"),
        ("cpu: true", "cpu: must be a string (got true); put it in quotes"),
        ("cpu: two", 'cpu: "two" is not a Kubernetes quantity; write it as in 200m, 1.5, 512Mi or 2G'),
        ("mem: 20M", "mem: must be greater than or equal to 20Mi (got 20M)"),
        ("mem: 100000000", "mem: must be a string (got 100000000); put it in quotes"),
        ("mem: 1GB", 'mem: "1GB" is not a Kubernetes quantity; write it as in 200m, 1.5, 512Mi or 2G'),
        ("gpu: -1", "gpu: must be greater than or equal to 0 (got -1)"),
        ("gpu: 1.0", "gpu: must be an integer (got 1.0)"),
        ("gpu: true", "gpu: must be an integer (got true)"),
        ("inf: -1", "inf: must be greater than or equal to 0 (got -1)"),
        ("gpu: 1, inf: 1", "gpu and inf cannot be used together"),
        ("cpus: 1", 'key "cpus" is not supported; did you mean "cpu"?'),
    ],
)
def test_compute_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, in_entry(HANDLER, f"compute: {{{text}}}")) == FIRST_HANDLER_LINE + "compute: " + error
    place = "cortex.yaml:8: web (BatchAPI): pod: containers: c: compute: "
    assert refusal(tmp_path, monkeypatch, in_container(f"compute: {{{text}}}")) == place + error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (in_entry(HANDLER, "compute: {inf: 2}"), "inf: must be less than or equal to 1 (got 2)"),
        (in_entry(HANDLER, "compute: {shm: 1Mi}"), 'key "shm" is not supported; use the handler\'s shm_size'),
        (in_entry(HANDLER, "compute: {node_groups: []}"), "node_groups: must contain at least 1 elements"),
        (in_container("compute: {mem: 1Gi, shm: 2Gi}"), "shm: must be no more than mem (got 2Gi, mem is 1Gi)"),
        (in_container("compute: {shm: 0}"), "shm: must be a string (got 0); put it in quotes"),
        (in_container("compute: {shm: '0'}"), "shm: must be greater than or equal to 1 (got 0)"),
        (in_container("compute: {node_groups: [a]}"), 'key "node_groups" is not supported; it belongs to the api: put it beside `pod`'),
    ],
)
def test_compute_of_one_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, text).partition("compute: ")[2] == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("protobuf_path: x.proto", "protobuf_path key is not supported for BatchAPI kind"),
        ("server_side_batching: {}", "server_side_batching key is not supported for BatchAPI kind"),
        ("multi_model_reloading: {}", "multi_model_reloading key is not supported for BatchAPI kind"),
        ("config: [1]", "config: must be a map (got a list)"),
        ("python_path: /src", 'python_path: "/src" is not a path within the project; write it relative to the folder of the api\'s file'),
        ("python_path: ~/src", 'python_path: "~/src" is not a path within the project; write it relative to the folder of the api\'s file'),
        ("python_path: ./src", 'python_path: "./src" is not a path within the project; leave it out for the project\'s own folder'),
        ("python_path: .", 'python_path: "." is not a path within the project; leave it out for the project\'s own folder'),
        (
            "python_path: a/../../b",
            'python_path: "a/../../b" is not a path within the project; write it relative to the folder of the api\'s file',
        ),
        ("image: ''", "image: cannot be empty"),
        ("tensorflow_serving_image: x", "tensorflow_serving_image is not supported for the python type"),
        ("models: {path: s3://b/m}", "models is not supported for the python type; load the model in __init__"),
        ("env: {CORTEX_X: a}", 'env: CORTEX_X: environment variables that begin with "CORTEX_" are reserved; rename it'),
        ("env: {DEBUG: 1}", "env: DEBUG: must be a string (got 1); put it in quotes"),
        ("env: {'a b': x}", 'env: a b: "a b" is not the name of an environment variable'),
        ("env: {A: null}", "env: A: must be a string (got null)"),
        ('env: {A: "x\\0"}', "env: A: cannot contain the character NUL"),
        ("log_level: INFO", 'log_level: must be debug or info or warning or error (got "INFO")'),
        ("shm_size: lots", 'shm_size: "lots" is not a Kubernetes quantity; write it as in 200m, 1.5, 512Mi or 2G'),
        (
            "dependencies: {pip: /r.txt}",
            'dependencies: pip: "/r.txt" is not a path within the project; write it relative to the folder of the api\'s file',
        ),
        ("dependencies: {npm: p.json}", 'dependencies: key "npm" is not supported; known keys: pip, conda, shell'),
        ("processes_per_replica: 2", "processes_per_replica: must be 1 for BatchAPI kind; raise the job's workers instead"),
        ("threads_per_process: 4", "threads_per_process: must be 1 for BatchAPI kind; raise the job's workers instead"),
        ("pyton_path: src", 'key "pyton_path" is not supported; did you mean "python_path"?'),
    ],
)
def test_handler_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, in_handler(text)) == f"{FIRST_HANDLER_LINE}handler: {error}"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("type: python", "config: {}", "cortex.yaml:3: old (BatchAPI): handler: type: must be defined"),
        ("type: python", "type: sklearn", 'cortex.yaml:4: old (BatchAPI): handler: type: must be python or tensorflow (got "sklearn")'),
        (
            "type: python",
            "type: onnx",
            "cortex.yaml:4: old (BatchAPI): handler: type: the onnx type is no longer supported; "
            "use the python type, and load the model with onnxruntime there",
        ),
        ("path: h.py", "config: {}", "cortex.yaml:3: old (BatchAPI): handler: path: must be defined"),
        ("path: h.py", "path: h.js", 'cortex.yaml:5: old (BatchAPI): handler: path: "h.js" must end with .py or .pickle'),
        (
            "path: h.py",
            "path: ../h.py",
            'cortex.yaml:5: old (BatchAPI): handler: path: "../h.py" is not a path within the project; '
            "write it relative to the folder of the api's file",
        ),
    ],
)
def test_handler_type_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, HANDLER.replace(old, new)) == error
    older = refusal(tmp_path, monkeypatch, HANDLER.replace(old, new).replace("handler:", "predictor:"))
    assert older == error.replace("handler:", "predictor:")


def test_a_pickled_handler_and_shared_memory_within_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = in_handler("shm_size: 1Gi").replace("h.py", "./h.pickle")
    [api] = load(tmp_path, monkeypatch, in_entry(text, "compute: {mem: 1Gi}"))
    assert api.handler is not None
    assert (api.handler.path, api.handler.shm_size) == ("./h.pickle", "1Gi")
    error = refusal(tmp_path, monkeypatch, in_entry(text, "compute: {mem: 1G}"))
    assert error == FIRST_HANDLER_LINE + "handler: shm_size: must be no more than compute.mem (got 1Gi, compute.mem is 1G)"


@pytest.mark.parametrize(
    ("models", "error"),
    [
        (None, "cortex.yaml:3: old (BatchAPI): handler: models: must be defined"),
        ("{}", "models: specify exactly one of the following keys: path, paths, dir"),
        ("{path: a, dir: b}", "models: specify exactly one of the following keys: path, paths, dir (got path and dir)"),
        ("{path: a, cache_size: 1}", "models: cache_size key is not supported for BatchAPI kind"),
        ("{path: a, disk_cache_size: 1}", "models: disk_cache_size key is not supported for BatchAPI kind"),
        ("{paths: []}", "models: paths: must contain at least 1 elements"),
        ("{paths: [{path: a}]}", "models: paths: index 0: name: must be defined"),
        ("{paths: [{name: a}]}", "models: paths: index 0: path: must be defined"),
        ("{paths: [{name: a, path: p}, {name: a, path: q}]}", 'models: paths: index 1: name: "a" is there twice'),
        (
            "{paths: [{name: a/b, path: p}]}",
            'models: paths: index 0: name: "a/b" is not a valid name; use letters, digits, underscores and dashes',
        ),
        ("{dir: ''}", "models: dir: cannot be empty"),
        ("{dir: gs://b/m}", 'models: dir: "gs://b/m" is not a valid s3 path (e.g. s3://bucket/folder/)'),
        ("{path: s3:///m}", 'models: path: "s3:///m" is not a valid s3 path (e.g. s3://bucket/folder/)'),
        (
            "{path: ../m}",
            'models: path: "../m" is not a path within the project; write it relative to the folder of the api\'s file',
        ),
        ("{dir: d, signature: x}", 'models: key "signature" is not supported; did you mean "signature_key"?'),
    ],
)
def test_models_of_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: str | None, error: str) -> None:
    text = in_handler(f"models: {models}" if models else "").replace("python", "tensorflow")
    expected = error if models is None else f"{FIRST_HANDLER_LINE}handler: {error}"
    assert refusal(tmp_path, monkeypatch, text) == expected


@pytest.mark.parametrize(
    ("written", "models"),
    [
        ("{path: s3://b/m}", Models(listed=(Model("default", "s3://b/m"),))),
        ("{path: models/m, signature_key: k}", Models(listed=(Model("default", "models/m", "k"),))),
        ("{paths: [{name: a_B-1, path: /m}]}", Models(listed=(Model("a_B-1", "/m"),))),
        ("{dir: 'file:///m', signature_key: k}", Models(dir="file:///m", signature_key="k")),
    ],
)
def test_models_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, models: Models) -> None:
    [api] = load(tmp_path, monkeypatch, in_handler(f"models: {written}").replace("python", "tensorflow"))
    assert api.handler is not None
    assert api.handler.models == models


@pytest.mark.parametrize("port", [1, 8887, 14999, 65535])
def test_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    [api] = load(tmp_path, monkeypatch, in_pod(f"port: {port}"))
    assert api.port == port


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("port: 0", "port: must be greater than or equal to 1 (got 0)"),
        ("port: 65536", "port: must be less than or equal to 65535 (got 65536)"),
        ("port: 8888", "port: port 8888 is reserved; choose another port"),
        ("port: 15000", "port: port 15000 is reserved; choose another port"),
        ("port: '80'", 'port: must be an integer (got "80")'),
        ("max_concurrency: 2", "max_concurrency key is not supported for BatchAPI kind; use max_concurrency under `batchflow`"),
        ("max_queue_length: 2", "max_queue_length key is not supported for BatchAPI kind"),
        ("volumes: []", 'key "volumes" is not supported; known keys: port, containers'),
    ],
)
def test_pod_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, in_pod(text)) == f"cortex.yaml:8: web (BatchAPI): pod: {error}"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("name: c", "x: c", "cortex.yaml:5: web (BatchAPI): pod: containers: index 0: name: must be defined"),
        (
            "name: c",
            "name: C_1",
            'cortex.yaml:5: web (BatchAPI): pod: containers: C_1: name: "C_1" is not a valid name; '
            "use lower-case letters, digits and dashes; begin with a letter and don't end with a dash",
        ),
        (
            "name: c",
            "name: " + "c" * 64,
            f"cortex.yaml:5: web (BatchAPI): pod: containers: {'c' * 64}: name: "
            "must be no more than 63 characters (got 64); choose a shorter name",
        ),
        *(
            (
                "name: c",
                f"name: {name}",
                f'cortex.yaml:5: web (BatchAPI): pod: containers: {name}: name: "{name}" is reserved; '
                "choose a name other than dequeuer, proxy, main, init, wait, prepare",
            )
            for name in ("dequeuer", "proxy", "main", "init", "wait", "prepare")
        ),
        ("image: i", "args: []", "cortex.yaml:5: web (BatchAPI): pod: containers: c: image: must be defined"),
        ("command: [run]", "args: []", "cortex.yaml:5: web (BatchAPI): pod: containers: c: command: must be defined"),
        ("command: [run]", "command: []", "cortex.yaml:7: web (BatchAPI): pod: containers: c: command: must contain at least 1 elements"),
        ("command: [run]", "command: run", 'cortex.yaml:7: web (BatchAPI): pod: containers: c: command: must be a list (got "run")'),
        (
            "command: [run]",
            "command: [run, 1]",
            "cortex.yaml:7: web (BatchAPI): pod: containers: c: command: index 1: must be a string (got 1); put it in quotes",
        ),
    ],
)
def test_container_basics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, POD.replace(old, new)) == error


def test_containers_are_at_least_one_with_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = "- name: web\n  kind: BatchAPI\n  pod:\n    containers: []\n"
    place = "web (BatchAPI): pod: containers: "
    assert refusal(tmp_path, monkeypatch, empty) == f"cortex.yaml:4: {place}must contain at least 1 elements"
    none = empty.replace("containers: []", "port: 1")
    assert refusal(tmp_path, monkeypatch, none) == f"cortex.yaml:3: {place}must be defined"
    twice = POD + "      - {name: c, image: i, command: [run]}\n"
    error = f'cortex.yaml:8: {place}index 1: name: "c" is there twice; containers need names of their own'
    assert refusal(tmp_path, monkeypatch, twice) == error


def test_gpu_and_inf_are_summed_over_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = in_container("compute: {gpu: 1}") + "      - {name: d, image: i, command: [run], compute: {inf: 4}}\n"
    error = "cortex.yaml:4: web (BatchAPI): pod: containers: gpu and inf cannot be used together in one pod"
    assert refusal(tmp_path, monkeypatch, text) == error
    [api] = load(tmp_path, monkeypatch, text.replace("gpu: 1", "inf: 1"))
    assert api.pod is not None
    assert [container.compute.inf for container in api.pod.containers] == [1, 4]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("pre_stop: {}", "pre_stop key is not supported for BatchAPI kind"),
        ("env: {CORTEX_A: x}", 'env: CORTEX_A: environment variables that begin with "CORTEX_" are reserved; rename it'),
        ("env: {KUBEXIT_A: x}", 'env: KUBEXIT_A: environment variables that begin with "KUBEXIT_" are reserved; rename it'),
        ("args: --x", 'args: must be a list (got "--x")'),
        ("readines_probe: {}", 'key "readines_probe" is not supported; did you mean "readiness_probe"?'),
        ("readiness_probe: {}", "readiness_probe: specify exactly one of the following keys: http_get, tcp_socket"),
        (
            "readiness_probe: {http_get: {port: 1}, tcp_socket: {port: 1}}",
            "readiness_probe: specify exactly one of the following keys: http_get, tcp_socket (got http_get and tcp_socket)",
        ),
        (
            "readiness_probe: {exec: {command: [x]}}",
            "readiness_probe: exec is not supported for a readiness probe; use http_get or tcp_socket",
        ),
        ("liveness_probe: {}", "liveness_probe: specify exactly one of the following keys: http_get, tcp_socket, exec"),
        ("liveness_probe: {exec: {command: []}}", "liveness_probe: exec: command: must contain at least 1 elements"),
        ("liveness_probe: {http_get: {path: /}}", "liveness_probe: http_get: port: must be defined"),
        ("liveness_probe: {http_get: {port: http}}", 'liveness_probe: http_get: port: must be an integer (got "http")'),
        ("liveness_probe: {tcp_socket: {port: 8888}}", "liveness_probe: tcp_socket: port: port 8888 is reserved; choose another port"),
        (
            "liveness_probe: {tcp_socket: {port: 1, path: /}}",
            'liveness_probe: tcp_socket: key "path" is not supported; known keys: port',
        ),
        *(
            (
                f"liveness_probe: {{tcp_socket: {{port: 1}}, {key}: -1}}",
                f"liveness_probe: {key}: must be greater than or equal to 0 (got -1)",
            )
            for key in ("initial_delay_seconds", "timeout_seconds", "period_seconds", "success_threshold", "failure_threshold")
        ),
    ],
)
def test_container_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, in_container(text)) == f"cortex.yaml:8: web (BatchAPI): pod: containers: c: {error}"


def test_probe_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [api] = load(tmp_path, monkeypatch, in_container("readiness_probe: {http_get: {port: 80}}"))
    assert api.pod is not None
    probe = Probe("http_get", 80, "/", (), initial_delay_s=0, timeout_s=1, period_s=10, success_threshold=1, failure_threshold=3)
    assert api.pod.containers[0].readiness_probe == probe


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("on_job_complete: 'no'", 'on_job_complete: must be true or false (got "no")'),
        ("start_timeout_s: 0", "start_timeout_s: must be greater than or equal to 1 (got 0)"),
        ("batch_timeout_s: 0", "batch_timeout_s: must be greater than or equal to 1 (got 0)"),
        ("batch_timeout_s: 43201", "batch_timeout_s: must be less than or equal to 43200 (got 43201)"),
        ("max_concurrency: 0", "max_concurrency: must be greater than or equal to 1 (got 0)"),
        ("memory_limit: 1Mi", "memory_limit: must be greater than or equal to 20Mi (got 1Mi)"),
        (
            "service_account: A",
            'service_account: "A" is not the name of a Kubernetes object; use lower-case letters, digits, dashes and dots',
        ),
        ("env_from_secrets: key", 'env_from_secrets: must be a list (got "key")'),
        (
            "env_from_secrets: [a_b]",
            'env_from_secrets: index 0: "a_b" is not the name of a Kubernetes object; use lower-case letters, digits, dashes and dots',
        ),
        ("image_pull_secrets: ['']", "image_pull_secrets: index 0: cannot be empty"),
        ("cortex_client: yes please", 'cortex_client: must be true or false (got "yes please")'),
        ("tolerations: [a]", 'tolerations: index 0: must be a map (got "a")'),
        (
            "tolerations: [{keys: a, operator: Exists}]",
            'tolerations: index 0: key "keys" is not supported; did you mean "key"?',
        ),
        ("tolerations: [{value: a}]", "tolerations: index 0: needs a key, or the operator Exists"),
        ("tolerations: [{key: a, operator: In}]", 'tolerations: index 0: operator: must be Exists or Equal (got "In")'),
        (
            "tolerations: [{key: a, operator: Exists, value: b}]",
            "tolerations: index 0: value: must be left out where the operator is Exists",
        ),
        (
            "tolerations: [{key: a, effect: no}]",
            "tolerations: index 0: effect: must be a string (got false); put it in quotes",
        ),
        ("tolerations: [{key: a, tolerationSeconds: 1}]", "tolerations: index 0: tolerationSeconds: needs the effect NoExecute"),
        (
            "workers: 3",
            'key "workers" is not supported; known keys: on_job_complete, memory_limit, service_account, cortex_client, start_timeout_s, '
            "batch_timeout_s, max_concurrency, env_from_secrets, tolerations, image_pull_secrets",
        ),
    ],
)
def test_additions_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    assert refusal(tmp_path, monkeypatch, in_entry(HANDLER, f"batchflow: {{{text}}}")) == f"{FIRST_HANDLER_LINE}batchflow: {error}"


def test_the_memory_limit_is_no_less_than_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = in_entry(HANDLER, "batchflow: {memory_limit: 1G}\ncompute: {mem: 1Gi}")
    error = "batchflow: memory_limit: must be no less than mem (got 1G, mem is 1Gi)"
    assert refusal(tmp_path, monkeypatch, handler) == FIRST_HANDLER_LINE + error
    pod = in_entry(in_container("compute: {mem: 1Gi}"), "batchflow: {memory_limit: 1G}")
    assert refusal(tmp_path, monkeypatch, pod) == f"cortex.yaml:9: web (BatchAPI): {error}"
    [api] = load(tmp_path, monkeypatch, pod.replace("1G}", "1Gi}"))
    assert api.additions.memory_limit == "1Gi"


MANY = """\
- name: web
  kind: BatchAPI
  autoscaling: {min_replicas: 1}
  pod:
    max_concurrency: 2
    containers:
      - {name: c, image: i, command: [run], pre_stop: {}, readiness_probe: {exec: {command: [x]}}}
  networking: {endpont: x}
- name: live
  kind: RealtimeAPI
  pod: {anything: 1}
- name: old
  kind: BatchAPI
  handler: {type: python, path: h.py, processes_per_replica: 2, protobuf_path: p, models: {}}
  compute: {shm: 1Gi, gpus: 1}
- name: last
  kind: BatchAPI
  handler: {type: onnx, path: h.py, server_side_batching: {}}
"""


def test_every_key_that_can_not_be_honoured_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SeveralErrors) as raised:
        load(tmp_path, monkeypatch, MANY)
    web, old, last = ("web (BatchAPI): ", "old (BatchAPI): ", "last (BatchAPI): handler: ")
    unsupported = "key is not supported for BatchAPI kind"
    assert [str(error) for error in raised.value.errors] == [
        f'cortex.yaml:3: {web}key "autoscaling" is not supported; a job says in `workers` how many it wants',
        f"cortex.yaml:5: {web}pod: max_concurrency {unsupported}; use max_concurrency under `batchflow`",
        f"cortex.yaml:7: {web}pod: containers: c: pre_stop {unsupported}",
        f"cortex.yaml:7: {web}pod: containers: c: readiness_probe: exec is not supported for a readiness probe; use http_get or tcp_socket",
        f'cortex.yaml:8: {web}networking: key "endpont" is not supported; did you mean "endpoint"?',
        "cortex.yaml:10: live (RealtimeAPI): kind: kind RealtimeAPI is not supported: batchflow runs jobs, and serves no single requests; "
        "leave it out of this file",
        f"cortex.yaml:14: {old}handler: protobuf_path {unsupported}",
        f"cortex.yaml:14: {old}handler: models is not supported for the python type; load the model in __init__",
        f"cortex.yaml:14: {old}handler: processes_per_replica: must be 1 for BatchAPI kind; raise the job's workers instead",
        f'cortex.yaml:15: {old}compute: key "shm" is not supported; use the handler\'s shm_size',
        f'cortex.yaml:15: {old}compute: key "gpus" is not supported; did you mean "gpu"?',
        f"cortex.yaml:18: {last}server_side_batching {unsupported}",
        f"cortex.yaml:18: {last}type: the onnx type is no longer supported; use the python type, and load the model with onnxruntime there",
    ]
    text = str(raised.value)
    assert text.startswith('cortex.yaml: 13 errors: (1) cortex.yaml:3: web (BatchAPI): key "autoscaling" is not supported; ')
    assert text.count("cortex.yaml:") == 14 and "\n" not in text


def test_of_a_thousand_keys_the_first_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = in_entry(POD, "\n".join(f"key{number}: 1" for number in range(1000)))
    with pytest.raises(SeveralErrors) as raised:
        load(tmp_path, monkeypatch, text + "- 1\n" * 1000)
    assert [error.where for error in raised.value.errors] == [f"cortex.yaml:{line}: web (BatchAPI)" for line in range(8, 28)]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (POD, []),
        (
            in_entry(POD, "networking: {api_gateway: public}"),
            ["cortex.yaml:8: web (BatchAPI): networking: api_gateway: has no effect here; `batchflow serve` answers at the endpoint"],
        ),
        (
            POD.replace("image: i", "image: quay.io/cortexlabs/batch-container-cpu:0.42.1"),
            [
                'cortex.yaml:6: web (BatchAPI): pod: containers: c: image: "quay.io/cortexlabs/batch-container-cpu:0.42.1" '
                "is one of Cortex's own images, which may be gone; name an image of your own"
            ],
        ),
        (
            in_handler("image: cortexlabs/python-predictor-gpu:0.19.0"),
            [
                'cortex.yaml:6: old (BatchAPI): handler: image: "cortexlabs/python-predictor-gpu:0.19.0" '
                "is one of Cortex's own images, which may be gone; leave `image` out, or name an image of your own"
            ],
        ),
        (in_handler("image: registry.example/cortexlabs/python:1"), []),
        (
            in_container("readiness_probe: {tcp_socket: {port: 80}, period_seconds: 5, failure_threshold: 2, timeout_seconds: 3}"),
            [
                "cortex.yaml:8: web (BatchAPI): pod: containers: c: readiness_probe: failure_threshold: "
                "has no effect on a readiness probe; the next batch waits as soon as it fails once"
            ],
        ),
        (in_container("liveness_probe: {tcp_socket: {port: 80}, period_seconds: 5, failure_threshold: 2}"), []),
    ],
)
def test_what_has_no_effect_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, warnings: list[str]) -> None:
    [api] = load(tmp_path, monkeypatch, text)
    assert list(api.warnings) == warnings


def test_warnings_belong_to_their_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web, old = load(tmp_path, monkeypatch, POD.replace("image: i", "image: cortexlabs/x") + HANDLER)
    assert (len(web.warnings), old.warnings) == (1, ())


def test_one_api_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("cortex.yaml")
    path.write_text(POD)
    assert load_api(path, None).name == load_api(path, "web").name == "web"
    path.write_text(POD + HANDLER)
    assert load_api(path, "old").name == "old"
    with pytest.raises(InvalidInput, match=r"^cortex.yaml: holds several apis; name one of web, old$"):
        load_api(path, None)
    with pytest.raises(NotFound, match=r'^cortex.yaml: there is no api "new"; there is web, old$'):
        load_api(path, "new")
    with pytest.raises(NotFound, match=r"^other.yaml: no such file$"):
        load_api(Path("other.yaml"), None)


def test_an_entry_as_a_value_has_a_place_without_lines() -> None:
    entry: dict[str, Any] = {"name": "a", "kind": "BatchAPI", "pod": {"containers": [{"name": "c", "image": "i", "command": ["x"]}]}}
    assert parse_api(entry, where="request").raw == entry
    entry["pod"]["port"] = "80"
    with pytest.raises(InvalidInput) as raised:
        parse_api(entry, where="request")
    assert raised.value.where == "request: a (BatchAPI): pod: port"
    assert raised.value.what == 'must be an integer (got "80")'
