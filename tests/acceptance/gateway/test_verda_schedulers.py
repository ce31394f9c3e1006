"""The schedulers in `batchflow serve`: there from its start, for every namespace, and gone in an orderly way."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.acceptance.command import HANG_S, Terminal, until
from tests.acceptance.gateway.kit import Gateway, serving
from tests.acceptance.gateway.verda_kit import ALL, DEPLOYMENTS, OURS, THEIRS, access_token, deployment, is_problem, write


def leases(store: Path) -> list[dict[str, object]]:
    return [json.loads(file.read_bytes()) for file in sorted(store.glob("scheduler/*.json"))]


def deleted(gateway: Gateway, token: str, name: str = "job") -> None:
    """Create it and delete it, which a scheduler must bring to its end."""
    assert gateway.post(DEPLOYMENTS, deployment(name), token=token).status == 201
    assert gateway.delete(f"{DEPLOYMENTS}/{name}", token=token).status == 200
    is_problem(gateway.get(f"{DEPLOYMENTS}/{name}", token=token), 404)


def test_at_the_end_the_lease_is_given_back(shell: Terminal) -> None:
    with serving(shell) as gateway:
        assert leases(shell.store) == []
        assert gateway.post(DEPLOYMENTS, deployment("job")).status == 201
        [lease] = until(lambda: leases(shell.store), "the lease")
        assert lease["released"] is False
        gateway.stop()
        assert leases(shell.store)[-1]["released"] is True
        gateway.start()
        deleted(gateway, "", "another")


def test_each_namespace_has_its_own_also_one_that_is_added_later(shell: Terminal) -> None:
    file = write(shell.folder / "credentials.yaml", clients=[OURS], inference_keys=[])
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        deleted(gateway, access_token(gateway))
        write(file)
        deleted(gateway, access_token(gateway, THEIRS))
        write(file, {"clients": ALL["clients"]})
        deleted(gateway, access_token(gateway))


def test_a_namespace_that_can_not_be_served_keeps_no_other_from_it(shell: Terminal) -> None:
    """Where its store should be is a link to itself."""
    file = write(shell.folder / "credentials.yaml")
    shell.store.mkdir()
    (shell.store / "namespaces").symlink_to("namespaces")
    with serving(shell, BATCHFLOW_CREDENTIALS=str(file)) as gateway:
        deleted(gateway, access_token(gateway))
        is_problem(gateway.get(DEPLOYMENTS, token=access_token(gateway, THEIRS)), 503)


@pytest.mark.parametrize("answers", [False, True])
def test_a_cluster_that_is_out_of_reach_keeps_it_neither_from_its_start_nor_from_its_end(shell: Terminal, answers: bool) -> None:
    """`answers`: it takes the connection, and then says nothing."""
    with socket.socket() as cluster:
        cluster.bind(("127.0.0.1", 0))
        if answers:
            cluster.listen()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{cluster.getsockname()[1]}"}}],
            "users": [{"name": "a", "user": {}}],
        }
        kubeconfig = shell.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        environ = {"KUBECONFIG": str(kubeconfig), "BATCHFLOW_ENGINE": "argo", "BATCHFLOW_STORE": ""}
        process = shell.start("serve", "--port", "0", **environ)
        assert process.stdout
        assert process.stdout.readline().startswith("batchflow serves ")
        if answers:
            cluster.settimeout(HANG_S)
            cluster.accept()[0].close()
        process.terminate()
        result = shell.wait(process)
        assert "Traceback" not in result.err, result.err
