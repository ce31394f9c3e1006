"""`.env`: what a shell would assign. The shell is asked, too."""

from __future__ import annotations

import subprocess

import pytest

from batchflow.runtime.dotenv import parse
from batchflow.runtime.reasons import StartError

FILES = [
    "A=1",
    "A=1\n\n# comment\nB=2 # comment\n",
    "export A=1\nexport   B='x y'",
    "A=\nB=''",
    "A='single $HOME \\n #'",
    'A="double # \\" \\$x \\\\ \\n"',
    "A=one\\ word",
    "A=#no-comment\nB=a#b",
    "A=a'b c'\"d e\"f",
    "A=$GIVEN:${GIVEN}x:$MISSING.\nB=\"$A-${A}\"\nC='$A'",
    "A=1\nA=${A}2",
    "A='two\nlines'\nB=3",
    "A=a=b=c\n_b9=ü",
    'A="x\\\ny"',
]


@pytest.mark.parametrize("text", FILES)
def test_it_reads_what_a_shell_would_assign(text: str) -> None:
    found = parse(text, {"GIVEN": "given"})
    show = "".join(f'printf "%s\\0" "${name}";' for name in found)
    shell = subprocess.run(["sh", "-c", f"{text}\n{show}"], env={"GIVEN": "given"}, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    assert list(found.values()) == shell.stdout.split("\0")[:-1]
    assert found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("A=1\nB", ".env:2: not of the form VARIABLE=value"),
        ("A = 1", ".env:1: not of the form VARIABLE=value"),
        ("1A=1", ".env:1: not of the form VARIABLE=value"),
        ("A=two words", ".env:1: a value with spaces or quotes in it must be quoted as a whole"),
        ("A='open", ".env:1: a value with spaces or quotes in it must be quoted as a whole"),
        ("\nA=$(date)", '.env:2: "$(" would be run by a shell; quote it with single quotes'),
        ('A="`date`"', '.env:1: "`" would be run by a shell; quote it with single quotes'),
        ("A=1;B=2", '.env:1: ";" would be run by a shell; quote it with single quotes'),
        ("A=~/x", '.env:1: "~" would be run by a shell; quote it with single quotes'),
        ("CORTEX_PORT=1", ".env:1: CORTEX_PORT: names that start with CORTEX_ or BATCHFLOW_ are reserved"),
    ],
)
def test_what_it_can_not_do_as_a_shell_is_an_error_that_names_the_line(text: str, error: str) -> None:
    with pytest.raises(StartError) as raised:
        parse(text, {})
    assert str(raised.value) == error


def test_carriage_returns_end_lines() -> None:
    assert parse("A=1\r\nB='x'\r\n", {}) == {"A": "1", "B": "x"}
