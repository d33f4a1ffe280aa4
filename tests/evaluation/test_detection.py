"""Recall and precision of boxes, worked out by hand."""

from __future__ import annotations

import pytest
from tests.evaluation.detection import match_regions, overlap, score_detections

from promu.errors import InputError
from promu.schema import Region


def dog(x0: float, y0: float, x1: float, y1: float, score: float = 1.0) -> Region:
    return Region((x0, y0, x1, y1), "dog", score)


def test_overlap_by_hand() -> None:
    assert overlap(dog(0, 0, 10, 10), dog(0, 0, 10, 10)) == 1
    assert overlap(dog(0, 0, 10, 10), dog(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap(dog(0, 0, 10, 10), dog(2, 2, 4, 4)) == pytest.approx(4 / 100)
    assert overlap(dog(0, 0, 10, 10), dog(10, 0, 20, 10)) == overlap(dog(0, 0, 1, 1), dog(5, 5, 6, 6)) == 0


def test_the_surest_box_chooses_first() -> None:
    gold = [dog(0, 0, 10, 10), dog(0, 0, 10, 8)]
    # the less sure box fits the first exactly, but the surer one comes first and takes it (1 > .8);
    # what is left then takes the second gold box, with which it overlaps by .8
    assert match_regions(gold, [dog(0, 0, 10, 10, 0.5), dog(0, 0, 10, 10, 0.9)]) == {0: 1, 1: 0}
    # a gold box is found once: a third box has nothing left
    assert match_regions(gold[:1], [dog(0, 0, 10, 10, 0.5), dog(0, 0, 10, 10, 0.9)]) == {0: 1}


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    assert match_regions([dog(0, 0, 10, 10)], [dog(0, 0, 10, 5)]) == {0: 0}
    assert match_regions([dog(0, 0, 10, 10)], [dog(0, 0, 10, 4.9)]) == {}
    assert match_regions([dog(0, 0, 10, 10)], [dog(0, 0, 10, 4.9)], least=0.4) == {0: 0}


def test_scores_by_hand() -> None:
    cat = Region((0, 0, 200, 100), "cat")
    gold = {"a": [dog(0, 0, 10, 10), cat], "b": [dog(0, 0, 40, 40), dog(50, 50, 60, 60)], "c": []}
    detected = {
        "a": [dog(0, 0, 10, 9, 0.9), Region((0, 0, 200, 90), "dog", 0.8)],  # found; right place, wrong label
        "b": [dog(0, 0, 40, 40, 0.7), dog(0, 0, 40, 39, 0.6)],  # found; twice
        "c": [dog(0, 0, 5, 5, 0.5)],  # nothing is there
    }
    scores = score_detections(gold, detected)
    assert (scores.micro.correct, scores.micro.predicted, scores.micro.gold) == (2, 5, 4)
    assert scores.micro.recall == 50 and scores.micro.precision == 40
    assert (scores.boxes.correct, scores.boxes.predicted, scores.boxes.gold) == (3, 5, 4)
    assert scores.per_class["cat"].to_dict()["recall"] == 0 and scores.per_class["cat"].predicted == 0
    assert (scores.per_class["dog"].correct, scores.per_class["dog"].predicted, scores.per_class["dog"].gold) == (
        2,
        5,
        3,
    )
    # of the two small boxes one is found, the medium one is, the large one is not
    assert scores.recall_by_size == {"small": 50, "medium": 100, "large": 0}
    assert scores.images == 3 and scores.to_dict()["recall"] == 50
    assert "large" not in score_detections({"a": [dog(0, 0, 3, 3)]}, {"a": []}).recall_by_size


def test_gold_against_itself_is_perfect_and_against_nothing_is_nothing() -> None:
    gold = {"a": [dog(0, 0, 10, 10), dog(1, 0, 10, 10), dog(0, 0, 10, 10)]}
    assert score_detections(gold, gold).micro.f1 == 100
    assert score_detections(gold, {"a": []}).micro.f1 == 0


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="the gold holds no image"):
        score_detections({}, {})
    with pytest.raises(InputError, match="image 'b' is missing among the detected regions"):
        score_detections({"a": [], "b": []}, {"a": []})
    with pytest.raises(InputError, match="image 'c' is missing among the gold regions"):
        score_detections({"a": []}, {"a": [], "c": []})
