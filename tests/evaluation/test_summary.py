"""Mean and spread over seeds."""

from __future__ import annotations

import pytest

from promu.errors import InputError
from promu.evaluation.counts import Counts, summarise, summarise_tables


def test_spread_is_the_sample_deviation() -> None:
    summary = summarise([1.0, 2.0, 3.0])
    assert (summary.mean, summary.std, summary.n) == (2.0, 1.0, 3)
    assert str(summary) == "2.00 ± 1.00" and f"{summary:.1f}" == "2.0 ± 1.0"


def test_one_run_has_no_spread() -> None:
    summary = summarise([83.07])
    assert summary.std is None and str(summary) == "83.07"


def test_a_failed_run_is_said() -> None:
    summary = summarise([1.0, None, 3.0])
    assert (summary.mean, summary.n, summary.failed) == (2.0, 2, 1)
    assert str(summary) == "2.00 ± 1.41 (2 of 3 runs)"
    assert summary.to_dict() == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2, "failed": 1}
    assert str(summarise([None, 5.0])) == "5.00 (1 of 2 runs)"


@pytest.mark.parametrize("runs", [[], [None, None], [1.0, float("nan")], [float("inf")]])
def test_no_run_or_a_figure_that_is_none_is_refused(runs: list[float | None]) -> None:
    with pytest.raises(InputError):
        summarise(runs)


def test_counts_are_summarised_figure_by_figure() -> None:
    figures = summarise_tables([{"all": Counts(1, 2, 4)}, {"all": Counts(2, 2, 4)}])["all"]
    assert {name: summary.mean for name, summary in figures.items()} == {
        "precision": 75.0,
        "recall": 37.5,
        "f1": pytest.approx((100 / 3 + 200 / 3) / 2),
    }


def test_a_label_that_a_run_lacks_scores_nothing_there() -> None:
    table = summarise_tables([{"PER": Counts(1, 1, 1)}, {"PER": Counts(1, 1, 1), "LOC": Counts(0, 2, 0)}])
    assert table["PER"]["f1"].mean == 100.0 and table["PER"]["f1"].std == 0.0
    assert (table["LOC"]["f1"].mean, table["LOC"]["f1"].n) == (0.0, 2)
