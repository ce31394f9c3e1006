"""Which files become which version of which model, and what TensorFlow Serving and the runtime are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput, Unreachable
from batchflow.prepare.models import fetch_models
from batchflow.settings import Settings
from batchflow.spec.model import Model, Models
from batchflow.store.open import open_sources
from tests.serving import parse_proto

LOCAL = open_sources(Settings(sources=("file",)))
SAVED = ("saved_model.pb", "variables/variables.index")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")


def written(folder: Path) -> dict[str, str]:
    """What is below the models' folder, but the two documents."""
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {path: text for path, text in files.items() if "/" in path}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "pod" / "model"


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (SAVED, {f"1/{name}": name for name in SAVED}),
        (["saved_model.pbtxt", "7/notes"], {"1/saved_model.pbtxt": "saved_model.pbtxt", "1/7/notes": "7/notes"}),
        (["3/saved_model.pb", "20/saved_model.pbtxt", "20/assets/v.txt.gz"], None),
        (["1523423423/saved_model.pb", "README", "old/saved_model.pb"], {"1523423423/saved_model.pb": "1523423423/saved_model.pb"}),
    ],
)
def test_a_model_is_one_folder_or_one_of_versions(source: Path, target: Path, names: list[str], places: dict[str, str] | None) -> None:
    write(source, *names)
    expected = places or {name: name for name in names}
    for path in (str(source), f"{source}/", f"file://{source}"):
        fetch_models(Models((Model("m", path),)), LOCAL, Path(), target)
        assert written(target) == {f"m/{place}": f"content of {name}" for place, name in expected.items()}


def test_a_path_is_a_folder_and_no_prefix(source: Path, target: Path) -> None:
    write(source, "model/saved_model.pb", "model-2/saved_model.pb")
    fetch_models(Models((Model("m", f"{source}/model"),)), LOCAL, Path(), target)
    assert [*written(target)] == ["m/1/saved_model.pb"]


def test_a_relative_path_is_in_the_project_whatever_else_may_be_read(source: Path, target: Path) -> None:
    write(source, "models/m/saved_model.pb")
    fetch_models(Models((Model("m", "models/m"),)), open_sources(Settings()), source, target)
    assert [*written(target)] == ["m/1/saved_model.pb"]


def test_every_version_is_served_and_the_runtime_knows_the_signatures(source: Path, target: Path) -> None:
    write(source, "a/saved_model.pb", "b/1/saved_model.pb", "b/2/saved_model.pb")
    target = target.with_name('mo"del é')
    fetch_models(Models((Model("a", f"{source}/a"), Model("b", f"{source}/b", "serving_default"))), LOCAL, Path(), target)
    [models] = parse_proto((target / "models.config").read_text(encoding="utf-8"))["model_config_list"]
    assert [model["name"] for model in models["config"]] == [["a"], ["b"]]
    assert [json.loads(f'"{model["base_path"][0]}"') for model in models["config"]] == [f"{target}/a", f"{target}/b"]
    assert all(model["model_version_policy"] == [{"all": [{}]}] and model["model_platform"] == ["tensorflow"] for model in models["config"])
    assert json.loads((target / "models.json").read_text()) == {
        "models": [{"name": "a", "signature_key": None}, {"name": "b", "signature_key": "serving_default"}]
    }


def test_each_folder_of_a_dir_is_a_model(source: Path, target: Path) -> None:
    write(source, "README", "a/saved_model.pb", "B_2/5/saved_model.pb")
    fetch_models(Models(dir=str(source), signature_key="k"), LOCAL, Path(), target)
    assert {*written(target)} == {"a/1/saved_model.pb", "B_2/5/saved_model.pb"}
    names = json.loads((target / "models.json").read_text())["models"]
    assert names == [{"name": "B_2", "signature_key": "k"}, {"name": "a", "signature_key": "k"}]


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ([], "SOURCE/m/: holds no TensorFlow model; there must be a saved_model.pb, or folders named by version numbers, each with one"),
        (["m/model.h5"], "SOURCE/m/: holds no TensorFlow model; "),
        (["m/v1/saved_model.pb"], "SOURCE/m/: holds no TensorFlow model; "),
        (["m/1/saved_model.pb", "m/2/variables/v"], "SOURCE/m/2/: holds no saved_model.pb; see whether it was written whole"),
    ],
)
def test_a_path_without_a_model_is_refused_by_name(source: Path, target: Path, names: list[str], error: str) -> None:
    write(source, *names)
    with pytest.raises(InvalidInput) as refused:
        fetch_models(Models((Model("m", f"{source}/m"),)), LOCAL, Path(), target)
    assert str(refused.value).startswith(error.replace("SOURCE", str(source)))
    assert not target.exists()


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["saved_model.pb"], "SOURCE/: holds no folder of a model"),
        (["a b/saved_model.pb"], 'SOURCE/: "a b" is not a valid name of a model; use letters, digits, underscores and dashes'),
        (["a/saved_model.pb", "b/x"], "SOURCE/b/: holds no TensorFlow model; "),
    ],
)
def test_a_dir_that_holds_something_else_is_refused(source: Path, target: Path, names: list[str], error: str) -> None:
    write(source, *names)
    with pytest.raises(InvalidInput) as refused:
        fetch_models(Models(dir=str(source)), LOCAL, Path(), target)
    assert str(refused.value).startswith(error.replace("SOURCE", str(source)))


def test_local_paths_are_refused_where_they_are_not_read(source: Path, target: Path) -> None:
    write(source, "saved_model.pb")
    with pytest.raises(InvalidInput, match=r"is not a valid s3 path .* unless BATCHFLOW_SOURCES lists more"):
        fetch_models(Models((Model("m", str(source)),)), open_sources(Settings()), Path(), target)


def test_where_it_cant_be_written_it_may_be_tried_again(source: Path, target: Path) -> None:
    write(source, "saved_model.pb")
    write(target.parent, "model")  # a file in the folder's place
    with pytest.raises(Unreachable, match=r"m/1/saved_model\.pb: can't be written: "):
        fetch_models(Models((Model("m", str(source)),)), LOCAL, Path(), target)
