"""Mean and spread over seeds."""

from __future__ import annotations

import pytest

from promu.errors import InputError
from promu.evaluation.summary import summarise


def test_spread_is_the_sample_deviation() -> None:
    summary = summarise([1.0, 2.0, 3.0])
    assert (summary.mean, summary.std, summary.n) == (2.0, 1.0, 3)
    assert str(summary) == "2.00 ± 1.00"


def test_one_run_has_no_spread() -> None:
    summary = summarise([83.07])
    assert summary.std is None and str(summary) == "83.07"


@pytest.mark.parametrize("runs", [[], [1.0, float("nan")], [float("inf")]])
def test_no_run_or_a_failed_one_is_refused(runs: list[float]) -> None:
    with pytest.raises(InputError):
        summarise(runs)
