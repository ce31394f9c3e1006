"""YAML and JSON files: plain values only, and the place of every problem."""

import json
from pathlib import Path

import pytest

from batchflow.errors import InvalidInput, NotFound
from batchflow.spec.reader import document_of, read_document
from batchflow.spec.scalars import MAX_DEPTH
from batchflow.spec.yamltext import line_of, parse_yaml


def written(tmp_path: Path, name: str, content: str | bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[~, null, '', 'null', !!str 3, '3']", [None, None, "", "null", "3", "3"]),
        ("[true, off, Yes, n, y]", [True, False, True, "n", "y"]),
        ("[0, 12, -3, +4, 1_000, 0x1F, 0b11, 017, 0o17, 08]", [0, 12, -3, 4, 1000, 31, 3, 15, 15, "08"]),
        ("[1.5, 1e3, 1E-3, .5, -2., 1.5e+2]", [1.5, 1000.0, 0.001, 0.5, -2.0, 150.0]),
        ("['2020-01-01', 12:30, 1.2.3, 0b_, 1.2e, 200m]", ["2020-01-01", "12:30", "1.2.3", "0b_", "1.2e", "200m"]),
        ("[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        (
            "{a: &a {x: 1}, b: {<<: *a, y: 2}, c: {x: 0, <<: [*a, {x: 5, z: 3}]}}",
            {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 0, "z": 3}},
        ),
        ("- |\n  two\n  lines\n- !!int '7'", ["two\nlines\n", 7]),
    ],
)
def test_yaml_gives_plain_values(text: str, value: object) -> None:
    assert parse_yaml(text, "f") == value
    assert repr(parse_yaml(text, "f")) == repr(value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f: is empty"),
        ("# only a comment\n", "f: is empty"),
        ("a: b: c", "f:1:5: is not valid YAML: mapping values are not allowed in this context"),
        ("a:\n\t- b", "f:2:1: is not valid YAML: found character that cannot start any token; indent with spaces, not tabs"),
        ("a: 'x", "f:1:6: is not valid YAML: found unexpected end of stream"),
        ("a: 1\nb\x07: 2", "f:2:2: is not valid YAML: the character 0x7 is not allowed"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document begins here; one file holds one document"),
        ("a: 1\nb: 2\na: 3", 'f:3:1: key "a" is there twice'),
        ("1: a", "f:1:1: the key 1 is not a string; put it in quotes"),
        ("on: a", "f:1:1: the key on is not a string; put it in quotes"),
        ("? [a]\n: b", "f:1:3: the key a list or map is not a string; put it in quotes"),
        ("a: 2020-01-31", "f:1:4: 2020-01-31 is a date, which JSON doesn't have; put it in quotes"),
        ("a: 2001-12-14t21:59:43.10-05:00", "f:1:4: 2001-12-14t21:59:43.10-05:00 is a date, which JSON doesn't have; put it in quotes"),
        ("a: .nan", "f:1:4: .nan is a number that JSON doesn't have; put it in quotes"),
        ("a: -.inf", "f:1:4: -.inf is a number that JSON doesn't have; put it in quotes"),
        ("a: 1e999", "f:1:4: 1e999 is a number that JSON doesn't have; put it in quotes"),
        ("a: 18446744073709551616", "f:1:4: the integer has more than 64 bits; put it in quotes"),
        ("a: " + "9" * 5000, "f:1:4: the integer has more than 64 bits; put it in quotes"),
        ("a: *b", "f:1:4: *b is not defined above; mark a value with &b first"),
        ("a: &a [*a]", "f:1:8: *a is not defined above; mark a value with &a first"),
        ("<<: {a: 1}\n<<: {b: 1}", 'f:2:1: key "<<" is there twice'),
        ("<<: [1]", "f:1:1: << takes a map or a list of maps"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "f:1:4: the tag tag:yaml.org,2002:python/object/apply:os.system is not supported; use plain values only",
        ),
        ("a: !!set {b}", "f:1:4: the tag tag:yaml.org,2002:set is not supported; use plain values only"),
        ("a: !env HOME", "f:1:4: HOME with the tag !env is not supported; use plain values only"),
        ("a: !!int x", "f:1:4: x with the tag tag:yaml.org,2002:int is not supported; use plain values only"),
        ("[" * (MAX_DEPTH + 1), f"f:1:{MAX_DEPTH + 1}: is nested deeper than 100 levels"),
        ("[" * 100_000, f"f:1:{MAX_DEPTH + 1}: is nested deeper than 100 levels"),
        (f"- &a {'[' * 60}{']' * 60}\n- {'[' * 60}*a{']' * 60}", "f:2:63: is nested deeper than 100 levels"),
    ],
)
def test_yaml_errors_name_line_and_column(text: str, error: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_yaml(text, "f")
    assert str(raised.value) == error


def test_aliases_may_repeat_values_but_not_explode() -> None:
    assert parse_yaml("- &a [x, y]\n- [*a, *a]", "f") == [["x", "y"], [["x", "y"], ["x", "y"]]]
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{k}: &{k} [{','.join([f'*{p}'] * 10)}]\n" for p, k in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(InvalidInput, match=r"f:6:.*aliases stand for more than 1000000 characters"):
        parse_yaml(laughs, "f")
    with pytest.raises(InvalidInput, match=r"aliases stand for more than 1000000 characters"):
        parse_yaml(f"- &a {'x' * 100_000}\n" + "- *a\n" * 11, "f")


def test_a_field_has_the_line_of_its_key_and_a_missing_one_that_of_what_it_is_missing_in() -> None:
    text = "# head\na: 1\nb:\n  - x\n\n  - y:\n      z: [1, 2]\nc: &c {k: v}\nd: {<<: *c}\n"
    places = {(): 2, ("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 6, ("b", 1, "y", "z"): 7, ("b", 1, "y", "z", 1): 7, ("b", 1, "q"): 6}
    assert {keys: line_of(text, keys) for keys in places} == places
    assert line_of(text, ("d", "k")) == 9
    assert line_of(text, ("missing",)) == 2
    assert line_of("a: [", ("a", 3)) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f.json: is empty"),
        ('{"a": 1,}', "f.json:1:9: is not valid JSON: Expecting property name enclosed in double quotes"),
        ('{"a": NaN}', "f.json: NaN is a number that JSON doesn't have; put it in quotes"),
        ('{"a": 1,\n "b": {"c": "\\ud83d\\ude00", \n"c": 2}}', 'f.json:3:1: key "c" is there twice'),
        ('{"' + "k" * 2000 + '": 3, "a": 1, "a": 2}', 'f.json: key "a" is there twice'),
        ('{"a": [1,\n 99999999999999999999]}', "f.json:2: a: index 1: is an integer of more than 64 bits; put it in quotes"),
        ('{"a": 1,\n "b": "\\ud83d"}', "f.json:2: b: is not valid Unicode: it holds half of a surrogate pair"),
        ('{"a":\n {"\\ud83d": 1}}', "f.json:1: a: the key '\\ud83d' is not a string of valid Unicode; put it in quotes"),
        ('{"a": 1e999}', "f.json:1: a: is inf, a number that JSON doesn't have; put it in quotes"),
        ("[" * 50 + "[" * 50 + "[" + "]" * 101, "f.json:1: " + "index 0: " * 20 + "is nested deeper than 100 levels"),
        ("[" * 100_000, "f.json: is nested deeper than 100 levels"),
    ],
)
def test_json_errors_name_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_document(written(tmp_path, "f.json", text, monkeypatch))
    assert str(raised.value) == error


def test_json_is_read_as_json_not_as_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"tab\t": ["😀", 1e-3, "on", "2020-01-01", "a/b"], "k" * 2000: None}
    document = read_document(written(tmp_path, "f.json", json.dumps(value, indent="\t"), monkeypatch))
    assert document.value == value
    assert document.line(("tab\t", 2)) == 5


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"a: \xff", "f.yaml: can't be read: it is not UTF-8 text"),
        ("\ufeffa: 1\na: 2".encode(), 'f.yaml:2:1: key "a" is there twice'),
    ],
)
def test_files_are_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, error: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_document(written(tmp_path, "f.yaml", content, monkeypatch))
    assert str(raised.value) == error


def test_a_file_that_is_not_there_and_one_that_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match=r"job\.yaml: no such file"):
        read_document(tmp_path / "job.yaml")
    with pytest.raises(InvalidInput, match=r"^\.: can't be read: Is a directory"):
        read_document(tmp_path)


def test_a_value_that_did_not_come_from_a_file_must_be_plain_json_too() -> None:
    with pytest.raises(InvalidInput) as raised:
        document_of({"a": [{"b": {1, 2}}]}, "request")
    assert str(raised.value) == "request: a: index 0: b: is a set, which JSON doesn't have; put it in quotes"
