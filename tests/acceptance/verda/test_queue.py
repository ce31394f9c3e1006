"""The queue of a deployment: order, pause, purge, and what a thousand calls cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from verda.job_deployments import JobDeploymentStatus

from tests.acceptance.verda.kit import Verda, completed, wait_for

CALLS = 1000
MEMORY_BYTES = 40 * 2**20


def test_calls_start_in_the_order_of_their_arrival(verda: Verda) -> None:
    with verda.deployed("orderly", replicas=1) as deployed:
        verda.jobs.pause("orderly")
        executions = [deployed.run("echo") for _ in range(8)]
        verda.jobs.resume("orderly")
        assert [completed(execution) for execution in executions] == [None] * 8
        assert deployed.began() == [execution.id for execution in executions]


def test_a_pause_lets_what_runs_finish_and_starts_nothing(verda: Verda) -> None:
    with verda.deployed("pausing", replicas=2) as deployed:
        running = deployed.run("gate?name=go")
        wait_for(running, "Inference")
        verda.jobs.pause("pausing")
        assert verda.jobs.get_status("pausing") is JobDeploymentStatus.PAUSED
        waiting = deployed.run("job")  # taken all the same
        deployed.open("go")
        assert completed(running) is None
        assert waiting.status_json()["Status"] == "Queue"
        assert deployed.began() == [running.id]
        verda.jobs.resume("pausing")
        assert completed(waiting) is None


def test_another_time_to_live_is_for_calls_that_arrive_later(verda: Verda) -> None:
    with verda.deployed("aging", replicas=1, ttl_s=600) as deployed:
        verda.jobs.pause("aging")
        early = deployed.run("job")
        found = verda.jobs.get_by_name("aging")
        found.scaling.queue_message_ttl_seconds = 1
        verda.jobs.update("aging", found)
        late = deployed.run("job")
        assert completed(late) == "expired in queue after 1s"
        assert early.status_json()["Status"] == "Queue"
        verda.jobs.resume("aging")
        assert completed(early) is None


def test_a_thousand_calls(verda: Verda) -> None:
    """Two run, the others wait: in order, at no cost in memory, without a workflow. A purge drops exactly those that wait."""
    with verda.deployed("crowded", replicas=2) as deployed:
        running = []
        for number in range(2):  # one after the other: who is there first when both start at once is nobody's to say
            running.append(deployed.run(f"gate?name={number}"))
            wait_for(running[-1], "Inference")
        inference = deployed.inference
        inference.run({"number": -1}, path="echo")
        before = verda.gateway.memory_peak_bytes()
        waiting = [inference.run({"number": number}, path="echo") for number in range(CALLS)]
        assert verda.gateway.memory_peak_bytes() - before < MEMORY_BYTES
        runs = list(Path(verda.gateway.store, "local").glob("crowded-*"))
        assert len(runs) == 2

        verda.jobs.purge_queue("crowded")
        assert verda.gateway.memory_peak_bytes() - before < MEMORY_BYTES
        with ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(lambda execution: execution.status_json()["Error"], waiting))
        assert errors == ["purged from queue"] * CALLS
        later = deployed.run("job")
        deployed.open("0")
        deployed.open("1")
        assert [completed(execution) for execution in (*running, later)] == [None] * 3
        assert deployed.began() == [running[0].id, running[1].id, later.id]


def test_what_was_purged_while_paused_never_runs(verda: Verda) -> None:
    with verda.deployed("emptied", replicas=2) as deployed:
        verda.jobs.pause("emptied")
        dropped = [deployed.run("job") for _ in range(5)]
        verda.jobs.purge_queue("emptied")
        kept = deployed.run("job")
        verda.jobs.resume("emptied")
        assert completed(kept) is None
        assert [completed(execution) for execution in dropped] == ["purged from queue"] * 5
        assert deployed.began() == [kept.id]
