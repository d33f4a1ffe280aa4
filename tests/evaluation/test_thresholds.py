"""Precision and recall by threshold, against counting by hand and scikit-learn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from promu.evaluation.thresholds import POINTS, best_threshold, precision_recall, thinned_curve

answers = st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]), st.booleans()), min_size=1, max_size=30)


@given(judged=answers, missed=st.integers(0, 5))
def test_each_point_is_what_is_left_at_its_threshold(judged: list[tuple[float, bool]], missed: int) -> None:
    gold = sum(right for _, right in judged) + missed
    curve = precision_recall(judged, gold)
    assert [point.threshold for point in curve] == sorted({score for score, _ in judged}, reverse=True)
    for threshold, precision, recall, f1 in curve:
        kept = [right for score, right in judged if score >= threshold]
        assert precision == pytest.approx(100 * sum(kept) / len(kept))
        assert recall == pytest.approx(100 * sum(kept) / gold if gold else 0.0)
        assert f1 == pytest.approx(200 * sum(kept) / (len(kept) + gold))
    threshold = best_threshold(curve)
    kept = [right for score, right in judged if score >= threshold]
    assert 200 * sum(kept) / (len(kept) + gold) == pytest.approx(max(point.f1 for point in curve))


def test_it_is_scikit_learn_s_curve() -> None:
    judged = [(0.9, True), (0.8, False), (0.8, True), (0.6, False), (0.3, True), (0.2, False)]
    precisions, recalls, thresholds = precision_recall_curve([right for _, right in judged], [s for s, _ in judged])
    for threshold, precision, recall, _ in precision_recall(judged, 3):
        (place,) = [number for number, one in enumerate(thresholds) if one == threshold]
        assert (precision, recall) == pytest.approx((100 * precisions[place], 100 * recalls[place]))


def test_a_threshold_lies_between_scores_and_keeps_all_where_nothing_is_gained() -> None:
    assert best_threshold(precision_recall([(0.9, True), (0.5, False)], 1)) == pytest.approx(0.7)
    assert best_threshold(precision_recall([(0.9, True), (0.5, True)], 2)) == 0.25, "all are worth keeping"
    assert best_threshold(precision_recall([(0.9, False), (0.5, False)], 2)) == 0.25, "as good as any"
    assert best_threshold(precision_recall([], 2)) == 0.0


def test_a_long_curve_is_thinned_to_its_ends_and_points_between() -> None:
    curve = precision_recall([(number / 1000, number % 3 == 0) for number in range(1000)], 400)
    thin = thinned_curve(curve)
    assert len(thin) == POINTS and (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert thinned_curve(curve[:5]) == curve[:5]
