"""Each example, and what `init` writes, is one command that ends in success."""

from __future__ import annotations

import gzip
import json
import os
import re
from typing import Any

import boto3

from tests.acceptance.command import EXAMPLES, Terminal


def succeeded(status: dict[str, Any], batches: int) -> bool:
    counts = (status["total_batch_count"], status["batch_metrics"]["succeeded"], status["batch_metrics"]["failed"])
    return status["status"] == "succeeded" and counts == (batches, batches, 0) and status["batches_without_outcome"] == 0


def test_hello_greets_everybody_once(shell: Terminal) -> None:
    done = shell.run("submit", EXAMPLES / "hello" / "job.yaml", "--local", "--watch")
    assert re.search(r"^status: +succeeded$", done.out, re.M)
    assert re.search(r"^4 +4 +0 +\S+$", done.out, re.M), done.out
    names = json.loads(re.sub(r"(\w+)", r'"\1"', re.search(r"items: (\[.*\])", (EXAMPLES / "hello" / "job.yaml").read_text())[1]))
    assert sorted(re.findall(r"\| \[batch \d\] Hello, (\w+)!$", done.out, re.M)) == sorted(names)
    assert done.out.count("everybody in 4 batches was greeted") == 1


def test_any_server_gets_every_line_of_every_file(shell: Terminal) -> None:
    done = shell.run("submit", EXAMPLES / "any-server" / "job.yaml", "--local", "--watch", "-o", "json")
    assert succeeded(done.json()["job_status"], batches=15)
    data = EXAMPLES / "any-server" / "data"
    texts = [(data / f"sensor-{n}.jsonl").read_text() for n in (1, 2)] + [
        gzip.decompress((data / "sensor-3.jsonl.gz").read_bytes()).decode()
    ]
    offsets = {"s1": 0.5, "s2": -1.0, "s3": 0.0}  # what the second container says
    readings = [json.loads(line) for text in texts for line in text.splitlines()]
    values = [reading["value"] + offsets[reading["sensor"]] for reading in readings]
    sums = re.findall(r"\| (\d+) items add up to ([-.\de]+)$", done.err, re.M)
    assert sum(int(count) for count, _ in sums) == len(values) == 360
    assert abs(sum(float(total) for _, total in sums) - sum(values)) < 1e-6
    assert done.err.count(f"job {done.json()['job_status']['job_id']} is complete") == 1


def test_digits_classifies_every_image(shell: Terminal) -> None:
    results = shell.folder / "results"
    file = EXAMPLES / "digits" / "job.yaml"
    done = shell.run("submit", file, "--local", "--watch", "--set", f"config.results={results}", "-o", "json")
    status = done.json()["job_status"]
    assert succeeded(status, batches=23)
    [summary] = results.glob("*/summary.json")
    assert summary.parent.name == status["job_id"]
    found = json.loads(summary.read_text())
    assert found["images"] == 360
    assert found["accuracy"] > 0.9
    lines = [json.loads(line) for file in summary.parent.glob("batches/*.jsonl") for line in file.read_text().splitlines()]
    assert len({line["path"] for line in lines}) == len(lines) == 360
    assert f"accuracy {found['accuracy']:.3f} on 360 images" in done.err


def test_digits_keeps_its_results_in_s3_where_its_environment_says_so(shell: Terminal, moto: str) -> None:
    credentials = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}
    s3 = boto3.client("s3", endpoint_url=moto)
    s3.create_bucket(Bucket="digits")
    of_the_secret = {**credentials, "AWS_ENDPOINT_URL_S3": moto, "DIGITS_RESULTS": "s3://digits/results"}
    done = shell.run("submit", EXAMPLES / "digits" / "job.yaml", "--local", "--watch", "-o", "json", **of_the_secret)
    status = done.json()["job_status"]
    assert succeeded(status, batches=23)
    summary = s3.get_object(Bucket="digits", Key=f"results/{status['job_id']}/summary.json")["Body"].read()
    assert json.loads(summary)["images"] == 360


def test_init_writes_a_job_that_succeeds(shell: Terminal) -> None:
    made = shell.run("init", "My Job")
    assert "batchflow submit" in made.lines()[-1]
    done = shell.run("submit", shell.folder / "My Job" / "job.yaml", "--local", "--watch", "-o", "json")
    assert done.json()["job_status"]["api_name"] == "my-job"
    assert succeeded(done.json()["job_status"], batches=3)


def test_init_refuses_a_folder_with_something_in_it(shell: Terminal) -> None:
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine" / "file").touch()
    refused = shell.run("init", "mine", code=2)
    assert refused.err == "batchflow: mine: is not an empty directory; name a new one\n"
    assert [path.name for path in (shell.folder / "mine").iterdir()] == ["file"]
