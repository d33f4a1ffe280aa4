"""Comparisons: by hand, against the enumeration of every sample there can be, and how often they are wrong."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from promu.errors import InputError
from promu.evaluation.counts import Counts
from promu.evaluation.significance import Design, PostCounts, compare_runs, t_test


def counts(*rows: tuple[int, int, int]) -> PostCounts:
    return np.array(rows, dtype=np.int64)


def f1(run: PostCounts) -> float:
    return Counts(*(int(part) for part in run.sum(0))).f1


# one run of each system: the bootstrap


def enumerate_samples(first: PostCounts, second: PostCounts) -> tuple[float, list[float]]:
    """The difference found, and that of each of the N ** N samples, in plain Python."""
    posts = range(len(first))
    samples = [list(sample) for sample in itertools.product(posts, repeat=len(first))]
    return f1(first) - f1(second), [f1(first[sample]) - f1(second[sample]) for sample in samples]


def test_two_posts_by_hand() -> None:
    # Post 1: only the first system is right; post 2: both are. The four samples and their differences:
    # 11 -> 100 - 0, 12 and 21 -> 100 - 50, 22 -> 100 - 100. Found: 50. A move to no difference gives
    # 50, 0, 0 and -50: half of the samples are as far out as 50.
    first, second = counts((1, 1, 1), (1, 1, 1)), counts((0, 1, 1), (1, 1, 1))
    result = compare_runs([first], [second], samples=20_000)
    assert (result.f1, result.other, result.difference) == (100.0, 50.0, 50.0)
    assert result.p == pytest.approx(0.5, abs=0.02)
    assert (result.low, result.high) == (0.0, 100.0)
    assert (result.posts, result.runs, result.other_runs) == (2, 1, 1)
    assert result.method == "paired bootstrap over 2 posts, 20,000 samples, seed 0; one run of each system"


@settings(max_examples=15)
@given(data=st.data())
def test_equal_to_the_enumeration_of_all_samples(data: st.DataObject) -> None:
    row = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)).map(
        lambda three: (three[0], three[0] + three[1], three[0] + three[2])
    )
    run = st.lists(row, min_size=4, max_size=4).map(lambda rows: counts(*rows))
    first, second = data.draw(run), data.draw(run)
    found, differences = enumerate_samples(first, second)
    result = compare_runs([first], [second], samples=20_000)
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


def test_equal_seeds_draw_equal_samples() -> None:
    first, second = counts((1, 1, 1), (0, 1, 2), (2, 3, 2)), counts((0, 1, 1), (1, 1, 2), (2, 2, 2))
    assert compare_runs([first], [second]) == compare_runs([first], [second])
    assert compare_runs([first], [second], seed=1).p != compare_runs([first], [second]).p


def test_ten_thousand_samples_of_three_thousand_posts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    runs = [np.minimum(rng.integers(0, 3, (3257, 3)), 1 + np.zeros((1, 3), dtype=np.int64)) for _ in range(2)]
    started = time.process_time()
    assert compare_runs([runs[0]], [runs[1]]).posts == 3257
    assert time.process_time() - started < 20  # about two; the machine may be busy


# several runs: the t test


def run_of(rng: np.random.Generator, right: NDArray[np.float64]) -> PostCounts:
    """A run on posts of one to three entities, each found with the probability of its post; as many are predicted."""
    gold = 1 + np.arange(len(right)) % 3
    return np.stack([rng.binomial(gold, np.clip(right, 0.02, 0.98)), gold, gold], axis=1)


def test_own_posts_is_the_paired_t_test_of_the_seeds() -> None:
    rng = np.random.default_rng(0)
    shares = [(0.8, 0.7), (0.75, 0.5), (0.9, 0.86)]
    first = [run_of(rng, np.full(400, share)) for share, _ in shares]
    second = [run_of(rng, np.full(300 + 100, share)) for _, share in shares]
    result = compare_runs(first, second, "own posts")
    expected = stats.ttest_rel([f1(run) for run in first], [f1(run) for run in second])
    assert result.p == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert (result.runs, result.other_runs, result.posts) == (3, 3, 1200)
    assert (
        result.method == "t test over 3 seeds each with its own posts: 1,200 posts, 2.0 degrees of freedom over seeds"
    )


def test_seeds_that_agree_by_chance_are_no_proof_where_posts_are_none() -> None:
    run, other = counts(*[(1, 1, 1)] * 60, *[(0, 1, 1)] * 40), counts(*[(0, 1, 1)] * 50, *[(1, 1, 1)] * 50)
    result = compare_runs([run] * 3, [other] * 3, "own posts")
    assert result.difference == pytest.approx(10.0)
    # of 100 posts 50 are right in one system alone and 40 in the other alone
    of_one_seed = 100 * math.sqrt((0.9 - 0.1**2) / 99)
    reach = of_one_seed / math.sqrt(3) * stats.t.ppf(0.975, 297)
    assert [result.low, result.high] == pytest.approx([10 - reach, 10 + reach])


@pytest.mark.parametrize("design", ["paired", "own posts"])
def test_systems_that_do_not_differ_have_no_evidence_of_it(design: Design) -> None:
    run = counts((1, 2, 1), (0, 0, 3), (2, 2, 2))
    for runs in ([run], [run, run, run]):
        result = compare_runs(runs, runs, design)
        assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)


def bootstrap_variance(first: list[PostCounts], second: list[PostCounts], samples: int = 4000) -> float:
    """Variance over samples of posts of the difference of mean F1."""
    rng = np.random.default_rng(0)
    posts = len(first[0])
    found = []
    for _ in range(samples):
        drawn = rng.integers(posts, size=posts)
        found.append(np.mean([f1(run[drawn]) for run in first]) - np.mean([f1(run[drawn]) for run in second]))
    return float(np.var(found))


def test_the_error_over_posts_is_that_of_a_bootstrap_and_seeds_come_on_top() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(0.6, 0.3, 250)
    first, second = ([run_of(rng, hard + shift) for shift in shifts] for shifts in ((0.1, 0.12, 0.08), (0.0, 0.03)))
    result = compare_runs(first, second)
    of_posts = bootstrap_variance(first, second, 1500)
    parts = [np.var([f1(run) for run in runs], ddof=1) / len(runs) for runs in (first, second)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2)  # Satterthwaite's
    assert f"{freedom:.1f} degrees of freedom over seeds" in result.method
    # Cochran and Cox's critical value: the mean of both, by variance
    critical = (sum(parts) * stats.t.ppf(0.975, freedom) + of_posts * 1.97) / (sum(parts) + of_posts)
    assert result.high - result.difference == pytest.approx(critical * math.sqrt(sum(parts) + of_posts), rel=0.05)


def test_a_lone_run_is_given_the_spread_of_the_other_system() -> None:
    rng = np.random.default_rng(2)
    first, second = [run_of(rng, np.full(2000, share)) for share in (0.7, 0.75, 0.8)], [run_of(rng, np.full(2000, 0.6))]
    result, turned = compare_runs(first, second), compare_runs(second, first)
    of_seeds = np.std([f1(run) for run in first], ddof=1) * math.sqrt(1 + 1 / 3) * stats.t.ppf(0.975, 2)
    assert result.high - result.difference == pytest.approx(of_seeds, rel=0.1)  # posts add little
    assert (turned.difference, turned.p) == pytest.approx((-result.difference, result.p))


def test_a_clear_difference_is_significant_and_turns_round() -> None:
    rng = np.random.default_rng(0)
    first, second = ([run_of(rng, np.full(400, share)) for _ in range(3)] for share in (0.9, 0.5))
    designs: tuple[Design, ...] = ("independent", "paired", "own posts")
    for design in designs:
        for size in (1, 3):
            result, turned = (
                compare_runs(one[:size], two[:size], design) for one, two in ((first, second), (second, first))
            )
            assert result.p < 0.01 and result.low > 0
            assert (turned.difference, turned.low, turned.high, turned.p) == pytest.approx(
                (-result.difference, -result.high, -result.low, result.p)
            )
            assert "two-sided" in str(result) and result.to_dict()["interval"] == [result.low, result.high]


@settings(max_examples=60)
@given(
    difference=st.floats(-40, 40),
    parts=st.lists(st.tuples(st.floats(0.01, 50), st.floats(1, 500)), min_size=1, max_size=3),
)
def test_interval_and_p_value_agree(difference: float, parts: list[tuple[float, float]]) -> None:
    low, high, p = t_test(difference, *parts)
    assert (p < 0.05) == (low > 0 or high < 0) or abs(p - 0.05) < 1e-6
    tails = [2 * stats.t.sf(abs(difference) / math.sqrt(sum(v for v, _ in parts)), freedom) for _, freedom in parts]
    assert min(tails) * (1 - 1e-6) <= p <= max(tails) * (1 + 1e-6)
    assert t_test(difference, *parts, (0.0, 3.0)) == (low, high, p), "a part without variance adds nothing"


def test_without_any_spread_there_is_a_difference_or_none() -> None:
    assert t_test(1.0, (0.0, 2.0)) == (1.0, 1.0, 0.0) and t_test(0.0, (0.0, 2.0))[2] == 1.0


def test_two_posts_are_never_proof() -> None:
    right, wrong = counts((1, 1, 1), (1, 1, 1)), counts((0, 1, 1), (0, 1, 1))
    assert compare_runs([right] * 3, [wrong] * 3, "paired").p == 0.5


def test_what_cannot_be_compared() -> None:
    one, two = counts((1, 1, 1)), counts((1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match=r"about \[1, 2\] posts"):
        compare_runs([one], [two])
    with pytest.raises(InputError, match=r"about \[1, 2\] posts"):
        compare_runs([two, one], [two, two], "own posts")
    with pytest.raises(InputError, match="at least one run"):
        compare_runs([one], [])
    with pytest.raises(InputError, match="the number of bootstrap samples is 0"):
        compare_runs([one], [one], samples=0)
    with pytest.raises(InputError, match="2 and 1 runs have not the same seeds"):
        compare_runs([two, two], [two], "paired")
    with pytest.raises(InputError, match="several runs on a single post"):
        compare_runs([one, one], [one, one])


# how often a comparison is wrong where there is no difference, and how often it finds one


def alarms(
    design: Design, spread: float, trials: int, seeds: tuple[int, int] = (3, 3), gain: float = 0.0, posts: int = 500
) -> float:
    """Share of trials with p < .05. `spread` is the SD over seeds of the true difference, `gain` its mean, in points.

    Posts differ in difficulty, and each system has posts of its own that it finds hard, whatever its seed.
    """
    rng = np.random.default_rng(7)
    one_system = spread / 100 / math.sqrt(2)
    found = 0
    for _ in range(trials):
        worlds = max(seeds) if design == "own posts" else 1
        hard = [rng.normal(0, 0.2, posts) + rng.normal(0, 0.15, (2, posts)) for _ in range(worlds)]
        runs: list[list[PostCounts]] = [
            [
                run_of(
                    rng, 0.6 + (gain / 100 if side == 0 else 0.0) + rng.normal(0, one_system) + hard[i % worlds][side]
                )
                for i in range(seeds[side])
            ]
            for side in (0, 1)
        ]
        found += compare_runs(runs[0], runs[1], design).p < 0.05
    return found / trials


@pytest.mark.parametrize("spread", [2.4, 4.0])
@pytest.mark.parametrize("design", ["own posts", "paired", "independent"])
def test_three_seeds_of_500_posts_give_a_false_alarm_in_less_than_six_percent(design: Design, spread: float) -> None:
    assert alarms(design, spread, 1000) < 0.06


@pytest.mark.slow
def test_nor_does_it_when_posts_add_nothing_to_what_seeds_differ_by() -> None:
    # the hardest case: then the seeds alone decide, and the test is Student's
    assert alarms("own posts", 12.0, 1500, posts=1000) < 0.06


def test_the_posts_of_all_seeds_in_one_bootstrap_would_give_many() -> None:
    """What this guards against: seeds' posts pooled as if they were of one run."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        shares = 0.6 + rng.normal(0, 0.04 / math.sqrt(2), (2, 3))
        pooled = [np.concatenate([run_of(rng, np.full(500, share)) for share in side]) for side in shares]
        found += compare_runs([pooled[0]], [pooled[1]], samples=300).p < 0.05
    assert found / 150 > 0.12


def test_it_still_finds_what_is_there() -> None:
    assert alarms("own posts", 2.4, 300, gain=20.0) > 0.95
    assert alarms("paired", 2.4, 300, gain=20.0) > 0.95
    assert alarms("independent", 2.4, 300, gain=10.0) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "seeds"),
    [
        ("own posts", (3, 3)), ("own posts", (2, 2)), ("own posts", (5, 5)), ("paired", (3, 3)), ("paired", (5, 5)),
        ("independent", (3, 3)), ("independent", (2, 2)), ("independent", (5, 5)), ("independent", (5, 2)),
        ("independent", (3, 1)), ("independent", (1, 3)),
    ],
)  # fmt: skip
def test_false_alarms_stay_below_six_percent_for_all_numbers_of_seeds(design: Design, seeds: tuple[int, int]) -> None:
    for spread in (0.0, 1.0, 2.4, 4.0):
        assert alarms(design, spread, 1500, seeds, posts=200) < 0.065
