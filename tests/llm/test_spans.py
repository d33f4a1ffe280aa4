"""Names that a model wrote down are found in the words, each mention in its own place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.llm.answers import find_spans, next_free_span

TOKENS = ("RT", "@ann", ":", "Tel", "Aviv", "'s", "mayor", "met", "Ann", "in", "tel", "aviv", "#", "TelAviv")


@pytest.mark.parametrize(
    ("name", "spans"),
    [
        ("Tel Aviv", [(3, 5), (13, 14)]),  # blanks are no matter: the hashtag has the same letters
        ("tel aviv", [(10, 12)]),
        ("TEL AVIV", [(3, 5), (10, 12), (13, 14)]),  # as nothing is so written, case is ignored
        ("Tel Aviv's", [(3, 6)]),
        ("#TelAviv", [(12, 14)]),
        ("# Tel Aviv", [(12, 14)]),
        ("Ann", [(8, 9)]),
        ("ANN", [(8, 9)]),
        ("Aviv's mayor", [(4, 7)]),
        ("Haifa", []),
        ("", []),
        ("  ", []),
    ],
)
def test_where_a_name_is(name: str, spans: list[tuple[int, int]]) -> None:
    assert find_spans(TOKENS, name) == spans


def test_a_part_of_a_word_is_no_place() -> None:
    assert find_spans(("@Nadal", "wins"), "Nadal") == []


def test_a_no_break_space_belongs_to_no_name() -> None:
    assert find_spans(("\u00a0", "Ann", "\u00a0", "\u00a0", "met", "Bob", "\u00a0"), "Ann") == [(1, 2)]
    assert find_spans(("Ann", "met", "Bob", "\u00a0"), "met Bob") == [(1, 3)]


def test_mentions_are_taken_in_the_order_of_the_text() -> None:
    tokens = ("Paris", "loves", "Rome", "and", "Paris", "and", "Paris")
    taken: list[tuple[int, int]] = []
    for name, expected in [("Paris", (0, 1)), ("Rome", (2, 3)), ("Paris", (4, 5)), ("Paris", (6, 7)), ("Paris", None)]:
        span = next_free_span(find_spans(tokens, name), taken)
        assert span == expected
        taken += [span] if span else []
    # listed out of order: the free place before is better than none
    assert next_free_span(find_spans(tokens, "loves"), taken) == (1, 2)
    assert next_free_span(find_spans(tokens, "Paris loves"), taken) is None


WORDS = st.lists(st.text("abA'#.", min_size=1, max_size=4), min_size=1, max_size=8)


@given(WORDS, st.data())
def test_every_span_is_found_by_its_own_words(tokens: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(tokens) - 1))
    end = data.draw(st.integers(start + 1, len(tokens)))
    name = data.draw(st.sampled_from([" ", ""])).join(tokens[start:end])
    found = find_spans(tokens, name)
    assert (start, end) in found
    assert all("".join(tokens[a:b]) == "".join(tokens[start:end]) for a, b in found)
