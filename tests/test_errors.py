"""The sentence that a user reads, and what it quotes of other libraries' errors."""

from __future__ import annotations

import pytest

from promu.errors import InputError, first_line


def test_a_place_stands_before_the_reason() -> None:
    assert str(InputError("no such file", "a.txt")) == "a.txt: no such file"
    assert str(InputError("not JSON", "a.txt", 3)) == "a.txt:3: not JSON"
    assert str(InputError("not JSON")) == "not JSON"


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("It broke. \nHere is how it broke", "It broke"),
        ("\nIt broke", "It broke"),
        ("", "ValueError"),
        (" \n", "ValueError"),
    ],
)
def test_of_a_librarys_error_the_first_line_is_quoted(said: str, quoted: str) -> None:
    assert first_line(ValueError(said)) == quoted
