from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.enqueuer.compact import compact
from batchflow.enqueuer.json_stream import CHUNK_BYTES, MAX_TEXT_BYTES, WINDOW_BYTES, JsonStream
from batchflow.errors import InvalidInput


def texts(data: bytes, chunk_bytes: int = 1 << 20, wanted: int = 1) -> list[bytes]:
    stream = JsonStream(io.BytesIO(data), "s3://b/f.json", chunk_bytes=chunk_bytes)
    stream.wanted = wanted
    return [text for some in stream for text in some]


SPACE = st.text(" \t\r\n", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(VALUES, st.sampled_from([None, 0, 2]), st.booleans(), SPACE)), SPACE, st.integers(1, 40), st.integers(1, 5))
def test_any_values_with_any_white_space_in_any_chunks_give_their_compact_texts(
    written: list[tuple[Any, int | None, bool, str]], before: str, chunk_bytes: int, wanted: int
) -> None:
    data = before
    for value, indent, ascii_only, space in written:
        data += json.dumps(value, indent=indent, ensure_ascii=ascii_only) + (space or "\n")
    expected = [json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode() for value, _, ascii_only, _ in written]
    assert texts(data.encode("utf-8", "surrogatepass"), chunk_bytes, wanted) == expected


@given(st.lists(VALUES, max_size=9), st.booleans(), st.integers(1, 5))
def test_a_value_a_line_gives_their_compact_texts(values: list[Any], ascii_only: bool, wanted: int) -> None:
    written = "".join(json.dumps(value, ensure_ascii=ascii_only) + "\n" for value in values)
    expected = [json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode() for value in values]
    assert texts(written.encode(), wanted=wanted) == expected


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 1, 4]))
def test_compact_drops_white_space_outside_of_strings_only(value: Any, ascii_only: bool, indent: int | None) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    expected = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert compact(written) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b" \n\r\n\t\n", []),
        (b'{"a": 1}\n\n\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b"1 2\n3", [b"1", b"2", b"3"]),
        (b'{"a":1}{"b":2}[3]"x"4', [b'{"a":1}', b'{"b":2}', b"[3]", b'"x"', b"4"]),
        (b'{\n "a": [1,\n 2]\n}\n5', [b'{"a":[1,2]}', b"5"]),
        (b"[1, 2]\n", [b"[1,2]"]),
        (b'null\ntrue\nfalse\n"a b"\n-1.50e+07', [b"null", b"true", b"false", b'"a b"', b"-1.50e+07"]),
        (b"123456789012345678901234567890\n1.10\n1e999\n", [b"123456789012345678901234567890", b"1.10", b"1e999"]),
        (b'{"a" : 1.0, "a" : 2}\n', [b'{"a":1.0,"a":2}']),
        (b'"\\ud800"\n"\\u0041 \\" \\\\"\n', [b'"\\ud800"', b'"\\u0041 \\" \\\\"']),
        (b'{"a \\\\": "b \\" c" }\r\n', [b'{"a \\\\":"b \\" c"}']),
        (b"9" * 5000 + b"\n", [b"9" * 5000]),
        (b"[ " * 300 + b"]" * 300 + b"\n", [b"[" * 300 + b"]" * 300]),
        (b'{"a": -0, "b": 1E5, "c": 1.0, "d": "\\u0020 \\/", "e": 0.10}\n', [b'{"a":-0,"b":1E5,"c":1.0,"d":"\\u0020 \\/","e":0.10}']),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 5, 1 << 20])
def test_values_as_cortex_read_them(data: bytes, expected: list[bytes], chunk_bytes: int) -> None:
    assert texts(data, chunk_bytes) == expected


@pytest.mark.parametrize(
    ("data", "place", "reason"),
    [
        (b"\xef\xbb\xbf1\n", "1: item 0", "byte order mark"),
        (b"1,\n2\n", "1: item 1", "comma"),
        (b"1\n2\n,3\n", "3: item 2", "comma"),
        (b'1\n\n{"a": }\n', "3: item 1", "Expecting value at line 3, before }"),
        (b'1\n{"a":\n 1\n', "2: item 1", "the file ends within the value"),
        (b'1\n"abc', "2: item 1", "Unterminated string"),
        (b'{"a": 1\n{"b": 2}\n', "1: item 0", 'at line 2, before {"b": 2}'),
        (b"nul\n", "1: item 0", "malformed JSON"),
        (b"1\nNaN\n", "2: item 1", "NaN is not JSON"),
        (b"[Infinity]\n", "1: item 0", "Infinity is not JSON"),
        (b"-Infinity", "1: item 0", "-Infinity is not JSON"),
        (b"]\n", "1: item 0", "malformed JSON"),
        (b"{'a': 1}\n", "1: item 0", "malformed JSON"),
        (b'"a\tb"\n', "1: item 0", "Invalid control character"),
        (b'1\n"\xff"\n', "2: item 1", "not UTF-8"),
        (b"1\n" + b"[" * 100_000 + b"]" * 100_000 + b"\n", "2: item 1", "nested too deeply"),
        (b"1\n" + b"[" * (MAX_TEXT_BYTES * 3), "2: item 1", "nested too deeply"),
        (b'1\n"' + b"x" * (MAX_TEXT_BYTES * 3), "2: item 1", "no end within 1048576 bytes"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [97, 1 << 20])
def test_a_value_that_is_none_is_refused_with_file_line_and_item(data: bytes, place: str, reason: str, chunk_bytes: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        texts(data, chunk_bytes if len(data) < MAX_TEXT_BYTES else MAX_TEXT_BYTES)  # small chunks of a long value take a while
    assert str(caught.value).startswith(f"s3://b/f.json:{place}: ")
    assert reason in str(caught.value)


def test_no_more_is_read_than_one_value_may_have_before_it_is_refused() -> None:
    file = io.BytesIO(b'"' + b"x" * (20 * MAX_TEXT_BYTES))
    with pytest.raises(InvalidInput):
        list(JsonStream(file, "f"))
    assert file.tell() <= 3 * MAX_TEXT_BYTES


@given(
    st.lists(VALUES, min_size=1, max_size=9),
    st.sampled_from([None, 1]),
    st.sampled_from([" ", "\n", "\n\n", " \r\n"]),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_reading_goes_on_at_the_place_behind_any_list(
    values: list[Any], indent: int | None, separator: str, chunk_bytes: int, wanted: int
) -> None:
    data = separator.join(json.dumps(value, indent=indent) for value in values).encode()
    stream = JsonStream(io.BytesIO(data), "f", chunk_bytes=chunk_bytes)
    stream.wanted = wanted
    seen = [(some, stream.item, stream.item_line, stream.offset, stream.line) for some in stream]
    every = [text for some, *_ in seen for text in some]
    assert len(every) == len(values)
    assert all(len(some) <= wanted for some, *_ in seen)
    places = {item: item_line for _, item, item_line, _, _ in seen}
    for _, item, _, offset, line in seen:
        rest = io.BytesIO(data)
        rest.seek(offset)
        again = JsonStream(rest, "f", offset=offset, item=item, line=line, chunk_bytes=chunk_bytes)
        one_by_one = [(some, again.item, again.item_line) for some in again]
        assert [text for some, *_ in one_by_one for text in some] == every[item:]
        assert all(places.get(item, item_line) == item_line for _, item, item_line in one_by_one)


def test_a_file_of_several_windows_is_read_in_lists_of_whole_lines() -> None:
    written = [f'{{"n":{number},"text":"{"x" * (number % 700)}"}}'.encode() for number in range(1000)]
    assert 3 * WINDOW_BYTES < sum(map(len, written)) < CHUNK_BYTES
    assert texts(b"\n".join(written), wanted=64) == written
    long = b'"' + b"x" * (2 * WINDOW_BYTES) + b'"'
    assert texts(b"1\n" + long + b"\n2\n", wanted=64) == [b"1", long, b"2"]
