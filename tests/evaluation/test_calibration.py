"""Whether scores mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.evaluation.calibration import COOLEST, HOTTEST, expected_calibration_error, fit_temperature, log_loss


def test_calibration_error_by_hand() -> None:
    # bins of 1/15: .90 and .91 share one (mean .905, half right), .5 stands alone (right)
    assert expected_calibration_error([0.90, 0.91, 0.5], [True, False, True]) == pytest.approx(
        (2 * abs(0.905 - 0.5) + abs(0.5 - 1)) / 3
    )
    assert expected_calibration_error([1.0, 1.0, 0.0], [True, True, False]) == 0
    assert expected_calibration_error([1.0], [False]) == 1
    assert expected_calibration_error([], []) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_is_the_textbook_sum(answers: list[tuple[float, bool]]) -> None:
    scores, right = [score for score, _ in answers], [hit for _, hit in answers]
    expected = 0.0
    for number in range(15):
        inside = [place for place, score in enumerate(scores) if min(int(score * 15), 14) == number]
        if inside:
            gap = np.mean([scores[place] for place in inside]) - np.mean([right[place] for place in inside])
            expected += len(inside) / len(scores) * abs(float(gap))
    assert expected_calibration_error(scores, right) == pytest.approx(expected, abs=1e-9)


def test_log_loss_by_hand() -> None:
    assert log_loss([0.5, 0.25], [True, False]) == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    assert math.isfinite(log_loss([1.0, 0.0], [False, True]))


@given(st.floats(math.log(0.06), math.log(15)))
def test_the_temperature_with_the_least_loss(place: float) -> None:
    assert fit_temperature(lambda value: (math.log(value) - place) ** 2) == pytest.approx(math.exp(place), rel=1e-4)


def test_a_temperature_stays_within_its_bounds() -> None:
    assert fit_temperature(lambda value: value) == pytest.approx(COOLEST, rel=1e-3)
    assert fit_temperature(lambda value: -value) == pytest.approx(HOTTEST, rel=1e-3)
