"""From which score on an answer counts: precision and recall by threshold, and the threshold with the best F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POINTS = 200
"""Points of a curve that is stored; of a longer one evenly spread ones, the first and the last among them."""


class Point(NamedTuple):
    """What comes of leaving out answers with a score below `threshold`; figures from 0 to 100."""

    threshold: float
    precision: float
    recall: float
    f1: float


def precision_recall(judged: Sequence[tuple[float, bool]], gold: int) -> list[Point]:
    """Precision, recall and F1 at each score that occurs, the highest first.

    Args:
        judged: The score of each answer, 0 to 1, and whether it is right.
        gold: How many right answers there are, found or not.

    Example:
        ```python
        from promu.evaluation.thresholds import best_threshold, precision_recall

        curve = precision_recall([(0.9, True), (0.4, False), (0.6, True)], gold=3)
        assert [round(point.precision) for point in curve] == [100, 100, 67]
        assert best_threshold(curve) == 0.5
        ```
    """
    if not judged:
        return []
    values, hits = (np.asarray(side, dtype=np.float64) for side in zip(*judged, strict=True))
    order = np.argsort(-values, kind="stable")
    values, correct = values[order], np.cumsum(hits[order])
    last = np.append(values[1:] != values[:-1], True)  # equal scores are kept or left out together
    counts = ((float(values[place]), int(correct[place]), int(place) + 1) for place in np.flatnonzero(last))
    return [
        Point(score, 100 * found / given, 100 * found / gold if gold else 0.0, 200 * found / (given + gold))
        for score, found, given in counts
    ]


def best_threshold(curve: Sequence[Point]) -> float:
    """The threshold with the best F1, in the middle between two scores; of equal ones the lowest, which keeps most.

    Half the lowest score where all answers are worth keeping: of answers with lower scores the curve says nothing. So
    a relation of score .01 is no answer where the least certain one on dev had .15. 0 without a point.
    """
    if not curve:
        return 0.0
    best = max(range(len(curve)), key=lambda place: (curve[place].f1, place))
    following = curve[best + 1].threshold if best + 1 < len(curve) else 0.0
    return (curve[best].threshold + following) / 2


def thinned_curve(curve: Sequence[Point]) -> list[Point]:
    """At most `POINTS` points of a curve."""
    if len(curve) <= POINTS:
        return list(curve)
    return [curve[place] for place in np.linspace(0, len(curve) - 1, POINTS).round().astype(int)]
