"""Whether scores mean what they say: of the answers with score .8, eight in ten should be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

BINS = 15
"""As in Guo et al., ICML 2017 (arXiv:1706.04599)."""
COOLEST, HOTTEST = 0.05, 20.0
"""Temperatures beyond which no fit goes: where every answer of dev is right, none is low enough."""
STEPS = 40
"""Golden sections; each leaves .618 of the range, so that forty fix the temperature to eight digits."""


def expected_calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Mean distance, over answers, between score and share of right answers in bins of equal width.

    Args:
        scores: Of each answer, 0 to 1.
        right: Whether it was.

    Returns:
        0 (scores are what they say) to 1; None without answers.
    """
    if not len(scores):
        return None
    values, hits = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    surplus = np.bincount(bins, values - hits, BINS)
    return float(np.abs(surplus).sum() / len(values))


def log_loss(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Mean negative log likelihood, in nats, of what was right and what was not under the scores."""
    values = np.clip(np.asarray(scores, dtype=np.float64), 1e-12, 1 - 1e-12)
    return float(-np.where(np.asarray(right, dtype=bool), np.log(values), np.log1p(-values)).mean())


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature from `COOLEST` to `HOTTEST` with the least loss, by golden-section search over its logarithm.

    Args:
        loss: Of a temperature; falls, then rises.
    """
    share = (math.sqrt(5) - 1) / 2
    low, high = math.log(COOLEST), math.log(HOTTEST)
    places = [high - share * (high - low), low + share * (high - low)]
    losses = [loss(math.exp(place)) for place in places]
    for _ in range(STEPS):
        if losses[0] <= losses[1]:
            high, places, losses = places[1], [0.0, places[0]], [0.0, losses[0]]
            places[0] = high - share * (high - low)
            losses[0] = loss(math.exp(places[0]))
        else:
            low, places, losses = places[0], [places[1], 0.0], [losses[1], 0.0]
            places[1] = low + share * (high - low)
            losses[1] = loss(math.exp(places[1]))
    return math.exp((low + high) / 2)
