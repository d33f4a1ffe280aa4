"""Relation scores: None counts for accuracy only; figures by hand, and against scikit-learn's independent formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from promu.errors import InputError
from promu.evaluation.relation import relation_counts, relation_frequency, score_relations
from promu.schema import NO_RELATION, Entity, Post, Relation

LABELS = [NO_RELATION, "/per/per/couple", "/per/org/member_of", "/loc/loc/contain"]


def pair(label: str, number: int = 0, tail_end: int = 4) -> Post:
    return Post(
        str(number),
        ("Ann", "and", "Bob", "Lee"),
        entities=(Entity(0, 1, "per"), Entity(2, tail_end, "per")),
        relations=(Relation(0, 1, label),),
    )


def posts(labels: list[str]) -> list[Post]:
    return [pair(label, number) for number, label in enumerate(labels)]


def test_figures_by_hand() -> None:
    couple, member, contain = LABELS[1:]
    gold = posts([couple, couple, member, NO_RELATION, NO_RELATION, contain])
    predicted = posts([couple, member, member, NO_RELATION, couple, NO_RELATION])
    scores = score_relations(gold, predicted, dict(zip("012345", ["image"] * 2 + ["text"] * 4, strict=True)))
    # Four predicted, four gold, two right; three of six pairs right with None among them.
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (50.0, 50.0, 50.0)
    assert scores.accuracy == 50.0
    # couple 1 right of 2 and 2, member 1 of 2 and 1, contain 0 of 0 and 1.
    assert scores.macro_precision == pytest.approx((50 + 50 + 0) / 3)
    assert scores.macro_recall == pytest.approx((50 + 100 + 0) / 3)
    assert scores.macro_f1 == pytest.approx((50 + 200 / 3 + 0) / 3)
    assert list(scores.per_relation) == [couple, contain, member]
    assert scores.per_group["image"].f1 == 50.0 and scores.group_accuracy == {"image": 50.0, "text": 50.0}
    assert scores.to_dict()["per_group"]["text"]["accuracy"] == 50.0
    assert scores.confusion == {
        contain: {NO_RELATION: 1},
        member: {member: 1},
        couple: {couple: 1, member: 1},
        NO_RELATION: {NO_RELATION: 1, couple: 1},
    }
    assert relation_counts(gold, predicted).tolist() == [
        [1, 1, 1],
        [0, 1, 1],
        [1, 1, 1],
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert relation_frequency(gold) == {couple: 2, member: 1, contain: 1}


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30))
@pytest.mark.slow
def test_scores_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, predicted = [p[0] for p in pairs], [p[1] for p in pairs]
    scores = score_relations(posts(gold), posts(predicted))
    micro = {"labels": LABELS[1:], "average": "micro", "zero_division": 0}
    precision, recall, f1, _ = precision_recall_fscore_support(gold, predicted, **micro)
    assert scores.micro.precision == pytest.approx(100 * precision)
    assert scores.micro.recall == pytest.approx(100 * recall)
    assert scores.micro.f1 == pytest.approx(100 * f1)
    assert scores.accuracy == pytest.approx(100 * accuracy_score(gold, predicted))
    present = sorted(set(gold) - {NO_RELATION})
    if present:
        macro = f1_score(gold, predicted, labels=present, average="macro", zero_division=0)
        assert scores.macro_f1 == pytest.approx(100 * macro)
    table = confusion_matrix(gold, predicted, labels=LABELS)
    assert [[scores.confusion.get(row, {}).get(name, 0) for name in LABELS] for row in LABELS] == table.tolist()


def test_predicting_none_everywhere_scores_nothing_but_accuracy() -> None:
    scores = score_relations(posts([NO_RELATION, LABELS[1]]), posts([NO_RELATION, NO_RELATION]))
    assert scores.micro.f1 == 0.0 and scores.accuracy == 50.0


def test_the_pair_must_be_the_same_and_its_order_too() -> None:
    with pytest.raises(InputError, match=r"post 1 .*head and tail at words"):
        score_relations([pair(LABELS[1])], [pair(LABELS[1], tail_end=3)])
    turned = Post(
        "0", pair(LABELS[1]).tokens, entities=pair(LABELS[1]).entities, relations=(Relation(1, 0, LABELS[1]),)
    )
    with pytest.raises(InputError, match="head and tail"):
        score_relations([pair(LABELS[1])], [turned])


def test_a_post_without_its_one_relation_is_refused() -> None:
    bare = Post("0", pair(LABELS[1]).tokens)
    with pytest.raises(InputError, match="the prediction has 0 relations"):
        score_relations([pair(LABELS[1])], [bare])
