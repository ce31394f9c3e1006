"""Ports of pods: one of this machine's engines has each, as long as it lives."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from batchflow.engines.local import ports
from batchflow.engines.local.ports import held_port, held_ports
from batchflow.errors import Unreachable

HOLDS = """
import sys
from batchflow.engines.local import ports
ports._PORTS = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
with ports.held_port() as port:
    print(port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def one_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """The only port there is; the locks are in a folder of the test's own."""
    with held_port() as port:
        pass
    monkeypatch.setattr(ports, "_PORTS", range(port, port + 1))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return port


def test_a_port_is_free_and_not_given_twice() -> None:
    with contextlib.ExitStack() as stack:
        held = {stack.enter_context(held_port()) for _ in range(200)}
        assert len(held) == 200
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", next(iter(held))))


def test_a_port_is_given_again_after_its_pod(one_port: int) -> None:
    for _ in range(2):
        with held_port() as port:
            assert port == one_port
            with pytest.raises(Unreachable, match="no free port"), held_port():
                pass


def test_a_port_on_which_somebody_listens_is_not_given(one_port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", one_port))
        listener.listen()
        with pytest.raises(Unreachable, match="no free port"), held_port():
            pass
    with held_port() as port:
        assert port == one_port


def test_a_port_that_another_process_holds_is_not_given_until_that_is_killed(one_port: int) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(one_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == one_port
        with pytest.raises(Unreachable, match="no free port"), held_port():
            pass
        other.kill()
        other.wait(60)
        with held_port() as port:
            assert port == one_port


def test_a_folder_that_can_not_be_used_is_named(one_port: int, tmp_path: Path) -> None:
    next(tmp_path.glob("batchflow-*"), tmp_path / "none").mkdir(exist_ok=True)
    blocked = tmp_path / "blocked"
    blocked.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(blocked))
        with pytest.raises(Unreachable, match="blocked"), held_port():
            pass


def test_each_variable_of_a_pod_names_a_port_of_its_own() -> None:
    with held_ports(["A", "B", "C"]) as held:
        assert [*held] == ["A", "B", "C"]
        assert len({*held.values()}) == 3
