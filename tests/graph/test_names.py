"""Which names are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.graph.examples import TEXTS

from promu.graph.names import normalise_name


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("NASA", "nasa"),
        ("the NASA", "nasa"),
        ("@NASA", "nasa"),
        ("# nasa", "nasa"),
        ("＃ＮＡＳＡ", "nasa"),
        ("The @The  Beatles", "beatles"),
        ("The The", "the"),
        ("the", "the"),
        ("Theo", "theo"),
        ("#", "#"),
        ("@@", "@"),
        ("Straße", "strasse"),
        ("Łódź", "łódź"),
        ("Ann\u00a0\n Lee ", "ann lee"),
        ("A\u200bn\u202en\u00ad", "ann"),
        ("e\u0301", "é"),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("\u200b", "\u200b"),
        ("C++", "c++"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_the_rule(text: str, key: str) -> None:
    assert normalise_name(text) == key


@given(TEXTS)
def test_a_key_is_its_own_key(text: str) -> None:
    assert normalise_name(normalise_name(text)) == normalise_name(text)


@given(st.text("abzé#@ 9", min_size=1), st.sampled_from(["@", "#", "the ", "The  ", "\u200b", " "]))
def test_what_is_left_out_makes_no_difference(text: str, extra: str) -> None:
    if normalise_name(text):
        assert normalise_name(extra + text.upper()) == normalise_name(text) or normalise_name(text) in ("@", "#")
