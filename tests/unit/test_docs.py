"""The documents say what there is: links lead somewhere; every field, setting, status key, command and flag is in its page."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from fastapi.routing import APIRoute

from batchflow.callrecords import replied_error
from batchflow.cli.main import cli
from batchflow.compiler.environment import container_env, handler_env
from batchflow.deployments import endings
from batchflow.errors import InvalidInput
from batchflow.gateway import operator
from batchflow.gateway.credentials import Credentials
from batchflow.spec.api import parse_api
from batchflow.spec.computeresource import Rules
from batchflow.spec.deploymentfile import check_job_deployments, job_deployments
from batchflow.spec.jobdeployment import parse_job_deployment
from batchflow.spec.jobfile import load_submission
from batchflow.spec.model import MAX_BATCH_BYTES
from batchflow.spec.project import MAX_PROJECT_BYTES
from batchflow.spec.reader import read_document
from batchflow.status.model import DISPLAY, BatchMetrics, JobStatus, WorkerCounts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
UNKNOWN = "zzzzzz"
KNOWN_KEYS = "known keys: "
COMMON_FLAGS = ("--namespace", "--context", "--output", "--local", "--help")

PROBE = {"http_get": {"port": 80}}
API = {"name": "a", "kind": "BatchAPI", "networking": {"endpoint": "a"}}
HANDLER = {"type": "python", "path": "a.py", "dependencies": {"pip": "a.txt"}}
MODELS = {"paths": [{"name": "a", "path": "b"}]}
CONTAINER = {
    **{"name": "a", "image": "b", "command": ["c"], "compute": {"cpu": 1}, "readiness_probe": PROBE},
    "liveness_probe": {"exec": {"command": ["d"]}},
}
TOLERATION = {"key": "a", "operator": "Exists"}
# Each shows maps that an api may hold, so that an unknown key in them is answered with the known ones.
APIS: list[dict[str, Any]] = [
    {**API, "handler": HANDLER, "compute": {"cpu": 1}, "batchflow": {"tolerations": [TOLERATION]}},
    {**API, "predictor": {"type": "tensorflow", "path": "a.py", "models": MODELS}},
    {**API, "pod": {"containers": [CONTAINER]}},
    {**API, "pod": {"containers": [{**CONTAINER, "readiness_probe": {"tcp_socket": {"port": 80}}}]}},
]
JOB = {"api": "a", "workers": 1, "sqs_dead_letter_queue": {"arn": "a", "max_receive_count": 1}}
JOBS: list[dict[str, Any]] = [
    {**JOB, "item_list": {"items": [1], "batch_size": 1}},
    {**JOB, "file_path_lister": {"s3_paths": ["a"], "batch_size": 1}},
    {**JOB, "delimited_files": {"s3_paths": ["a"], "batch_size": 1}},
]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def code_words(text: str) -> set[str]:
    """The words in code spans and code blocks."""
    spans = re.findall(r"```.*?```|`[^`\n]+`|^ {4,}\S.*$", text, re.S | re.M)
    return {word for span in spans for word in re.findall(r"\w+", span)}


def table_words(text: str) -> set[str]:
    """Those in a table's rows: an example or a remark does not document a field."""
    return code_words("\n".join(re.findall(r"^\|.*$", text, re.M)))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def prose(text: str) -> str:
    """Without code, where brackets are no links and # is no heading."""
    return re.sub(r"`[^`\n]+`", "`code`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def anchors(path: Path) -> set[str]:
    """GitHub's: lower case, punctuation dropped, spaces to dashes."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(source: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(source.read_text(encoding="utf-8"))):
        file, _, anchor = link.partition("#")
        target = (source.parent / file).resolve() if file else source
        if re.match(r"https?://", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def with_unknown_keys(value: Any, whole: Any = None, keys: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Copies of the document, each with an unknown key in another one of its maps."""
    whole = value if whole is None else whole
    if isinstance(value, dict):
        copy = deepcopy(whole)
        inner = copy
        for key in keys:
            inner = inner[key]
        inner[UNKNOWN] = 1
        yield copy
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from with_unknown_keys(inner, whole, (*keys, key))


def known_keys(error: InvalidInput) -> list[str]:
    assert UNKNOWN in error.what and error.hint.startswith(KNOWN_KEYS), error
    return error.hint.removeprefix(KNOWN_KEYS).split(", ")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What's `in` it\n```\n# no heading\n```\n")
    source = tmp_path / "page.md"
    source.write_text("[a](other.md#whats-in-it) [b](gone.md) [c](other.md#no-heading) [d](#nothing) `[e](code.md)` [f](https://x.y/z)")
    assert broken_links(source) == ["gone.md", "other.md#no-heading", "#nothing"]


@pytest.mark.parametrize("api", APIS, ids=lambda api: [*api][-1])
def test_every_field_of_an_api_is_documented(api: dict[str, Any]) -> None:
    parse_api(api, where="")
    fields = set()
    for document in with_unknown_keys(api):
        with pytest.raises(InvalidInput) as caught:
            parse_api(document, where="")
        fields.update(known_keys(caught.value))
    assert fields - table_words(page("cortex-yaml.md")) == set()


@pytest.mark.parametrize("job", JOBS, ids=lambda job: [*job][-1])
def test_every_field_of_a_job_is_documented(job: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    fields = set()
    for document in with_unknown_keys(job):
        file.write_text(yaml.safe_dump(document))
        with pytest.raises(InvalidInput) as caught:
            load_submission(file, overrides={})
        fields.update(known_keys(caught.value))
    assert fields - table_words(page("job-yaml.md")) == set()


def test_the_apis_that_are_printed_can_be_read() -> None:
    apis = [parse_api(entry, where="") for block in blocks(page("cortex-yaml.md"), "yaml") for entry in yaml.safe_load(block)]
    assert len(apis) >= 3


def test_the_job_that_is_printed_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "cortex.yaml").write_text(blocks(page("cortex-yaml.md"), "yaml")[0])
    [block] = blocks(page("job-yaml.md"), "yaml")
    (tmp_path / "job.yaml").write_text(block)
    assert load_submission(tmp_path / "job.yaml", overrides={}).api == "digits"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_python_that_is_printed_is_python(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        ast.parse(block)


def test_every_setting_is_documented() -> None:
    names = set(re.findall(r"\bBATCHFLOW_[A-Z_]*[A-Z]\b", (ROOT / "batchflow" / "settings.py").read_text(encoding="utf-8")))
    assert len(names) > 5
    assert names - set(re.findall(r"^\| `(\w+)` \|", page("command-line.md"), re.M)) == set()


def test_every_key_and_code_of_a_status_is_documented() -> None:
    metrics = BatchMetrics(1, 1, 1.0)
    full = JobStatus("a", "b", "c", 1, "succeeded", "d", batch_metrics=metrics, worker_counts=WorkerCounts(), end_time="e")
    document = full.to_dict()
    keys = {*document, *(key for value in document.values() if isinstance(value, dict) for key in value), *DISPLAY}
    assert keys - code_words(page("status.md")) == set()


COMMANDS = {name: command for name, command in cli.commands.items() if not command.hidden}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_documented(name: str) -> None:
    text = page("command-line.md")
    section = re.search(rf"^### batchflow {name}$(.*?)^##", text, re.S | re.M)
    assert section, f"no section on {name}"
    options = [param.opts[-1] for param in COMMANDS[name].params if isinstance(param, click.Option)]
    missing = [flag for flag in options if f"`{flag}`" not in (text if flag in COMMON_FLAGS else section[1])]
    assert missing == []


def commands(text: str) -> list[str]:
    """Every `batchflow …` in a code span or an indented line, without what it is piped into."""
    spans = re.findall(r"`(batchflow [^`\n]+)`|^ {4,}(batchflow [^|\n]+)", text, re.M)
    return [(span or line).strip() for span, line in spans]


def unknown_to_the_command_line(command: str) -> str:
    """What is wrong with a command, "" if nothing; it is parsed, and not run."""
    _, name, *arguments = shlex.split(command)
    if name.startswith("-"):
        return "" if any(name in param.opts for param in cli.params) else "no such flag"
    if name not in COMMANDS:
        return "no such command"
    if not arguments:  # only named
        return ""
    try:
        COMMANDS[name].make_context(name, arguments)
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("name", ["from-cortex.md", "from-verda.md", "python.md", "http-api.md"])
def test_every_command_that_is_printed_can_be_given(name: str) -> None:
    printed = commands(page(name))
    assert {command: problem for command in printed if (problem := unknown_to_the_command_line(command))} == {}
    assert name != "from-cortex.md" or len(printed) > 20


def test_a_command_that_can_not_be_given_is_found() -> None:
    text = "`batchflow gte x` `batchflow get --wach`\n\n    batchflow delete -y | x\n\n`batchflow --version` `batchflow --verion`"
    found = commands(text)
    assert [bool(unknown_to_the_command_line(command)) for command in found] == [True, True, True, False, True]


SUBMISSION = ("workers", "timeout", "sqs_dead_letter_queue", "arn", "max_receive_count", "item_list", "items", "batch_size", "config")
SOURCES = ("file_path_lister", "delimited_files", "s3_paths", "includes", "excludes")
RESPONSE = ("job_id", "api_name", "kind", "api_id", "sqs_url", "created_time", "message")
STATUS = ("job_status", "status", "batches_in_queue", "batch_metrics", "failed", "avg_time_per_batch", "start_time", "end_time", "endpoint")
WORKERS = ("api_spec", "worker_counts", "pending", "initializing", "running", "succeeded", "stalled")


def test_every_field_of_cortex_documentation_of_jobs_has_its_row() -> None:
    assert {*SUBMISSION, *SOURCES, *RESPONSE, *STATUS, *WORKERS} - table_words(page("from-cortex.md")) == set()


def test_every_status_has_its_row() -> None:
    section = page("from-cortex.md").partition("## Status codes")[2].partition("\n## ")[0]
    assert {*DISPLAY, "unknown"} - table_words(section) == set()


@pytest.mark.parametrize(
    "api",
    [
        {**API, UNKNOWN: 1, "handler": HANDLER},
        {**API, "handler": {**HANDLER, UNKNOWN: 1}},
        {**API, "handler": {**HANDLER, "dependencies": {UNKNOWN: 1}}},
        {**API, "handler": HANDLER, "compute": {UNKNOWN: 1}},
        {**API, "networking": {UNKNOWN: 1}, "handler": HANDLER},
        {**API, "pod": {"containers": [CONTAINER], UNKNOWN: 1}},
        {**API, "pod": {"containers": [{**CONTAINER, UNKNOWN: 1}]}},
    ],
)
def test_every_field_of_cortex_yaml_has_its_row(api: dict[str, Any]) -> None:
    section = page("from-cortex.md").partition("## cortex.yaml")[2].partition("\n## ")[0]
    with pytest.raises(InvalidInput) as caught:
        parse_api(api, where="")
    assert set(known_keys(caught.value)) - table_words(section) - {"batchflow"} == set()


def test_every_variable_has_its_row() -> None:
    section = page("from-cortex.md").partition("### Environment variables")[2].partition("\n## ")[0]
    handler, pod = (parse_api(api, where="") for api in APIS[::2])
    assert handler.handler and pod.pod
    variables = [*handler_env(handler, handler.handler), *container_env(pod, pod.pod.containers[0])]
    cortex = {variable.name for variable in variables if not variable.name.startswith(("BATCHFLOW_", "PYTHON"))}
    assert {"CORTEX_JOB_SPEC", "HOST_IP"} < cortex
    assert cortex - table_words(section) == set()


def test_the_endpoints_of_cortex_operator_are_served() -> None:
    section = page("from-cortex.md").partition("## HTTP")[2].partition("\n## ")[0]
    [row] = [line for line in section.splitlines() if "`POST /deploy`" in line]
    told = {(method, re.sub("<api>", "{api}", path)) for method, path in re.findall(r"`([A-Z]+) (/\S+)`", row)}
    assert told == {(method, route.path) for route in operator.routes().routes if isinstance(route, APIRoute) for method in route.methods}


def verda_block(start: str) -> str:
    """The YAML of from-verda.md that begins so."""
    [block] = [block for block in blocks(page("from-verda.md"), "yaml") if block.startswith(start)]
    return block


def test_the_job_deployment_that_is_printed_is_that_of_the_example(tmp_path: Path) -> None:
    (tmp_path / "printed.yaml").write_text(verda_block("kind:"))
    files = tmp_path / "printed.yaml", ROOT / "examples" / "long-job" / "deployment.yaml"
    [printed], [example] = (job_deployments(read_document(file)) for file in files)
    check_job_deployments([printed], Rules())
    check_job_deployments([example], Rules())
    assert parse_job_deployment(printed, Rules()) == parse_job_deployment(example, Rules())


def test_the_credentials_that_are_printed_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(verda_block("clients:") + verda_block("compute_resources:"))
    credentials = Credentials(file)
    assert credentials.client("team-a")
    [h100] = credentials.rules.compute or ()
    assert (h100.name, h100.resource, h100.sizes) == ("H100", "nvidia.com/gpu", (1, 2, 4, 8))


def test_every_ending_of_a_job_has_its_row() -> None:
    section = page("from-verda.md").partition("## The life of a job")[2].partition("\n## ")[0]
    texts = (endings.DELETED, endings.PURGED, endings.STOPPED, endings.deadline_error(0), endings.expired_error(0), replied_error(404))
    rows = re.sub("<[ns]>", "0", section).replace("HTTP 0", "HTTP 404")
    assert [text for text in texts if f"`{text}`" not in rows] == []


def test_sizes_are_documented_as_the_code_has_them() -> None:
    assert f"{MAX_BATCH_BYTES - 1:,} bytes" in page("limits.md")
    assert f"{MAX_PROJECT_BYTES:,} bytes" in page("limits.md")
