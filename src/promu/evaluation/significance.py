"""Significance of a difference in F1 between two systems: a paired bootstrap over posts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError
from promu.evaluation.counts import Counts

PostCounts = NDArray[np.int64]
"""(N, 3): correct, predicted and gold items of each of N posts."""


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
        low, high: The middle 95 % of the differences over the samples.
        p: Two-sided p-value of "there is no difference".
        runs, other_runs: Runs (seeds) of each system.
        posts, samples, seed: How many posts, how many samples of as many, drawn with which seed.
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
    samples: int
    seed: int

    @property
    def method(self) -> str:
        """How p-value and interval were computed, in words."""
        runs = "" if self.runs == self.other_runs == 1 else f", means over {self.runs} and {self.other_runs} runs"
        return f"paired bootstrap over {self.posts:,} posts, {self.samples:,} samples, seed {self.seed}{runs}"

    def __str__(self) -> str:
        return (
            f"{self.difference:+.2f} points of F1 ({self.f1:.2f} against {self.other:.2f}), "
            f"95 % interval {self.low:+.2f} to {self.high:+.2f}, p = {self.p:.4f} two-sided"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures, unrounded, and the method, ready for JSON."""
        record = asdict(self) | {"interval": [self.low, self.high], "method": self.method}
        del record["low"], record["high"]
        return record


def paired_bootstrap(
    system: Sequence[PostCounts], other: Sequence[PostCounts], samples: int = SAMPLES, seed: int = 0
) -> Comparison:
    """Compare two systems by drawing posts with replacement, the same posts for both.

    A sample is as large as the test set. In each sample, F1 of a run is computed from summed counts, then the mean over
    the runs of a system, then the difference of the systems. The interval is the 2.5th to the 97.5th percentile of
    these differences. For the p-value they are shifted to a mean of zero: it is
    (1 + number of samples with abs(sampled - observed) >= abs(observed)) / (1 + samples).

    Args:
        system: One (N, 3) array of counts by post for each of its runs, as `entity_counts` and `relation_counts` give.
        other: The same of the system to compare with; it may have another number of runs.
        samples, seed: How many samples are drawn, with which seed.

    Raises:
        InputError: A system has no run, the runs are about different numbers of posts, or `samples` is below 1.
    """
    if samples < 1:
        raise InputError(f"{samples} bootstrap samples were asked for; at least 1 is needed")
    if not system or not other:
        raise InputError("a comparison needs at least one run of each of the two systems")
    sizes = {len(run) for run in (*system, *other)}
    if len(sizes) > 1 or 0 in sizes:
        raise InputError(f"the runs are about {sorted(sizes)} posts; compare runs on the same posts, at least one")
    posts = sizes.pop()
    first, second = (np.stack(runs, axis=1).astype(np.float64) for runs in (system, other))  # (N, runs, 3)
    f1, reference = float(_mean_f1(first.sum(0))), float(_mean_f1(second.sum(0)))
    observed = f1 - reference
    sampled = np.concatenate(
        [_weighted_f1(weights, first) - _weighted_f1(weights, second) for weights in _weights(posts, samples, seed)]
    )
    low, high = np.percentile(sampled, [2.5, 97.5])
    # differences are exact to about 1e-13; two that are equal on paper must be equal here
    far = int((np.abs(sampled - observed) >= abs(observed) - 1e-9).sum())
    return Comparison(
        f1=f1,
        other=reference,
        difference=observed,
        low=float(low),
        high=float(high),
        p=(1 + far) / (1 + samples),
        runs=len(system),
        other_runs=len(other),
        posts=posts,
        samples=samples,
        seed=seed,
    )


def _weights(posts: int, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each post is in each sample: (samples of a block, posts)."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // posts)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        drawn = rng.integers(posts, size=(rows, posts)) + np.arange(rows)[:, None] * posts
        yield np.bincount(drawn.ravel(), minlength=rows * posts).reshape(rows, posts).astype(np.float64)


def _weighted_f1(weights: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (B, N) and counts (N, runs, 3) to the F1 of each sample (B,)."""
    return _mean_f1((weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:]))


def _mean_f1(summed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Summed counts (..., runs, 3) to F1 (...), mean over runs; 0 where nothing is predicted and nothing gold."""
    total = summed[..., 1] + summed[..., 2]
    f1: NDArray[np.float64] = (200.0 * summed[..., 0] / np.where(total > 0, total, 1.0)).mean(-1)
    return f1
