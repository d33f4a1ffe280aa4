"""Entity scores: equal to seqeval in both of its readings, by type and by group, and strict about what lines up."""

from __future__ import annotations

import warnings
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from promu.errors import InputError
from promu.evaluation.ner import score_entities, tags_to_entities
from promu.schema import Entity, Post

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-x-y", "I-x-y"]

tag_pair = st.integers(1, 8).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n) for _ in range(2)])
)


def as_post(tags: list[str], mode: Literal["strict", "default"], number: int = 0) -> Post:
    words = tuple(f"w{i}" for i in range(len(tags)))
    return Post(str(number), words, entities=tuple(tags_to_entities(tags, mode)))


@pytest.mark.parametrize("mode", ["strict", "default"])
@given(pairs=st.lists(tag_pair, min_size=1, max_size=5))
def test_scores_equal_seqeval(mode: Literal["strict", "default"], pairs: list[tuple[list[str], list[str]]]) -> None:
    gold_tags, predicted_tags = [list(pair[0]) for pair in pairs], [list(pair[1]) for pair in pairs]
    how = {"mode": "strict", "scheme": IOB2} if mode == "strict" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of tags that it never saw and of empty denominators
        oracle = [
            100 * score(gold_tags, predicted_tags, zero_division=0, **how)
            for score in (precision_score, recall_score, f1_score)
        ]
    scores = score_entities(
        [as_post(tags, mode, i) for i, tags in enumerate(gold_tags)],
        [as_post(tags, mode, i) for i, tags in enumerate(predicted_tags)],
    )
    assert [scores.micro.precision, scores.micro.recall, scores.micro.f1] == pytest.approx(oracle)


def test_an_orphan_inside_tag_counts_in_default_mode_only() -> None:
    tags = ["O", "I-PER", "I-PER", "B-LOC", "I-PER"]
    assert tags_to_entities(tags, "strict") == [Entity(3, 4, "LOC")]
    assert tags_to_entities(tags, "default") == [Entity(1, 3, "PER"), Entity(3, 4, "LOC"), Entity(4, 5, "PER")]


@pytest.mark.parametrize("tag", ["", "B", "B-", "PER", "S-PER", "o"])
def test_what_is_no_tag_is_refused_with_its_place(tag: str) -> None:
    with pytest.raises(InputError, match="of word 2 is no tag"):
        tags_to_entities(["O", tag])


def test_types_spans_and_groups_by_hand() -> None:
    words = ("a", "b", "c", "d")
    gold = [
        Post("1", words, entities=(Entity(0, 1, "PER"), Entity(2, 4, "ORG"))),
        Post("2", words, entities=(Entity(1, 2, "PER"),)),
    ]
    predicted = [
        Post("1", words, entities=(Entity(0, 1, "PER"), Entity(2, 4, "LOC"))),
        Post("2", words, entities=(Entity(1, 3, "PER"),)),
    ]
    scores = score_entities(gold, predicted, {"1": "text decides", "2": "picture decides", "other": "elsewhere"})
    assert scores.micro.f1 == pytest.approx(100 / 3)
    assert scores.spans.f1 == pytest.approx(200 / 3)
    assert {name: (c.correct, c.predicted, c.gold) for name, c in scores.per_type.items()} == {
        "LOC": (0, 1, 0),
        "ORG": (0, 0, 1),
        "PER": (1, 2, 2),
    }
    assert {name: c.f1 for name, c in scores.per_group.items()} == {"picture decides": 0.0, "text decides": 50.0}
    assert scores.to_dict()["per_type"]["PER"]["f1"] == 50.0


def test_the_same_span_in_two_posts_is_two_entities() -> None:
    post = Post("1", ("a",), entities=(Entity(0, 1, "PER"),))
    scores = score_entities([post, post], [post, Post("1", ("a",))])
    assert (scores.micro.correct, scores.micro.gold) == (1, 2)


def test_nothing_predicted_is_zero_not_an_error() -> None:
    scores = score_entities([Post("1", ("a",), entities=(Entity(0, 1, "PER"),))], [Post("1", ("a",))])
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0.0, 0.0, 0.0)


def test_posts_that_do_not_line_up_are_named() -> None:
    gold = [Post("1", ("a", "b")), Post("2", ("c",)), Post("3", ("d",))]
    with pytest.raises(InputError, match=r"post 2 \(gold id '2'\) reads 'x' in the predictions and 'c' in the gold"):
        score_entities(gold, [gold[0], Post("2", ("x",)), gold[2]])
    with pytest.raises(InputError, match="post 2"):  # one left out in the middle: named where it is missing
        score_entities(gold, [gold[0], gold[2]])
    with pytest.raises(InputError, match="the predictions hold 2 posts and the gold holds 3"):
        score_entities(gold, gold[:2])
    with pytest.raises(InputError, match="no post"):
        score_entities([], [])


def test_a_post_without_a_group_and_an_entity_without_a_type_are_refused() -> None:
    gold = [Post("1", ("a",))]
    with pytest.raises(InputError, match=r"'1'.* has no group"):
        score_entities(gold, gold, {"2": "text"})
    with pytest.raises(InputError, match="predicted entity 'a' has no type"):
        score_entities(gold, [Post("1", ("a",), entities=(Entity(0, 1, None),))])
