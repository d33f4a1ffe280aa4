"""The paired bootstrap: by hand, against the enumeration of every sample there can be, and quick."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promu.errors import InputError
from promu.evaluation.counts import Counts
from promu.evaluation.significance import PostCounts, paired_bootstrap


def counts(*rows: tuple[int, int, int]) -> PostCounts:
    return np.array(rows, dtype=np.int64)


def enumerate_samples(first: list[PostCounts], second: list[PostCounts]) -> tuple[float, list[float]]:
    """The difference found, and that of each of the N ** N samples, in plain Python."""

    def f1(runs: list[PostCounts], sample: tuple[int, ...]) -> float:
        return sum(Counts(*(int(sum(run[i, part] for i in sample)) for part in range(3))).f1 for run in runs) / len(
            runs
        )

    posts = range(len(first[0]))
    differences = [f1(first, sample) - f1(second, sample) for sample in itertools.product(posts, repeat=len(posts))]
    return f1(first, tuple(posts)) - f1(second, tuple(posts)), differences


def test_two_posts_by_hand() -> None:
    # Post 1: only the first system is right; post 2: both are. The four samples and their differences:
    # 11 -> 100 - 0, 12 and 21 -> 100 - 50, 22 -> 100 - 100. Found: 50. A move to no difference gives
    # 50, 0, 0 and -50: half of the samples are as far out as 50.
    first, second = counts((1, 1, 1), (1, 1, 1)), counts((0, 1, 1), (1, 1, 1))
    result = paired_bootstrap([first], [second], samples=20_000)
    assert (result.f1, result.other, result.difference) == (100.0, 50.0, 50.0)
    assert result.p == pytest.approx(0.5, abs=0.02)
    assert (result.low, result.high) == (0.0, 100.0)
    assert (result.posts, result.samples, result.runs, result.other_runs) == (2, 20_000, 1, 1)


@settings(max_examples=15)
@given(data=st.data())
def test_equal_to_the_enumeration_of_all_samples(data: st.DataObject) -> None:
    row = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)).map(
        lambda three: (three[0], three[0] + three[1], three[0] + three[2])
    )
    runs = st.lists(st.lists(row, min_size=4, max_size=4).map(lambda rows: counts(*rows)), min_size=1, max_size=2)
    first, second = data.draw(runs), data.draw(runs)
    found, differences = enumerate_samples(first, second)
    result = paired_bootstrap(first, second, samples=20_000)
    assert result.difference == pytest.approx(found)
    exact = sum(abs(difference - found) >= abs(found) - 1e-9 for difference in differences) / len(differences)
    assert result.p == pytest.approx(exact, abs=0.02)
    # the percentiles of a discrete distribution: as much lies outside as may, give or take chance
    outside = [
        sum(difference < result.low - 1e-9 for difference in differences),
        sum(difference > result.high + 1e-9 for difference in differences),
    ]
    beyond = [
        sum(difference <= result.low + 1e-9 for difference in differences),
        sum(difference >= result.high - 1e-9 for difference in differences),
    ]
    assert max(outside) / len(differences) <= 0.03 and min(beyond) / len(differences) >= 0.02


def test_systems_that_do_not_differ_have_no_evidence_of_it() -> None:
    run = counts((1, 2, 1), (0, 0, 3), (2, 2, 2))
    result = paired_bootstrap([run], [run])
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_is_significant_and_turns_round() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.9
    wrong = rng.random(400) < 0.5
    first, second = (np.stack([hit, np.ones(400), np.ones(400)], -1).astype(np.int64) for hit in (right, wrong))
    result, turned = paired_bootstrap([first], [second]), paired_bootstrap([second], [first])
    assert result.p == pytest.approx(1 / 10_001) and result.low > 0
    assert (turned.difference, turned.low, turned.high, turned.p) == pytest.approx(
        (-result.difference, -result.high, -result.low, result.p)
    )
    assert "two-sided" in str(result) and result.method.startswith("paired bootstrap over 400 posts, 10,000 samples")
    assert result.to_dict()["interval"] == [result.low, result.high]


def test_equal_seeds_draw_equal_samples() -> None:
    first, second = counts((1, 1, 1), (0, 1, 2), (2, 3, 2)), counts((0, 1, 1), (1, 1, 2), (2, 2, 2))
    assert paired_bootstrap([first], [second]) == paired_bootstrap([first], [second])
    assert paired_bootstrap([first], [second], seed=1).p != paired_bootstrap([first], [second]).p


def test_ten_thousand_samples_of_three_thousand_posts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    runs = [np.minimum(rng.integers(0, 3, (3257, 3)), 1 + np.zeros((1, 3), dtype=np.int64)) for _ in range(2)]
    started = time.process_time()
    assert paired_bootstrap([runs[0]], [runs[1]]).samples == 10_000
    assert time.process_time() - started < 20  # about two; the machine may be busy


def test_what_cannot_be_compared() -> None:
    one, two = counts((1, 1, 1)), counts((1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match=r"about \[1, 2\] posts"):
        paired_bootstrap([one], [two])
    with pytest.raises(InputError, match="at least one run"):
        paired_bootstrap([one], [])
    with pytest.raises(InputError, match="0 bootstrap samples"):
        paired_bootstrap([one], [one], samples=0)
