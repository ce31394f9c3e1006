"""Numbers that few readers of JSON hold: they arrive as they were sent, or are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.kit import Gateway, handler, serving

HANDLER = """\
import json, pathlib

class Handler:
    def __init__(self, config):
        self.folder = pathlib.Path(config["folder"])

    def handle_batch(self, payload):
        (self.folder / "payload").write_text(json.dumps(payload))
"""


@pytest.fixture(scope="module")
def gateway(shared_shell: Terminal) -> Iterator[Gateway]:
    with serving(shared_shell) as opened:
        opened.deploy(handler("odd"), files={"handler.py": HANDLER}).ok()
        yield opened


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "12345678901234567890123",
        "1e400",
        "0.1000000000000000055511151231257827",
        "-0.0",
    ],
)
def test_a_number_is_never_sent_on_as_another(gateway: Gateway, tmp_path: Path, text: str) -> None:
    body = f'{{"workers": 1, "config": {{"folder": "{tmp_path}"}}, "item_list": {{"items": [{text}], "batch_size": 1}}}}'
    answer = gateway.post("/batch/odd", body.encode())
    if answer.status != 200:
        assert (answer.status, answer.json()["kind"]) == (400, "error")
        return
    assert gateway.ended("odd", answer.json()["job_id"])["status"] == "succeeded"
    arrived = (tmp_path / "payload").read_text().strip("[]")
    assert float(arrived) == float(text)
    assert not text.isdecimal() or arrived == text
