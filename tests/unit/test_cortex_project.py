"""What `cortex.client()` sends of a project is what the command line would have packed."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from batchflow.errors import InvalidInput
from batchflow.runtime.modules.cortex.exceptions import CortexException
from batchflow.runtime.modules.cortex.project import archive
from batchflow.spec.project import pack_project

FILES = (
    ".env",
    ".hidden",
    "a",
    "ab",
    "b/.env",
    "b/.git/config",
    "b/__pycache__/c.py",
    "b/a",
    "b/a b",
    "b/ab/a",
    "b/ab/c.py",
    "b/c.pyc",
    "b/c.pyd",
    "b/c.pyo",
    "cortex-debug-1",
    "cortex-debug-2/a",
    "cortex.yaml",
    "cortex.yaml.txt",
    "handler.py",
    "ü/a",
)
FOLDERS = ("b/", "b/ab/", "ü/")
KEPT = (".env", "a", "ab", "b/a", "b/a b", "b/ab/a", "b/ab/c.py", "cortex.yaml.txt", "handler.py", "ü/a")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for file in FILES:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {file}")
    return folder


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None
        return packed.namelist()


def ours(folder: Path) -> list[str]:
    return [name for name in names(archive(str(folder), str(folder / "cortex.yaml"))) if name != ".cortexignore"]


def test_hidden_and_compiled_files_stay_and_the_env_file_comes(folder: Path) -> None:
    (folder / ".cortexignore").unlink(missing_ok=True)
    assert ours(folder) == list(KEPT)
    assert "cortex.yaml" in names(archive(str(folder)))


def test_the_same_files_are_the_same_bytes(folder: Path) -> None:
    first = archive(str(folder))
    os.utime(folder / "a", (100, 100))
    assert archive(str(folder)) == first


LINES = [
    ["a"],
    ["/a"],
    ["b/a"],
    ["b/"],
    ["a/"],
    ["**/a"],
    ["b/**"],
    ["b/**/a"],
    ["b/*"],
    ["*", "!a"],
    ["*", "!b/", "!handler.py"],
    ["a*", "!ab"],
    ["?"],
    ["a?"],
    ["[a-c]*"],
    ["[!a]b"],
    ["[^a]*"],
    ["# a", "", "   ", "ab"],
    ["\\#a", "\\!a"],
    ["a\\ b", "a\\*"],
    ["a b", "handler.py  "],
    ["handler.py\r"],
    [".env"],
    ["*.py", "!/b/ab/*.py"],
    ["ü"],
    ["/"],
]


@pytest.mark.parametrize("lines", LINES, ids=" ".join)
def test_ignored_files_are_those_that_the_command_line_ignores(folder: Path, lines: list[str]) -> None:
    (folder / ".cortexignore").write_text("\n".join(lines) + "\n")
    assert ours(folder) == list(pack_project(folder, folder / "cortex.yaml").files)


def takes_back_a_folder(lines: list[str]) -> bool:
    """Which pathspec, and so the command line, takes for all that is below it, git for the folder alone."""
    rests = [line[1:] for line in lines if line.startswith("!") and not line.startswith("!!")]
    taken_back = GitIgnoreSpec.from_lines(rests)
    return any(not rest.strip("/ ") for rest in rests) or any(map(taken_back.match_file, FOLDERS))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text("ab*?/!. c", max_size=7), max_size=3))
def test_random_patterns_ignore_the_same_files(folder: Path, lines: list[str]) -> None:
    assume(not takes_back_a_folder(lines))
    (folder / ".cortexignore").write_text("\n".join(lines))
    try:
        expected = list(pack_project(folder, folder / "cortex.yaml").files)
    except InvalidInput:
        return
    assert ours(folder) == expected


def test_a_program_stays_one(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("true")
    (tmp_path / "run.sh").chmod(0o700)
    with zipfile.ZipFile(io.BytesIO(archive(str(tmp_path)))) as packed:
        assert packed.getinfo("run.sh").external_attr >> 16 == 0o100755


def test_a_link_within_the_project_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    (tmp_path / "b").symlink_to("a")
    with zipfile.ZipFile(io.BytesIO(archive(str(tmp_path)))) as packed:
        assert packed.read("b") == b"content"


def link(path: Path, target: str) -> None:
    (path / "folder").mkdir()
    (path / "link").symlink_to(target)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: link(path, "/etc/hostname"), "link is a link out of the project: copy"),
        (lambda path: link(path, "nowhere"), "link is not a file that can be read"),
        (lambda path: link(path, "folder"), "link is a link to a folder: copy"),
        (lambda path: os.mkfifo(path / "fifo"), "fifo is not a file that can be read"),
        (lambda path: (path / os.fsdecode(b"\xff")).touch(), "holds a file whose name is not UTF-8"),
        (lambda path: (path / ".cortexignore").write_bytes(b"\xff"), ".cortexignore can't be used"),
        (lambda path: (path / ".cortexignore").write_text("[z-a]"), ".cortexignore can't be used"),
        (lambda path: _sized(path / "big", 2**25 + 1), "big: file size cannot be greater than 33554432 bytes (got 33554433)"),
        (lambda path: [_sized(path / name, 2**24 + 1) for name in "ab"], "project size cannot exceed 33554432 bytes (got 33554434)"),
    ],
)
def test_what_can_not_be_sent_is_said(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path)
    with pytest.raises(CortexException) as caught:
        archive(str(tmp_path))
    assert reason in caught.value.message


def _sized(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(size_bytes)


@pytest.mark.parametrize(("folder", "reason"), [("/", "root of the disk"), ("~", "home folder"), ("/no/such", "there is no such folder")])
def test_folders_that_are_no_project(folder: str, reason: str) -> None:
    with pytest.raises(CortexException, match=reason):
        archive(os.path.expanduser(folder))
