"""A Handler's project: what is packed, what is refused, and whether its class has the hook."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput
from batchflow.spec.api import load_apis
from batchflow.spec.hook import defines_hook
from batchflow.spec.model import Api
from batchflow.spec.project import MAX_PROJECT_BYTES, Project, pack_project, with_project

API = "- {name: a, kind: BatchAPI, handler: {type: python, path: handler.py}}\n"
PLAIN = "class Handler:\n    def __init__(self, config): pass\n    def handle_batch(self, payload): pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with its api's file and handler."""
    (tmp_path / "cortex.yaml").write_text(API)
    (tmp_path / "handler.py").write_text(PLAIN)
    return tmp_path


def add(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def pack(folder: Path) -> Project:
    return pack_project(folder, folder / "cortex.yaml")


def packed(folder: Path) -> set[str]:
    return set(pack(folder).files) - {"handler.py"}


def refusal(folder: Path) -> str:
    with pytest.raises(InvalidInput) as raised:
        pack(folder)
    return str(raised.value).replace(str(folder), "")


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        ".git/config",
        "src/.cache/x",
        "src/.env",
        "cortex-debug-1.tgz",
        "src/cortex-debug-x/y",
        "__pycache__/a.txt",
        "src/__pycache__/h.txt",
        "m.pyc",
        "m.pyo",
        "src/m.pyd",
        ".cortexignore",
    ],
)
def test_files_that_are_left_out(folder: Path, name: str) -> None:
    add(folder, "src/kept.py", name)
    assert packed(folder) == {"src/kept.py"}


@pytest.mark.parametrize("name", [".env", "src/cortex.yaml", "job.yaml", "my-cortex-debug-1", "pycache/x", "a.pyc.txt", "é/ü.txt"])
def test_files_that_belong_to_it(folder: Path, name: str) -> None:
    add(folder, name)
    assert packed(folder) == {name}


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("*.bin", {"a.txt", "d/c.txt", "d/e/f.txt"}),
        ("/*.bin", {"a.txt", "d/b.bin", "d/c.txt", "d/e/f.txt"}),
        ("d/", {"a.bin", "a.txt"}),
        ("d", {"a.bin", "a.txt"}),
        ("a.txt/", {"a.bin", "a.txt", "d/b.bin", "d/c.txt", "d/e/f.txt"}),
        ("**/e", {"a.bin", "a.txt", "d/b.bin", "d/c.txt"}),
        ("d/*\n!d/c.txt", {"a.bin", "a.txt", "d/c.txt"}),
        ("d\n!d/c.txt", {"a.bin", "a.txt"}),  # nothing below an excluded folder comes back
        ("*\n!*/\n!*.txt\n!handler.py", {"a.txt", "d/c.txt", "d/e/f.txt"}),
        ("# comment\n\n.env", {"a.bin", "a.txt", "d/b.bin", "d/c.txt", "d/e/f.txt"}),
    ],
)
def test_cortexignore_has_gitignore_syntax_and_never_leaves_out_the_root_env_file(folder: Path, patterns: str, left: set[str]) -> None:
    add(folder, "a.bin", "a.txt", "d/b.bin", "d/c.txt", "d/e/f.txt", ".env")
    (folder / ".cortexignore").write_text(patterns)
    assert packed(folder) == left | {".env"}


def test_the_same_files_make_the_same_zip(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    add(folder, "b/run.sh", "a.txt", "Z.txt")
    (folder / "b/run.sh").chmod(0o700)
    project = pack(folder)
    assert project.files == ("Z.txt", "a.txt", "b/run.sh", "handler.py")
    assert project.sha256 == hashlib.sha256(project.data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(project.data)) as archive:
        assert archive.namelist() == list(project.files)
        assert archive.read("b/run.sh") == b"b/run.sh"
        assert [info.external_attr >> 16 for info in archive.infolist()] == [0o100644, 0o100644, 0o100755, 0o100644]
    other = tmp_path_factory.mktemp("other")
    for name in reversed(project.files):
        add(other, name)
        (other / name).write_bytes((folder / name).read_bytes())
        os.utime(other / name, (1, 1_000_000_000))
    (other / "b/run.sh").chmod(0o755)
    add(other, "cortex.yaml", ".hidden")
    assert pack(other) == project
    (other / "a.txt").write_text("changed")
    assert pack(other).sha256 != project.sha256


def sized(folder: Path, name: str, size_bytes: int) -> None:
    """A file that takes no space on the disk."""
    with (folder / name).open("wb") as file:
        file.truncate(size_bytes)


def test_a_file_and_the_whole_have_at_most_32_mib(folder: Path) -> None:
    small = len(PLAIN)
    sized(folder, "big.bin", MAX_PROJECT_BYTES - small)
    assert packed(folder) == {"big.bin"}
    way_out = "; list files that the handler doesn't need in .cortexignore"
    sized(folder, "big.bin", MAX_PROJECT_BYTES - small + 1)
    assert refusal(folder) == (
        ": project size cannot exceed 33554432 bytes (got 33554433); "
        f"the biggest files are big.bin ({MAX_PROJECT_BYTES - small + 1}), handler.py ({small})" + way_out
    )
    sized(folder, "big.bin", MAX_PROJECT_BYTES + 1)
    assert refusal(folder) == "/big.bin: file size cannot be greater than 33554432 bytes (got 33554433)" + way_out
    (folder / ".cortexignore").write_text("*.bin")
    assert packed(folder) == set()


def test_links_are_followed_within_the_project_only(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    way_out = "list files that the handler doesn't need in .cortexignore"
    add(folder, "src/a.txt")
    (folder / "file").symlink_to("src/a.txt")
    (folder / "dir").symlink_to(folder / "src")
    assert packed(folder) == {"src/a.txt", "file", "dir/a.txt"}
    with zipfile.ZipFile(io.BytesIO(pack(folder).data)) as archive:
        assert archive.read("file") == archive.read("dir/a.txt") == b"src/a.txt"
        assert archive.getinfo("file").external_attr >> 16 == 0o100644
    link = folder / "src" / "link"
    for target, error in [
        ("nowhere", f"/src/link: is a link that leads nowhere; {way_out}"),
        ("link", f"/src/link: is a link that leads nowhere; {way_out}"),
        ("..", f"/src/link: is a link to a folder that it is in; {way_out}"),
        (".", f"/src/link: is a link to a folder that it is in; {way_out}"),
        ("/etc/hostname", f"/src/link: is a link out of the project, to /etc/hostname; copy what it leads to, or {way_out}"),
    ]:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert refusal(folder) == error
    (folder / ".cortexignore").write_text("link")
    assert packed(folder) == {"src/a.txt", "file", "dir/a.txt"}
    outside = tmp_path_factory.mktemp("outside")
    add(outside, "env")
    (folder / ".env").symlink_to(outside / "env")
    assert "/.env: is a link out of the project" in refusal(folder)


def test_a_pipe_is_refused_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refusal(folder) == "/pipe: is neither a file nor a folder; list files that the handler doesn't need in .cortexignore"


def test_home_and_the_root_are_no_projects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert refusal(folder) == ": can't be a project: it is your home or the root of the disk; use a folder of its own"
    with pytest.raises(InvalidInput, match=r"^/: can't be a project"):
        pack_project(Path("/"), Path("/cortex.yaml"))


def test_a_cortexignore_that_is_not_text(folder: Path) -> None:
    (folder / ".cortexignore").write_bytes(b"\xff")
    assert "/.cortexignore: can't be used" in refusal(folder)


# The api with its project


def loaded(folder: Path, text: str) -> tuple[Api, Path]:
    path = folder / "cortex.yaml"
    path.write_text(text)
    return load_apis(path)[0], path


def test_an_api_gets_its_projects_hash_and_whether_it_has_a_hook(folder: Path) -> None:
    api, path = loaded(folder, API)
    filled, project = with_project(api, path)
    assert project == pack(folder)
    assert project is not None
    assert (filled.project, filled.has_hook) == (project.sha256, False)
    (folder / "handler.py").write_text(PLAIN + "    def on_job_complete(self): pass\n")
    filled, _ = with_project(api, path)
    assert filled.has_hook
    assert filled.project != project.sha256


@pytest.mark.parametrize(("said", "has_hook"), [("true", True), ("false", False)])
@pytest.mark.parametrize("code", [PLAIN, PLAIN + "    def on_job_complete(self): pass\n"])
def test_what_the_file_says_about_the_hook_wins(folder: Path, said: str, has_hook: bool, code: str) -> None:
    (folder / "handler.py").write_text(code)
    api, path = loaded(folder, API.replace("handler: {", f"batchflow: {{on_job_complete: {said}}}, handler: {{"))
    assert with_project(api, path)[0].has_hook is has_hook


def test_a_pod_has_no_project(tmp_path: Path) -> None:
    api, path = loaded(tmp_path, "- {name: a, kind: BatchAPI, pod: {containers: [{name: c, image: i, command: [x]}]}}\n")
    sized(tmp_path, "big.bin", MAX_PROJECT_BYTES + 1)
    assert with_project(api, path) == (api, None)


def test_paths_within_the_project(folder: Path) -> None:
    add(folder, "src/lib/m.py")
    (folder / "src/h.py").write_text(PLAIN)
    api, path = loaded(folder, API.replace("path: handler.py", "path: ./src/h.py, python_path: src/lib/"))
    assert with_project(api, path)[0].has_hook is False


def test_a_pickled_class_may_have_a_hook_and_is_not_looked_into(folder: Path) -> None:
    (folder / "handler.pickle").write_bytes(b"\x80 no Python")
    api, config = loaded(folder, API.replace("handler.py", "handler.pickle"))
    filled, project = with_project(api, config)
    assert project is not None and "handler.pickle" in project.files
    assert filled.has_hook


@pytest.mark.parametrize("file", ["conda-packages.txt", "dependencies.sh", "requirements.txt"])
def test_files_of_dependencies_belong_to_the_project(folder: Path, file: str) -> None:
    add(folder, file)
    _, project = with_project(*loaded(folder, API))
    assert project is not None and file in project.files


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("handler.py", "h.py", 'path: "h.py" is not in the project'),
        ("handler.py", "folder.py", 'path: "folder.py" is not a file'),
        ("handler.py", ".hidden.py", 'path: ".hidden.py" is left out of the project by Cortex\'s rules or .cortexignore'),
        ("path:", "python_path: lib, path:", 'python_path: "lib" is not in the project'),
        ("path:", "python_path: handler.py, path:", 'python_path: "handler.py" is not a folder'),
        ("path:", "python_path: .git, path:", 'python_path: ".git" is left out of the project by Cortex\'s rules or .cortexignore'),
    ],
)
def test_paths_that_are_not_in_the_project(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, error: str) -> None:
    monkeypatch.chdir(folder)
    add(folder, ".hidden.py", ".git/x", "folder.py/x.py")
    first = API.replace("name: a,", "name: first,")
    path = Path("cortex.yaml")
    path.write_text(first + API.replace(old, new, 1))
    with pytest.raises(InvalidInput) as raised:
        with_project(load_apis(path)[1], path)
    hint = "; paths are relative to the folder of the api's file"
    assert str(raised.value) == f"cortex.yaml:2: a (BatchAPI): handler: {error}{hint}"


def test_a_handler_that_is_not_python_names_file_and_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "handler.py").write_text("class Handler:\n    def f(self:\n        pass\n")
    api, path = loaded(folder, API)
    with pytest.raises(InvalidInput, match=r"^handler\.py:2: is not valid Python: .*; it was read with Python 3\."):
        with_project(api, path)


# The hook


@pytest.mark.parametrize("name", ["Handler", "PythonPredictor", "TensorFlowPredictor", "ONNXPredictor"])
@pytest.mark.parametrize(
    ("code", "has_hook"),
    [
        (PLAIN, False),
        ("import x\nfrom y import z as w\n" + PLAIN + "def helper(): return Handler\n", False),
        ("# on_job_complete\n" + PLAIN, False),
        ("class Base: pass\n" + PLAIN, False),
        (PLAIN + "    def on_job_complete(self): pass\n", True),
        (PLAIN + "    async def on_job_complete(self): pass\n", True),
        (PLAIN + "    on_job_complete = handle_batch\n", True),
        (PLAIN + "    a, (b, on_job_complete) = 1, (2, 3)\n", True),
        (PLAIN + "    if True:\n        def on_job_complete(self): pass\n", True),
        (PLAIN + "    from x import hook as on_job_complete\n", True),
        (PLAIN + "Handler.on_job_complete = print\n", True),
        (PLAIN + "setattr(Handler, 'on_job_complete', print)\n", True),
        (PLAIN.replace("Handler", "Handler(Base)"), True),
        (PLAIN.replace("Handler", "Handler(metaclass=M)"), True),
        ("@decorated\n" + PLAIN, True),
        (PLAIN + "Handler = wrap(Handler)\n", True),
        ("from x import Handler\n" + PLAIN, True),
        (PLAIN + PLAIN, True),
        ("if True:\n    class Handler: pass\n", True),
        ("from x import Handler\n", True),
        ("class Other: pass\n", True),
        ("", True),
    ],
)
def test_a_class_surely_without_the_hook(name: str, code: str, has_hook: bool) -> None:
    assert defines_hook(code.replace("Handler", name).encode(), "h.py") is has_hook


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"def f(:\n", "h.py:1: is not valid Python: invalid syntax"),
        (b"x = 1\n  y = 2\n", "h.py:2: is not valid Python: unexpected indent"),
        (b"x = '\xff'\n", "h.py:1: is not valid Python: (unicode error)"),
        (b"x = 1\0\n", "is not valid Python: source code "),
    ],
)
def test_what_is_not_python(source: bytes, error: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        defines_hook(source, "h.py")
    assert error in str(raised.value)


def test_python_in_other_encodings_and_with_odd_escapes() -> None:
    assert defines_hook(b"# coding: latin-1\n" + PLAIN.encode() + b"    x = '\xff \\d'\n", "h.py") is False
