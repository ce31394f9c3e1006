"""A container's log as lines, whatever it holds."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from batchflow.engines.lines import MAX_LINE_BYTES
from batchflow.engines.local.folder import RunFolder
from batchflow.engines.local.follow import log_lines
from batchflow.engines.protocol import LogLine

MIB = 1 << 20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path, "job-1")
    folder.logs("p").mkdir(parents=True)
    folder.save_pods(b'[{"metadata": {"name": "p"}}]')
    return folder.logs("p") / "main.log"


def read(log: Path) -> list[LogLine]:
    folder = RunFolder(log.parents[4], "job-1")
    return list(log_lines(folder, worker=None, container=None, follow=False, finished=lambda: True))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b" 10%\r 20%\rdone\nnext\n", [" 10%\r 20%\rdone", "next"]),
        (b"\xff\n", ["\ufffd"]),
    ],
)
def test_lines_end_with_a_newline_alone(log: Path, data: bytes, lines: list[str]) -> None:
    log.write_bytes(data)
    assert [line.text for line in read(log)] == lines


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (b"x" * MIB + b"\ny", [MIB, 1]),
        (b"x" * (MIB + 1) + b"\ny", [MIB, 1, 1]),
        (b"x" * (2 * MIB) + b"\n", [MIB, MIB]),
        (b"short\n" + b"50%\r" * MIB, [5, MIB, MIB, MIB, MIB - 1]),
    ],
)
def test_a_line_without_end_is_given_in_pieces(log: Path, data: bytes, sizes: list[int]) -> None:
    assert MAX_LINE_BYTES == MIB
    log.write_bytes(data)
    assert [len(line.text) for line in read(log)] == sizes


def test_a_piece_ends_between_characters(log: Path) -> None:
    log.write_bytes(b"x" + "\u20ac".encode() * MIB)
    pieces = [line.text for line in read(log)]
    assert "".join(pieces) == "x" + "\u20ac" * MIB
    assert max(len(piece.encode()) for piece in pieces) <= MIB


def test_a_line_that_grows_slowly_is_one_line_and_its_pieces_come_early(log: Path) -> None:
    folder = RunFolder(log.parents[4], "job-1")
    log.write_bytes(b"x" * (MIB + 5))
    finished = False
    lines = log_lines(folder, worker=None, container=None, follow=True, finished=lambda: finished)
    assert len(next(lines).text) == MIB
    with log.open("ab") as file:
        file.write(b"y\n")
    assert next(lines).text == "xxxxxy"
    finished = True
    assert list(lines) == []


def test_following_stops_when_it_is_told_to(log: Path) -> None:
    folder, stop = RunFolder(log.parents[4], "job-1"), Event()
    log.write_bytes(b"one\n")
    lines = log_lines(folder, worker=None, container=None, follow=True, finished=lambda: False, stop=stop)
    assert next(lines).text == "one"
    stop.set()
    assert list(lines) == []
