"""Significance of a difference in F1 between two systems, over posts and over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from promu.errors import InputError, counted
from promu.evaluation.counts import Counts

PostCounts = NDArray[np.int64]
"""(N, 3): correct, predicted and gold items of each of N posts."""

Design = Literal["independent", "paired", "own posts"]
"""How the runs of two systems belong together; see `compare_runs`."""

SAMPLES = 10_000
_BLOCK = 2**22
"""Posts drawn at once, over samples: 32 MiB of integers."""


def post_counts(gold: Iterable[Iterable[Hashable]], predicted: Iterable[Iterable[Hashable]]) -> PostCounts:
    """The counts of each post, from the items of each post on both sides."""
    return np.array([astuple(Counts.of(*sides)) for sides in zip(gold, predicted, strict=True)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same posts.

    Attributes:
        f1, other: Micro F1 of the two, 0 to 100; with several runs a system the mean over its runs.
        difference: `f1` - `other`.
        low, high: The 95 % interval of the difference.
        p: Two-sided p-value of "there is no difference".
        runs, other_runs: Runs (seeds) of each system.
        posts: Test posts, of all seeds together if each seed has its own.
        method: How interval and p-value were computed, in words.
    """

    f1: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    runs: int
    other_runs: int
    posts: int
    method: str

    def __str__(self) -> str:
        return (
            f"{self.difference:+.2f} points of F1 ({self.f1:.2f} against {self.other:.2f}), "
            f"95 % interval {self.low:+.2f} to {self.high:+.2f}, p = {self.p:.4f} two-sided"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures, unrounded, and the method, ready for JSON."""
        record = asdict(self) | {"interval": [self.low, self.high]}
        del record["low"], record["high"]
        return record


def compare_runs(
    system: Sequence[PostCounts],
    other: Sequence[PostCounts],
    design: Design = "independent",
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two systems in mean F1 over their runs.

    **One run each**: a paired bootstrap over posts. A sample draws as many posts as there are, with replacement, the
    same for both systems. F1 is computed from summed counts. The interval is the 2.5th to the 97.5th percentile of the
    differences. For the p-value they are shifted to a mean of zero: it is
    (1 + number of samples with abs(sampled - observed) >= abs(observed)) / (1 + samples). It says whether other posts
    would change the verdict on these two models. It says nothing about other seeds.

    **Several runs**: a t test of the mean difference, t = difference / standard error. The posts of several seeds are
    never pooled as if they were posts of one: with seeds that differ by 2.4 to 4 points, that calls 7 to 30 % of the
    differences significant at the 5 % level where there is none. Nor are seeds resampled: samples of three seeds have
    two thirds of the variance, which leaves 7 to 11 %. The standard error depends on the design.

    - `own posts`: run i of both systems has the same seed, and each seed has its own test posts, as in a study in which
      a seed draws its own world. The n differences, one a seed, are independent and contain the noise of posts as well
      as of seeds. Standard error: s / sqrt(n), with n - 1 degrees of freedom (Student's paired t test). Three seeds
      agree by chance now and then. So the difference must be significant by the error over posts alone, too: p is the
      larger of the two, and the interval the wider one.
    - `paired`: run i of both systems has the same seed, all on the same posts. The squared standard error is s² / n
      over the seeds plus the variance that other posts would give the mean difference. Both are random factors, as
      subjects and items are (Clark 1973, The language-as-fixed-effect fallacy). The critical value lies between that of
      n - 1 degrees of freedom and that of many, by the share of each variance (`t_test`).
    - `independent`: all on the same posts; the runs of the two systems have nothing else in common. As `paired`, with
      the variances of both systems in place of that of the differences, and Satterthwaite's degrees of freedom (Welch).
      If a system has one run, its variance is taken to be that of the other.

    The variance over posts is that of the linearised F1 (delta method); it needs no samples and equals that of the
    bootstrap up to terms of order 1 / N.

    Assumptions: seeds are drawn independently, and the differences of seeds are about normal. The p-value is that of
    one comparison; among twenty one is expected below .05 by chance.

    Args:
        system: One (N, 3) array of counts by post for each of its runs, as `entity_counts` and `relation_counts` give.
        other: The same of the system to compare with.
        design: How the runs belong together.
        samples, seed: How many samples the bootstrap of single runs draws, with which seed.

    Raises:
        InputError: A system has no run; the runs are about different numbers of posts; runs that belong together
            differ in number; there are several runs and a single post; or `samples` is below 1.

    Example:
        ```python
        import numpy as np

        from promu.evaluation.significance import compare_runs

        rng = np.random.default_rng(0)

        def run(share: float) -> np.ndarray:  # 500 posts with one entity each, this share of them found
            return np.stack([rng.random(500) < share, np.ones(500), np.ones(500)], axis=1).astype(np.int64)

        better, worse = [run(0.80), run(0.82), run(0.78)], [run(0.60), run(0.63), run(0.59)]
        assert compare_runs(better, worse, "own posts").p < 0.05
        ```
    """
    posts = _check(system, other, design, samples)
    f1, reference = (np.array([_f1(run.sum(axis=0)) for run in runs]) for runs in (system, other))
    difference = float(f1.mean() - reference.mean())
    if len(system) == len(other) == 1:
        low, high, p = _bootstrap(system[0], other[0], difference, samples, seed)
        drawn = counted(samples, "sample")
        method = f"paired bootstrap over {counted(posts, 'post')}, {drawn}, seed {seed}; one run of each system"
    else:
        tests = _seed_tests(system, other, f1, reference, design)
        lows, highs, ps = zip(*(t_test(difference, *parts) for parts in tests), strict=True)
        low, high = max(min(lows), -100.0), min(max(highs), 100.0)
        p = max(*ps, 2.0 ** (1 - posts))  # exchanging the systems post by post gives no rarer result
        runs = f"{len(system)} and {len(other)} runs" if design == "independent" else f"{len(system)} seeds"
        where = "each with its own posts" if design == "own posts" else "and the posts"
        method = (
            f"t test over {runs} {where}: {counted(posts, 'post')}, {tests[0][0][1]:.1f} degrees of freedom over seeds"
        )
    means = float(f1.mean()), float(reference.mean())
    return Comparison(*means, difference, low, high, p, len(system), len(other), posts, method)


def _check(system: Sequence[PostCounts], other: Sequence[PostCounts], design: Design, samples: int) -> int:
    """The number of test posts, if the runs can be compared."""
    if samples < 1:
        raise InputError(f"the number of bootstrap samples is {samples}; at least 1 is needed")
    if not system or not other:
        raise InputError("a comparison needs at least one run of each of the two systems")
    if design != "independent" and len(system) != len(other):
        raise InputError(f"{len(system)} and {len(other)} runs have not the same seeds; give one run of each seed")
    alike = list(zip(system, other, strict=True)) if design == "own posts" else [(*system, *other)]
    for runs in alike:
        sizes = sorted({len(run) for run in runs})
        if len(sizes) > 1 or 0 in sizes:
            raise InputError(f"the runs are about {sizes} posts; compare runs on the same posts, at least one")
        if sizes == [1] and len(system) + len(other) > 2:
            raise InputError("several runs on a single post cannot be compared; score them on more posts")
    return sum(len(runs[0]) for runs in alike)


Part = tuple[float, float]
"""A variance, and its degrees of freedom."""


def t_test(difference: float, *parts: Part) -> tuple[float, float, float]:
    """95 % interval and two-sided p-value of a difference whose variance is a sum of estimated parts.

    With one part it is Student's test. With several, the critical value is the mean of theirs, weighted by the
    variances (Cochran & Cox 1950), which is never too small. p is the level at which the difference is on the edge.

    Example:
        ```python
        from promu.evaluation.significance import t_test

        low, high, p = t_test(4.303, (1.0, 2.0))  # the 97.5th percentile of t with 2 degrees of freedom
        assert abs(low) < 0.001 and abs(p - 0.05) < 0.0001
        ```
    """
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return difference, difference, float(difference == 0)
    if len(parts) > 1 and any(variance == 0 for variance, _ in parts):
        return t_test(difference, *(part for part in parts if part[0]))

    def reach(tail: float) -> float:
        return sum(variance * -float(stdtrit(freedom, tail)) for variance, freedom in parts) / math.sqrt(total)

    def tail(freedom: float) -> float:
        return float(stdtr(freedom, -abs(difference) / math.sqrt(total)))

    # what is sought is between the tails of the parts
    low, high = (end(tail(freedom) for _, freedom in parts) for end in (min, max))
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if reach(middle) > abs(difference) else (low, middle)
    return difference - reach(0.025), difference + reach(0.025), 2 * high


def _seed_tests(
    system: Sequence[PostCounts],
    other: Sequence[PostCounts],
    f1: NDArray[np.float64],
    reference: NDArray[np.float64],
    design: Design,
) -> list[list[Part]]:
    """The tests that a difference must pass in a design of `compare_runs`, each as the parts of its variance."""
    count, other_count = len(system), len(other)
    if design == "own posts":
        of_posts = sum(_variance(_influence(a) - _influence(b)) for a, b in zip(system, other, strict=True)) / count**2
        return [[(_spread(f1 - reference) / count, count - 1.0)], [(of_posts, sum(map(len, system)) - float(count))]]
    if design == "paired":
        seeds = (_spread(f1 - reference) / count, count - 1.0)
    elif min(count, other_count) == 1:
        several = f1 if count > 1 else reference
        seeds = (_spread(several) * (1 / count + 1 / other_count), len(several) - 1.0)
    else:
        parts = [(_spread(runs) / len(runs), len(runs) - 1.0) for runs in (f1, reference)]
        variance, squares = sum(part for part, _ in parts), sum(part**2 / freedom for part, freedom in parts)
        seeds = (variance, variance**2 / squares if squares else 1.0)
    means = [np.stack([_influence(run) for run in runs]).mean(axis=0) for runs in (system, other)]
    return [[seeds, (_variance(means[0] - means[1]), len(means[0]) - 1.0)]]


def _spread(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1))


def _influence(counts: PostCounts) -> NDArray[np.float64]:
    """What each post of a run adds to F1 in first order (N,); it sums to 0."""
    total = float(counts[:, 1:].sum())
    if not total:
        return np.zeros(len(counts))
    correct, items = counts[:, 0], counts[:, 1] + counts[:, 2]
    influence: NDArray[np.float64] = (200.0 * correct - _f1(counts.sum(axis=0)) * items) / total
    return influence


def _variance(influence: NDArray[np.float64]) -> float:
    """Variance of an F1, or a difference of F1s, over posts, from the influence of each post (N,)."""
    return float((influence**2).sum()) * len(influence) / (len(influence) - 1)


def interval_over_posts(run: PostCounts) -> tuple[float, float]:
    """95 % interval of the F1 of one run over test posts, 0 to 100: F1 ± 1.96 standard errors of the linearised F1.

    It says what other test posts would change. It does not cover other seeds.

    Raises:
        InputError: There are fewer than two posts.

    Example:
        ```python
        import numpy as np

        from promu.evaluation.significance import interval_over_posts

        half_right = np.array([[1, 1, 1]] * 50 + [[0, 1, 1]] * 50)
        low, high = interval_over_posts(half_right)
        assert abs(low - 40.2) < 0.1 and abs(high - 59.8) < 0.1
        ```
    """
    if len(run) < 2:
        raise InputError("an interval over posts needs at least two posts")
    f1, reach = float(_f1(run.sum(axis=0))), 1.96 * math.sqrt(_variance(_influence(run)))
    return max(f1 - reach, 0.0), min(f1 + reach, 100.0)


def _bootstrap(
    system: PostCounts, other: PostCounts, observed: float, samples: int, seed: int
) -> tuple[float, float, float]:
    """Interval and p-value of the paired bootstrap over posts."""
    posts = len(system)
    counts = np.concatenate([system, other], axis=1).astype(np.float64)  # (N, 6)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // posts)
    sampled = np.empty(samples)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        drawn = rng.integers(posts, size=(rows, posts)) + np.arange(rows)[:, None] * posts
        weights = np.bincount(drawn.ravel(), minlength=rows * posts).reshape(rows, posts).astype(np.float64)
        summed = weights @ counts
        sampled[start : start + rows] = _f1(summed[:, :3]) - _f1(summed[:, 3:])
    low, high = np.percentile(sampled, [2.5, 97.5])
    # differences are exact to about 1e-13; two that are equal on paper must be equal here
    far = int((np.abs(sampled - observed) >= abs(observed) - 1e-9).sum())
    return float(low), float(high), (1 + far) / (1 + samples)


def _f1(summed: NDArray[Any]) -> Any:
    """Summed counts (..., 3) to F1 (...), 0 to 100; 0 where nothing is predicted and nothing gold."""
    total = summed[..., 1] + summed[..., 2]
    return 200.0 * summed[..., 0] / np.where(total > 0, total, 1)
