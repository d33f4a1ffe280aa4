"""Entity scores: equal to seqeval in both of its readings, by type and by group, and strict about what lines up."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from promu.corpora.conll import read_conll
from promu.errors import InputError
from promu.evaluation.counts import Counts
from promu.evaluation.ner import MISSED, SPURIOUS, NerScores, entity_counts, entity_frequency, score_entities
from promu.schema import Entity, Post

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-x-y", "I-x-y"]
MODES: dict[str, tuple[Literal["drop", "begin"], dict[str, object]]] = {
    "strict": ("drop", {"mode": "strict", "scheme": IOB2}),
    "default": ("begin", {}),
}

tag_pair = st.integers(1, 8).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n) for _ in range(2)])
)


def write_tags(path: Path, posts: Sequence[Sequence[str]]) -> Path:
    """Tags as they are, malformed ones too, in a CoNLL file."""
    blocks = (
        f"IMGID:{number}\n" + "".join(f"w{place}\t{tag}\n" for place, tag in enumerate(tags))
        for number, tags in enumerate(posts)
    )
    path.write_text("\n".join(blocks))
    return path


@pytest.mark.parametrize("mode", MODES)
@given(pairs=st.lists(tag_pair, min_size=1, max_size=5))
@pytest.mark.slow
def test_scores_equal_seqeval_whatever_the_tags(
    mode: str, pairs: list[tuple[list[str], list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    reading, how = MODES[mode]
    sides = [[list(pair[side]) for pair in pairs] for side in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of tags that it never saw and of empty denominators
        oracle = [100 * score(*sides, zero_division=0, **how) for score in (precision_score, recall_score, f1_score)]
    folder = tmp_path_factory.getbasetemp()
    gold, predicted = (
        read_conll(write_tags(folder / f"seqeval-{name}.txt", tags), stray_inside=reading)
        for name, tags in zip(("gold", "predicted"), sides, strict=True)
    )
    scores = score_entities(gold, predicted)
    assert [scores.micro.precision, scores.micro.recall, scores.micro.f1] == pytest.approx(oracle)
    by_post = entity_counts(gold, predicted)
    assert Counts(*by_post.sum(0).tolist()) == scores.micro
    check_confusion(scores)


def check_confusion(scores: NerScores) -> None:
    """The margins of the confusion are what other code counted."""
    cells = [(gold, found, count) for gold, row in scores.confusion.items() for found, count in row.items()]
    assert sum(count for gold, found, count in cells if gold == found) == scores.micro.correct
    assert sum(count for gold, _, count in cells if gold != SPURIOUS) == scores.micro.gold
    assert sum(count for _, found, count in cells if found != MISSED) == scores.micro.predicted
    assert sum(count for gold, found, count in cells if (gold, found) == (SPURIOUS, MISSED)) == 0
    assert sum(count for gold, found, count in cells if gold != SPURIOUS and found != MISSED) == scores.spans.correct


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
    scores = score_entities(gold, predicted, {"1": "text decides", "2": "image decides", "other": "elsewhere"})
    assert scores.micro.f1 == pytest.approx(100 / 3)
    assert scores.spans.f1 == pytest.approx(200 / 3)
    assert {name: (c.correct, c.predicted, c.gold) for name, c in scores.per_type.items()} == {
        "LOC": (0, 1, 0),
        "ORG": (0, 0, 1),
        "PER": (1, 2, 2),
    }
    assert {name: c.f1 for name, c in scores.per_group.items()} == {"image decides": 0.0, "text decides": 50.0}
    assert scores.to_dict()["per_type"]["PER"]["f1"] == 50.0
    # post 2: PER is predicted a word too long, so it is missed where it is and spurious where it is not
    assert scores.confusion == {"(spurious)": {"PER": 1}, "ORG": {"LOC": 1}, "PER": {"(missed)": 1, "PER": 1}}
    assert entity_counts(gold, predicted).tolist() == [[1, 2, 2], [0, 1, 1]]
    assert entity_frequency(gold) == {"PER": 2, "ORG": 1}


def test_a_span_of_several_types_is_confused_only_where_it_differs() -> None:
    gold = [Post("1", ("a",), entities=(Entity(0, 1, "PER"), Entity(0, 1, "ORG")))]
    predicted = [Post("1", ("a",), entities=(Entity(0, 1, "ORG"), Entity(0, 1, "LOC"), Entity(0, 1, "MISC")))]
    assert score_entities(gold, predicted).confusion == {
        "(spurious)": {"MISC": 1},
        "ORG": {"ORG": 1},
        "PER": {"LOC": 1},
    }


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
