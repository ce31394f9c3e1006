from __future__ import annotations

import pytest

from batchflow.enqueuer.globs import compile_glob
from batchflow.errors import InvalidInput

IMAGE = "s3://bucket/images/img_1.png"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        # The table of spec/cortex.md section 5.
        ("**.png", True),
        ("**_1.png", True),
        ("**/img_?.png", True),
        ("**.{jpg,png}", True),
        ("*.png", False),
        ("img_1.png", False),
        ("s3://bucket/*", False),
        ("**.PNG", False),
        ("s3://bucket/images/*.png", True),
        ("s3://bucket/**", True),
        ("s3://bucket/images/**/*.png", False),
        ("s3://bucket/images/**/img_1.png", True),
    ],
)
def test_the_table_of_the_specification(pattern: str, matches: bool) -> None:
    assert compile_glob(pattern)(IMAGE) is matches


# Each row agrees with gobwas/glob 0.2.3 itself.
@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a*c", ["ac", "abc", "abbc"], ["a/c", "abcd", "xabc"]),
        ("a**c", ["ac", "abc", "a/b/c"], ["ab"]),
        ("*", ["", "ab"], ["a/b"]),
        ("**", ["", "ab", "a/b", "a\nb"], []),
        ("a?c", ["abc", "aéc"], ["ac", "a/c", "abbc"]),
        ("[abc]x", ["ax", "cx"], ["dx", "x", "abx"]),
        ("[a-c]x", ["ax", "bx", "cx"], ["dx", "-x"]),
        ("[!a]x", ["bx", "/x"], ["ax", "x"]),
        ("[!a-c]x", ["dx", "/x"], ["ax", "cx"]),
        ("[^a]x", ["^x", "ax"], ["bx"]),
        ("[abc-e]x", ["-x", "ex"], ["dx"]),
        ("[-a]x", ["-x", "ax"], ["bx"]),
        ("[!!]x", ["ax"], ["!x"]),
        (r"[\]]x", ["]x"], ["\\x"]),
        ("{a,b}x", ["ax", "bx"], ["cx", "x", "a,bx"]),
        ("{a, b}x", ["ax", " bx"], ["bx"]),
        ("{a,b{c,d}}x", ["ax", "bcx", "bdx"], ["bx", "cx"]),
        ("{*.jpg,**.png}", ["a.jpg", "a/b.png"], ["a/b.jpg"]),
        ("{a,b", ["a", "b"], ["{a,b", "{a"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("a]b", ["a]b"], ["ab"]),
        (r"\*", ["*"], ["a", "\\*"]),
        (r"a\?", ["a?"], ["ab"]),
        (r"\[a\]", ["[a]"], ["a"]),
        (r"{a\,b,c}", ["a,b", "c"], ["a", "b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("a+(b)$^|", ["a+(b)$^|"], ["aab"]),
        # One `**` between two literals only asks for the beginning and the end, which may overlap.
        ("ab**bc", ["abbc", "abc", "ab/bc"], ["ab", "bc"]),
        ("aba**aba", ["abaaba", "ababa", "aba"], ["ab"]),
        ("a/**/a", ["a/a", "a/b/a", "a//a"], ["aa"]),
        ("abc**c", ["abc", "abcc", "abc/c"], ["ab"]),
        ("{ab**bc,x}", ["abc", "abbc", "x"], ["ab"]),
        ("ab**bc*", ["abbc", "abbcd"], ["abc"]),
        ("*ab**bc", ["abbc", "xab/bc"], ["abc"]),
        ("a/**/?", ["a//b", "a/c/b"], ["a/b"]),
    ],
)
def test_matching(pattern: str, yes: list[str], no: list[str]) -> None:
    match = compile_glob(pattern)
    assert [text for text in yes if not match(text)] == []
    assert [text for text in no if match(text)] == []


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[", "not closed"),
        ("a[bc", "not closed"),
        ("[a-c", "not closed"),
        ("[a-cx]", "not closed"),
        ("[a-", "not closed"),
        ("[]", "empty"),
        ("[!]", "empty"),
        ("[]a]", "empty"),
        ("[c-a]", "comes before"),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        compile_glob(pattern)


def test_many_stars_in_a_row_are_not_tried_in_every_way() -> None:
    assert not compile_glob("*" * 60 + "b")("a" * 5000)
