"""How an extraction is held against the gold, in words."""

from __future__ import annotations

from typing import Any

import pytest

from promu.errors import InputError
from promu.report.post_view import ExtractedPost, PostView, relation_name, view_post

TOKENS = ["Zorva", "Lim", "and", "Kelmo", "tonight"]


def entity(start: int, end: int, kind: str) -> dict[str, Any]:
    return {"start": start, "end": end, "type": kind, "text": " ".join(TOKENS[start:end]), "score": 0.9}


def view(
    found: list[dict[str, Any]],
    gold: list[dict[str, Any]] | None,
    relations: list[tuple[int, int, str]] | None = None,
    gold_relations: list[tuple[tuple[int, int], tuple[int, int], str]] | None = None,
) -> PostView:
    result = {
        "id": "one",
        "tokens": TOKENS,
        "entities": found,
        "relations": [{"head": h, "tail": t, "type": kind, "score": 0.8} for h, t, kind in relations or ()],
    }
    pairs = None
    if gold_relations is not None:
        pairs = [{"head_span": list(h), "tail_span": list(t), "type": kind} for h, t, kind in gold_relations]
    return view_post(ExtractedPost(None, "image", result, gold, pairs))


def verdicts(post: PostView) -> list[tuple[str, str]]:
    return [(verdict.kind, verdict.sentence) for verdict in post.verdicts]


ZORVA, KELMO = entity(0, 2, "PER"), entity(3, 4, "LOC")
COUPLE = "/per/per/couple"


def test_each_kind_of_finding() -> None:
    post = view([ZORVA, entity(4, 5, "MISC")], [entity(0, 2, "ORG"), KELMO])
    assert verdicts(post) == [
        ("wrong", "“Zorva Lim” is PER; the gold label is ORG"),
        ("wrong", "“tonight” is MISC; the gold labels have no entity with these words"),
        ("missed", "“Kelmo” is LOC"),
    ]
    assert post.summary == "2 wrong, 1 missed"
    assert [(segment.text, segment.label, segment.verdict) for segment in post.segments] == [
        ("Zorva Lim", "PER", "wrong"),
        ("and", "", ""),
        ("Kelmo", "LOC", "missed"),
        ("tonight", "MISC", "wrong"),
    ]


def test_types_agree_whatever_their_case() -> None:
    assert verdicts(view([ZORVA], [entity(0, 2, "per")])) == [("right", "“Zorva Lim” is PER")]


def test_without_gold_nothing_is_judged() -> None:
    post = view([ZORVA, KELMO], None, [(0, 1, COUPLE)])
    assert {kind for kind, _ in verdicts(post)} == {"open"}
    assert post.summary == "3 not judged"


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        (((0, 2), (3, 4), COUPLE), ("right", "“Zorva Lim” – couple → “Kelmo”")),
        (((0, 2), (3, 4), "None"), ("wrong", "“Zorva Lim” – couple → “Kelmo”; the gold label is no relation")),
        (((0, 2), (3, 4), "/per/per/peer"), ("wrong", "“Zorva Lim” – couple → “Kelmo”; the gold label is peer")),
        (
            ((3, 4), (0, 2), COUPLE),
            ("wrong", "“Zorva Lim” – couple → “Kelmo”; the gold label is couple, the other way round"),
        ),
    ],
)
def test_relations_against_the_gold(gold: Any, expected: tuple[str, str]) -> None:
    post = view([ZORVA, KELMO], [ZORVA, KELMO], [(0, 1, COUPLE)], [gold])
    assert verdicts(post)[2:] == [expected]
    assert post.graph is not None and post.graph.arrows[0].verdict == expected[0]


def test_a_relation_not_found_is_missed_unless_the_gold_has_none() -> None:
    gold = [((0, 2), (3, 4), COUPLE)]
    assert verdicts(view([ZORVA], [ZORVA, KELMO], [], gold))[-1] == ("missed", "“Zorva Lim” – couple → “Kelmo”")
    post = view([ZORVA, KELMO], [ZORVA, KELMO], [], [((0, 2), (3, 4), "None")])
    assert post.summary == "2 right" and post.graph is None


def test_overlapping_spans_lose_no_word() -> None:
    post = view([ZORVA, entity(1, 4, "ORG")], [])
    assert " ".join(segment.text for segment in post.segments).split() == TOKENS


def test_nothing_found() -> None:
    post = view([], [])
    assert post.summary == "nothing found" and post.segments[0].text == " ".join(TOKENS)


def test_an_extraction_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InputError, match="ends past"):
        view([entity(4, 6, "PER")], [])
    with pytest.raises(InputError, match="points to entity 1"):
        view([ZORVA], [], [(0, 1, COUPLE)])


def test_relation_names() -> None:
    assert relation_name("/per/loc/place_of_residence") == "place of residence"
    assert relation_name("spouse") == "spouse"
    assert relation_name("/") == "/"
