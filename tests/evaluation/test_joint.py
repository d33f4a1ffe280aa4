"""Quintuples: counts worked by hand, gold against itself, the published string scorer's figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from promu.corpora.jmere import read_jmere
from promu.errors import InputError
from promu.evaluation.joint_scores import joint_counts, score_joint
from promu.schema import Post, Quintuple, Relation, with_quintuples

A, B, C = (0, 1), (1, 2), (2, 4)
TEXT = Post("t", ("Ann", "Bob", "Big", "Club"))


def labelled(*items: Quintuple, tokens: tuple[str, ...] = TEXT.tokens) -> Post:
    return with_quintuples(replace(TEXT, tokens=tokens), items)


PEERS = Quintuple(A, "per", B, "per", "peer")
MEMBER = Quintuple(A, "per", C, "org", "member_of")


def test_each_way_of_counting() -> None:
    gold = [labelled(PEERS, MEMBER), labelled(MEMBER)]
    predicted = [
        labelled(Quintuple(B, "per", A, "per", "peer"), MEMBER),  # the other way round
        labelled(Quintuple(A, "per", C, "loc", "member_of")),  # a wrong type
    ]
    scores = score_joint(gold, predicted, ["race"])
    assert (scores.micro.correct, scores.micro.predicted, scores.micro.gold) == (1, 3, 3)
    assert scores.undirected.correct == 2
    assert (scores.entities.correct, scores.entities.predicted, scores.entities.gold) == (4, 5, 5)
    assert (scores.relations.correct, scores.relations.predicted, scores.relations.gold) == (2, 3, 3)
    assert scores.per_relation["member_of"].f1 == pytest.approx(50.0) and scores.per_relation["peer"].f1 == 0
    assert scores.macro_present == pytest.approx(25.0) and scores.macro_all == pytest.approx(50 / 3)
    assert joint_counts(gold, predicted).tolist() == [[1, 2, 2], [0, 1, 1]]
    assert list(scores.per_relation) == ["member_of", "peer", "race"]
    assert scores.to_dict()["f1"] == pytest.approx(100 / 3)


def test_a_relation_that_is_only_predicted_lowers_one_macro_figure() -> None:
    scores = score_joint([labelled(PEERS)], [labelled(PEERS, MEMBER)])
    assert scores.macro_present == 100.0 and scores.macro_all == 50.0


def test_a_name_that_occurs_twice_is_told_by_its_place() -> None:
    words = ("Ann", "Bob", "and", "Ann")
    first, second = (Quintuple(span, "per", B, "per", "peer") for span in ((0, 1), (3, 4)))
    scores = score_joint([labelled(first, tokens=words)], [labelled(second, tokens=words)])
    assert scores.micro.correct == 0 and scores.strings.correct == 1


def test_none_counts_for_nothing() -> None:
    post = labelled(PEERS)
    with_none = replace(post, relations=(*post.relations, Relation(1, 0, "None")))
    assert score_joint([with_none], [post]).micro.f1 == 100.0


def test_texts_that_come_again_with_other_labels() -> None:
    gold = [labelled(PEERS), labelled(MEMBER), labelled(PEERS, tokens=("x", "y", "z", "w"))]
    both = [labelled(PEERS, MEMBER)] * 2 + gold[2:]
    scores = score_joint(gold, both)
    assert (scores.repeated.texts, scores.repeated.posts) == (1, 2)
    assert scores.micro.f1 == pytest.approx(100 * 2 * 3 / (5 + 3)) and scores.repeated.merged.f1 == 100.0


def test_posts_must_line_up() -> None:
    with pytest.raises(InputError, match="predictions must hold the gold's posts"):
        score_joint([labelled(PEERS)], [labelled(PEERS, tokens=("x", "y", "z", "w"))])


def test_published_gold_against_itself(shared: Path) -> None:
    gold = read_jmere(shared / "data" / "jmere_fewshot" / "seed_17" / "test.json")
    scores = score_joint(gold, gold)
    assert (scores.micro.f1, scores.micro.gold, scores.macro_all, scores.macro_present) == (100.0, 640, 100.0, 100.0)
    assert (scores.strings.correct, scores.strings.predicted, scores.strings.gold) == (638, 642, 640)
    assert round(scores.strings.f1, 2) == 99.53, "the figure that the published scorer is known to give"
    assert (scores.repeated.texts, scores.repeated.posts) == (15, 30)
