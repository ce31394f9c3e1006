"""Jobs of unusual shapes: the longest names, many workers, nothing to do, a dead letter queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.kit import Cluster, Job, items

LONGEST_NAME = "n" + "-a" * 20 + "z"


@pytest.mark.extended
def test_the_longest_name_also_in_a_second_run(cluster: Cluster, tmp_path: Path) -> None:
    assert len(LONGEST_NAME) == 42
    job = Job(cluster, tmp_path, LONGEST_NAME, items=items(12, gate="longest"), workers=2).submit()
    job.held_up("longest", ended=4, begun=2)
    job.terminal.run("stop", job.api, job.id)
    assert job.ended()["status"] == "stopped"
    cluster.recorder.open("longest")
    job.terminal.run("resume", job.api, job.id)
    job.finished()
    assert cluster.workflow(f"{job.workflow}-r2")
    assert job.terminal.logs(job.api, job.id, "--worker", "0", "--container", "main")


@pytest.mark.extended
def test_nothing_to_do_and_more_workers_than_batches(cluster: Cluster, tmp_path: Path) -> None:
    cluster.s3.put_object(Bucket=cluster.bucket, Key="input/empty.jsonl", Body=b"")
    source = {"s3_paths": [f"s3://{cluster.bucket}/input/empty.jsonl"], "batch_size": 1}
    nothing = Job(cluster, tmp_path, "nothing", workers=3, item_list=None, delimited_files=source).submit()
    lonely = Job(cluster, tmp_path, "lonely", items=items(1), workers=8).submit()
    nothing.finished()
    assert not nothing.pods("work")
    assert len(nothing.notes("complete")) == 1
    lonely.finished()
    assert len(lonely.pods("work")) == 1


@pytest.mark.extended
def test_fifty_workers(cluster: Cluster, tmp_path: Path) -> None:
    described = items(300, {n: {"do": "sleep", "s": 1} for n in range(300)})
    job = Job(cluster, tmp_path, "crowd", items=described, workers=50, batchflow={"on_job_complete": False}).submit()
    status = job.finished(limit_s=900)
    assert status["workers"] == 50
    assert len(job.pods("work")) == 50
    assert len({note.pod for note in job.notes("began")}) > 25


@pytest.mark.extended
def test_a_batch_that_always_fails_ends_in_the_dead_letter_queue(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.sqs.create_queue(QueueName=f"{cluster.namespace}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = cluster.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    described = items(6, {2: {"do": "raise", "text": "bad pixel"}})
    letters = {"arn": arn, "max_receive_count": 3}
    job = Job(cluster, tmp_path, "dead", items=described, workers=2, sqs_dead_letter_queue=letters).submit()
    status = job.finished("completed_with_failures", failed=[2])
    assert status["batch_metrics"]["failed"] == 3
    assert job.indexes("began").count(2) == 3
    got = cluster.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
    assert [json.loads(message["Body"]) for message in got] == [[described[2]]]
    assert "bad pixel" in got[0]["MessageAttributes"]["reason"]["StringValue"]
    cluster.sqs.delete_queue(QueueUrl=url)


@pytest.mark.extended
def test_a_deployed_api_that_changes_leaves_running_jobs_alone(cluster: Cluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "changing", items=items(8, gate="changed"), workers=2)
    job.terminal.run("deploy", job.project / "cortex.yaml")
    job.use_deployed()
    job.submit()
    lost, _ = job.held_up("changed", ended=2, begun=2)
    code = (job.project / "handler.py").read_text()
    assert "VERSION = 1" in code
    (job.project / "handler.py").write_text(code.replace("VERSION = 1", "VERSION = 2"))
    job.terminal.run("deploy", job.project / "cortex.yaml")
    cluster.kubectl("delete", "pod", lost, "--wait=false", "--grace-period=0", "--force")
    job.wait_for("started", 3)
    cluster.recorder.open("changed")
    job.finished()
    assert {note.payload for note in job.notes("started")} == {1}
    again = Job(cluster, tmp_path / "changing", "changing", items=items(1))
    again.use_deployed()
    again.submit()
    again.finished()
    assert {note.payload for note in again.notes("started")} == {2}
