"""What `batchflow serve` needs to start, and what it says when it does not."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.acceptance.command import HANG_S, REPOSITORY, Terminal
from tests.acceptance.gateway.credentials_files import BROKEN_FILES, OURS, SPARE, key, write_tokens
from tests.acceptance.gateway.kit import serving


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_with_a_file_that_can_not_be_read_it_does_not_start(shell: Terminal, name: str) -> None:
    folder = shell.folder / "secret"
    folder.mkdir()
    file = folder / "credentials.yaml"
    file.touch()
    BROKEN_FILES[name](file)
    refused = shell.run("serve", "--port", "0", code=None, BATCHFLOW_CREDENTIALS=str(file))
    assert refused.code == (3 if name == "gone" else 2), refused
    assert refused.out == "" and refused.err.startswith("batchflow: ") and refused.err.count("\n") == 1, refused.err
    assert "credentials.yaml" in refused.err
    assert SPARE[:8] not in refused.err and "12345678901234567" not in refused.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "batchflow.example", ""])
def test_without_credentials_it_listens_on_loopback_only(shell: Terminal, host: str) -> None:
    refused = shell.run("serve", "--port", "0", "--host", host, code=2)
    assert refused.out == "" and refused.err.startswith("batchflow: ") and refused.err.count("\n") == 1, refused.err
    assert "BATCHFLOW_CREDENTIALS" in refused.err


def test_with_credentials_it_listens_wherever_it_is_told_to(shell: Terminal) -> None:
    file = shell.folder / "credentials.yaml"
    write_tokens(file, **{key(OURS): "batchflow"})
    process = shell.start("serve", "--engine", "local", "--port", "0", "--host", "0.0.0.0", BATCHFLOW_CREDENTIALS=str(file))
    assert process.stdout
    try:
        assert re.match(r"batchflow serves http://0\.0\.0\.0:\d+ ", process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=HANG_S)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_told_in_one_line(shell: Terminal) -> None:
    with serving(shell) as gateway:
        refused = shell.run("serve", "--port", str(gateway.port), code=2)
    assert refused.err.startswith("batchflow: ") and refused.err.count("\n") == 1 and str(gateway.port) in refused.err


@pytest.mark.parametrize("port", ["-1", "65536", "a"])
def test_a_port_that_is_none_is_refused(shell: Terminal, port: str) -> None:
    refused = shell.run("serve", "--port", port, code=2)
    assert refused.out == "" and "Traceback" not in refused.err


def test_it_needs_no_store_that_is_there(shell: Terminal) -> None:
    """An empty folder is a store without apis."""
    with serving(shell) as gateway:
        assert gateway.get("/get").ok() == [] and gateway.get("/healthz").status == 200
        assert not shell.store.exists()


def test_without_the_extra_it_says_what_to_install(shell: Terminal) -> None:
    """Fastapi is hidden by a module of that name that can't be imported."""
    hidden = shell.folder / "hidden"
    hidden.mkdir()
    (hidden / "fastapi.py").write_text("raise ModuleNotFoundError('no fastapi', name='fastapi')\n")
    refused = shell.run("serve", "--port", "0", code=2, PYTHONPATH=f"{hidden}:{REPOSITORY}")
    assert "batchflow-argo[serve]" in refused.err and refused.err.count("\n") == 1


def test_its_address_is_printed_at_once_also_into_a_pipe(shell: Terminal) -> None:
    process: subprocess.Popen[str] = shell.start("serve", "--engine", "local", "--port", "0")
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert re.fullmatch(rf"batchflow serves http://127\.0\.0\.1:\d+ \(engine local, store {re.escape(str(shell.store))}\)\n", line)
    finally:
        process.terminate()
        process.communicate(timeout=HANG_S)
    assert process.returncode == 0
