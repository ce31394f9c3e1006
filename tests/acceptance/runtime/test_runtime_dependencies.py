"""`.env`, shell script, conda, pip, `.env` again: their order, what they see, what is said if one fails. conda is a stand-in."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batchflow.runtime.conda import ensure
from batchflow.runtime.installer import Installer

HANDLER = """
import os, sys
class Handler:
    def __init__(self, config):
        print("started", os.environ.get("GREETING"), os.environ.get("ADDED"))
    def handle_batch(self): pass
"""

# Records its arguments, knows some channels, makes a prefix with a package `fromconda` and a Python that is at home there.
CONDA = """#!{python}
import json, os, pathlib, shutil, sys, sysconfig
here = pathlib.Path(__file__).parent
with open(here / "calls", "a") as calls:
    calls.write(json.dumps([os.path.basename(__file__), *sys.argv[1:], os.getcwd(), os.environ.get("GREETING")]) + "\\n")
print("a warning of conda's", file=sys.stderr)
if sys.argv[1] == "config":
    print((here / "channels").read_text())
elif (here / "fails").exists():
    print("PackagesNotFoundError: nothing provides it")
    sys.exit(3)
else:
    print("Collecting package metadata")
    prefix = pathlib.Path(sys.argv[sys.argv.index("--prefix") + 1])
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    packages = prefix / "lib" / library.name / "site-packages"
    packages.mkdir(parents=True)
    for entry in library.iterdir():
        if entry.name != "site-packages":
            (packages.parent / entry.name).symlink_to(entry)
    (packages / "fromconda.py").write_text("VERSION = 1\\n")
    (prefix / "bin").mkdir()
    python = prefix / "bin" / "python3"
    shutil.copy(os.path.realpath(sys.executable), python)
    if (here / "old").exists():
        python.write_text("#!/bin/sh\\necho 3 7\\n")
"""
CONDA_HANDLER = """
import fromconda, os, sys
class Handler:
    def __init__(self, config):
        print("conda", fromconda.VERSION, os.environ["CONDA_PREFIX"] == sys.prefix, os.environ["GREETING"])
    def handle_batch(self): pass
"""
PIP_HANDLER = """
import fromconda, frompip, os, sys
class Handler:
    def __init__(self, config):
        print("both", fromconda.VERSION, frompip.VERSION, os.environ["VIRTUAL_ENV"] == sys.prefix)
    def handle_batch(self): pass
"""
# A package whose build needs no other, and so no network.
PACKAGE = {
    "pkg/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "pkg/backend.py": """
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    open(os.environ["STEPS"], "a").write("pip " + os.environ.get("GREETING", "-") + "\\n")
    name = "frompip-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("frompip.py", "VERSION = 2\\n")
        wheel.writestr("frompip-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: frompip\\nVersion: 1.0\\n")
        wheel.writestr("frompip-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("frompip-1.0.dist-info/RECORD", "")
    return name
""",
    "requirements.txt": "./pkg\n",
}
CHANNELS = {"channels": ["defaults", "bioconda"]}


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    """The folder of a stand-in for conda, which belongs on PATH."""
    folder = tmp_path / "conda"
    folder.mkdir()
    (folder / "channels").write_text(json.dumps(CHANNELS))
    stand_in(folder, "conda")
    return folder


def stand_in(folder: Path, name: str) -> None:
    (folder / name).write_text(CONDA.replace("{python}", sys.executable))
    (folder / name).chmod(0o755)


def calls(folder: Path) -> list[list[str]]:
    file = folder / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def on_path(folder: Path, **environ: str) -> dict[str, str]:
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PIP_CONFIG_FILE": "/dev/null", **environ}


def serve_once(worker: Any, **environ: str) -> str:
    """What a start printed."""
    worker.log.unlink(missing_ok=True)
    worker.launch(**environ)
    worker.wait_until_it_listens()
    assert worker.stop() == 0, worker.output()
    return str(worker.output())


def failed_start(worker: Any, **environ: str) -> str:
    """Its reason."""
    worker.launch(**environ)
    assert worker.wait() == 1, worker.output()
    [reason] = worker.failures()
    return str(reason)


def test_they_come_in_cortexs_order(worker: Any, conda: Path, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    shell = f'echo "shell $GREETING" >> {shlex.quote(str(steps))}\necho ADDED=late >> .env\n'
    handler = PIP_HANDLER.replace('print("both"', 'print(os.environ["GREETING"], os.environ["ADDED"])\n        print("both"')
    files = {"handler.py": handler, "dependencies.sh": shell, "conda-packages.txt": "rdkit\n", ".env": "GREETING=hello\n", **PACKAGE}
    worker.prepare(files)
    printed = serve_once(worker, **on_path(conda, STEPS=str(steps)))
    assert steps.read_text().splitlines() == ["shell hello", "pip hello"]
    assert [call[-1] for call in calls(conda)] == ["hello", "hello"]
    # The last reading of .env sees what the script has written there.
    assert printed.endswith("hello late\nboth 1 2 True\n")
    assert printed.index("Collecting package metadata") < printed.index("Successfully installed frompip-1.0")


# The shell script


def test_the_script_runs_at_every_start_with_the_projects_folder_and_stops_at_the_first_error(worker: Any) -> None:
    worker.prepare({"handler.py": HANDLER, "dependencies.sh": "pwd; printf unfinished; export GREETING=lost\n"})
    for _ in range(2):
        assert serve_once(worker) == f"{worker.folder}/project\nunfinished\nstarted None None\n"
    (worker.folder / "project" / "dependencies.sh").write_text("echo one\nfalse\necho two\n")
    assert failed_start(worker) == "dependencies.sh: exit status 1: one"
    assert "two" not in worker.output()


def test_another_name_for_the_script(worker: Any) -> None:
    api = {"handler": {"type": "python", "path": "handler.py", "dependencies": {"shell": "setup/tools.sh"}}}
    worker.prepare({"handler.py": HANDLER, "setup/tools.sh": "echo tools", "dependencies.sh": "echo never"}, api=api)
    assert serve_once(worker) == "tools\nstarted None None\n"


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", True), ("INFO", True), ("WARNING", False), ("ERROR", False)])
def test_output_is_shown_at_level_info_and_otherwise_only_of_a_failure(worker: Any, level: str, shown: bool) -> None:
    worker.prepare({"handler.py": HANDLER, "dependencies.sh": "echo out; echo err >&2\n"})
    assert serve_once(worker, CORTEX_LOG_LEVEL=level) == ("out\nerr\n" if shown else "") + "started None None\n"
    (worker.folder / "project" / "dependencies.sh").write_text("echo out; echo err >&2; kill -9 $$\n")
    assert failed_start(worker, CORTEX_LOG_LEVEL=level) == "dependencies.sh: killed by signal 9: out err"
    assert "out\nerr\n" in worker.output()


def test_a_server_that_the_script_starts_holds_nothing_up(worker: Any, tmp_path: Path) -> None:
    script = f"(while [ ! -e {shlex.quote(str(tmp_path / 'end'))} ]; do sleep 0.1; done; echo ended) &\necho begun\n"
    worker.prepare({"handler.py": HANDLER, "dependencies.sh": script})
    assert serve_once(worker) == "begun\nstarted None None\n"
    (tmp_path / "end").touch()


def test_sigterm_ends_a_script(worker: Any) -> None:
    worker.prepare({"handler.py": HANDLER, "dependencies.sh": "echo in; exec sleep 60\n"})
    worker.launch()
    while "in" not in worker.output():
        assert worker.process.poll() is None
        time.sleep(0.02)
    assert worker.stop() == 143
    assert worker.failures() == []


def test_dotenv_may_say_a_pythonpath(worker: Any) -> None:
    handler = "import extra\n" + HANDLER
    worker.prepare({"handler.py": handler, "more/extra.py": "", ".env": "PYTHONPATH=$CORTEX_PROJECT_DIR/more\nGREETING=hi\n"})
    assert serve_once(worker) == "started hi None\n"


# conda


def test_conda_packages_get_an_environment_with_conda_forge_behind_the_channels_that_there_are(worker: Any, conda: Path) -> None:
    worker.prepare({"handler.py": CONDA_HANDLER, "conda-packages.txt": "# for shapes\nrdkit=2022\n", ".env": "GREETING=hello"})
    assert serve_once(worker, **on_path(conda)).endswith("conda 1 True hello\n")
    project = str(worker.folder / "project")
    shown, created = calls(conda)
    assert shown == ["conda", "config", "--show", "channels", "--json", project, "hello"]
    [prefix] = (worker.folder / "venvs").glob("conda-*/")
    version = f"python={sys.version_info.major}.{sys.version_info.minor}"
    channels = [word for channel in ("defaults", "bioconda", "conda-forge") for word in ("--channel", channel)]
    file = f"{project}/conda-packages.txt"
    options = ["--yes", "--quiet", "--prefix", str(prefix), "--override-channels", *channels, "--file", file, version]
    assert created == ["conda", "create", *options, project, "hello"]
    assert serve_once(worker, **on_path(conda)) == "conda 1 True hello\n"
    assert len(calls(conda)) == 2  # it is kept
    Path(file).write_text("rdkit=2023\n")
    assert serve_once(worker, **on_path(conda)).endswith("conda 1 True hello\n")
    assert len(calls(conda)) == 4


@pytest.mark.parametrize(
    ("packages", "adds_python"),
    [
        ("numpy", True),
        ("python-dateutil", True),
        ("python.app", True),
        ("python", False),
        ("python=3.9", False),
        ("conda-forge::python >=3.8", False),
        ("numpy\npython 3.9.*", False),
        ("@EXPLICIT\nhttps://conda.example/linux-64/python-3.9.1-0.tar.bz2", False),
    ],
)
def test_python_is_this_ones_minor_version_unless_the_file_names_one(conda: Path, tmp_path: Path, packages: str, adds_python: bool) -> None:
    (tmp_path / "packages.txt").write_text(packages)
    ensure(tmp_path / "packages.txt", tmp_path / "environments", Installer(tmp_path, on_path(conda), quiet=False))
    assert calls(conda)[-1][-3].startswith("python=") is adds_python


def test_conda_forge_stays_where_it_is_configured(worker: Any, conda: Path) -> None:
    (conda / "channels").write_text(json.dumps({"channels": ["conda-forge", "defaults"]}))
    worker.prepare({"handler.py": CONDA_HANDLER, "conda-packages.txt": "rdkit", ".env": "GREETING=hello"})
    serve_once(worker, **on_path(conda))
    words = calls(conda)[-1]
    assert [words[at + 1] for at, word in enumerate(words) if word == "--channel"] == ["conda-forge", "defaults"]


def test_mamba_where_there_is_no_conda(worker: Any, conda: Path) -> None:
    (conda / "conda").rename(conda / "mamba")
    worker.prepare({"handler.py": CONDA_HANDLER, "conda-packages.txt": "rdkit", ".env": "GREETING=hello"})
    serve_once(worker, **on_path(conda))
    [created] = calls(conda)
    assert created[:2] == ["mamba", "create"]
    assert created[6:8] == ["--channel", "conda-forge"]


def test_without_conda_one_error_says_what_to_do(worker: Any) -> None:
    worker.prepare({"handler.py": HANDLER, "conda-packages.txt": "rdkit\n"})
    assert failed_start(worker, PATH="/usr/bin:/bin") == (
        "conda-packages.txt: there is no conda here; use an image that has conda (on your own machine, install it), "
        "or bring the packages in the image or in requirements.txt, and remove the file"
    )


def test_a_list_of_nothing_needs_no_conda(worker: Any) -> None:
    worker.prepare({"handler.py": HANDLER, "conda-packages.txt": "# none yet\n\n"})
    assert serve_once(worker, PATH="/usr/bin:/bin") == "started None None\n"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("fails", "exit status 3: a warning of conda's PackagesNotFoundError: nothing provides it"),
        ("old", "installs Python 3.7; a handler needs 3.8 or newer"),
        ("channels", "conda's channels can't be read from 'none\\n'"),
    ],
)
def test_conda_fails(worker: Any, conda: Path, trouble: str, reason: str) -> None:
    (conda / trouble).write_text("none")  # one of them says what the stand-in prints
    worker.prepare({"handler.py": HANDLER, "conda-packages.txt": "rdkit\n"})
    told = failed_start(worker, **on_path(conda))
    assert told.startswith(f"conda-packages.txt: {reason}")
    assert not list((worker.folder / "venvs").glob("*/.complete"))
