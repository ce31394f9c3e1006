"""Gateway, replica, courier and engine are killed at bad moments: nothing is delivered twice, no result is lost, no slot is given twice."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from verda.inference_client import InferenceClientError

from batchflow.callrecords import REPLY_LOST
from tests.acceptance.command import Terminal, until
from tests.acceptance.verda.kit import Verda, completed, serving_verda, wait_for

ROUNDS = 4
JOBS = 10


def kill(shell: Terminal, *words: str) -> None:
    """Every process of the terminal with these words in its command."""
    found = [pid for pid, command in shell.processes().items() if all(word in command for word in words)]
    assert found, (words, shell.processes())
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def restart(verda: Verda) -> None:
    verda.gateway.kill()
    verda.gateway.start()


def test_never_more_replicas_than_allowed_while_the_gateway_is_killed_and_restarted(shell: Terminal) -> None:
    with serving_verda(shell) as verda, verda.deployed("steady", replicas=2) as deployed:
        ids = [deployed.run("job?duration=1", id=f"steady-{number}").id for number in range(JOBS)]
        for seen in range(1, ROUNDS + 1):
            until(lambda seen=seen: len(deployed.notes("began")) >= 2 * seen, "calls to be started", verda.gateway.log)  # type: ignore[misc]
            restart(verda)
        assert [completed(deployed.execution(id)) for id in ids] == [None] * JOBS
        assert deployed.most_at_once() <= 2
        assert sorted(deployed.began()) == sorted(ids), "each is delivered once"


def test_what_was_accepted_is_there_when_the_gateway_was_killed_while_it_took_calls(verda: Verda) -> None:
    with verda.deployed("accepting") as deployed:
        verda.jobs.pause("accepting")
        accepted: list[str] = []

        def submit() -> None:
            inference = deployed.inference
            with suppress(InferenceClientError):  # the gateway is gone
                for number in range(10**6):
                    accepted.append(inference.run({}, path="job", headers={"X-Inference-Id": f"{len(accepted)}-{number}"}).id)

        for seen in (20, 40, 60):
            with ThreadPoolExecutor(1) as pool:
                submitting = pool.submit(submit)
                until(lambda seen=seen: len(accepted) >= seen, "calls to be accepted", verda.gateway.log)  # type: ignore[misc]
                verda.gateway.kill()
                submitting.result()
            verda.gateway.start()
        assert {deployed.execution(id).status_json()["Status"] for id in accepted} == {"Queue"}
        verda.jobs.purge_queue("accepting")
        assert {deployed.execution(id).status_json()["Error"] for id in accepted} == {"purged from queue"}


def test_two_gateways_of_one_store_share_its_slots(shell: Terminal) -> None:
    with serving_verda(shell) as verda, serving_verda(shell) as second, verda.deployed("shared", replicas=2) as deployed:
        ids = []
        for number in range(8):
            deployed.verda = (verda, second)[number % 2]
            ids.append(deployed.run("job?duration=0.5").id)
        assert [completed(deployed.execution(id)) for id in ids] == [None] * 8
        assert deployed.most_at_once() <= 2
        assert sorted(deployed.began()) == sorted(ids)


def test_a_replica_that_died_is_not_replaced(verda: Verda, shared_shell: Terminal) -> None:
    with verda.deployed("mortal", replicas=1) as deployed:
        execution = deployed.run("gate?name=never")
        wait_for(execution, "Inference")
        [[pid, *_]] = deployed.notes("began")
        os.kill(pid, signal.SIGKILL)
        assert completed(execution) == "process exited with code 137"
        assert completed(deployed.run("job")) is None  # the slot is free
        restart(verda)
        assert completed(deployed.execution(execution.id)) == "process exited with code 137"
        assert deployed.began().count(execution.id) == 1


def test_a_call_whose_courier_died_is_not_delivered_again(verda: Verda, shared_shell: Terminal) -> None:
    with verda.deployed("lonely", replicas=1) as deployed:
        execution = deployed.run("gate?name=go")
        wait_for(execution, "Inference")
        kill(shared_shell, "step courier")
        assert completed(execution) == REPLY_LOST  # and not that all went well
        deployed.open("go")
        until(lambda: deployed.notes("down"), "the replica's end")
        assert deployed.began() == [execution.id]


def test_a_call_whose_engine_died_ends_and_is_not_delivered_again(verda: Verda, shared_shell: Terminal) -> None:
    with verda.deployed("engineless", replicas=1) as deployed:
        execution = deployed.run("gate?name=never")
        wait_for(execution, "Inference")
        kill(shared_shell, "batchflow.engines.local", "engineless")
        assert completed(execution)
        assert completed(deployed.run("job")) is None  # the slot is free
        assert deployed.began().count(execution.id) == 1


def test_results_and_what_waits_survive_the_gateway_and_the_replica(verda: Verda) -> None:
    with verda.deployed("lasting", replicas=1) as deployed:
        done = deployed.run("echo", {"kept": True})
        assert completed(done) is None
        running = deployed.run("gate?name=go", {"n": 2})
        wait_for(running, "Inference")
        waiting = deployed.run("echo", {"n": 3})
        verda.gateway.kill()
        deployed.open("go")  # it answers while there is no gateway
        until(lambda: len(deployed.notes("down")) == 2, "the replica's end")
        verda.gateway.start()
        ids = (done.id, running.id, waiting.id)
        assert [completed(deployed.execution(id)) for id in ids] == [None] * 3
        assert [deployed.execution(id).result() for id in ids] == [{"kept": True}, {"n": 2}, {"n": 3}]
        assert deployed.began() == list(ids)


def test_a_deadline_is_kept_by_the_next_gateway(verda: Verda) -> None:
    with verda.deployed("overdue", replicas=1, deadline_s=3) as deployed:
        execution = deployed.run("gate?name=never")
        wait_for(execution, "Inference")
        restart(verda)
        assert completed(deployed.execution(execution.id)) == "deadline of 3s exceeded"


def test_a_deletion_goes_on_with_the_next_gateway(verda: Verda) -> None:
    with verda.deployed("going", replicas=1) as deployed:
        wait_for(deployed.run("gate?name=never"), "Inference")
        verda.jobs.delete("going", timeout=0)
        restart(verda)
        until(lambda: "going" not in verda.names(), "the deployment to be gone", verda.gateway.log)
        assert len(deployed.notes("down")) == 1
