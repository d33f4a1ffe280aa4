"""Precision, recall and F1 from three counts: the arithmetic that every scorer here shares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from promu.errors import InputError, counted
from promu.schema import Post

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items were predicted, how many are gold, and how many are both.

    `precision`, `recall` and `f1` run from 0 to 100, unrounded. A ratio without a denominator is 0, as seqeval has it.
    """

    correct: int
    predicted: int
    gold: int

    @classmethod
    def of(cls, gold: Iterable[Hashable], predicted: Iterable[Hashable]) -> Counts:
        """Count two collections of items; an item given twice counts once."""
        gold_set, predicted_set = set(gold), set(predicted)
        return cls(len(gold_set & predicted_set), len(predicted_set), len(gold_set))

    @classmethod
    def of_posts(cls, gold: Iterable[Iterable[Hashable]], predicted: Iterable[Iterable[Hashable]]) -> Counts:
        """Count the items of all posts; an item given twice in one post counts once."""
        return cls.of(
            *({(post, item) for post, items in enumerate(side) for item in items} for side in (gold, predicted))
        )

    @property
    def precision(self) -> float:
        return 100.0 * self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return 100.0 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        # 2PR / (P + R) written in counts: one rounding, and nothing to divide by zero but the empty case.
        total = self.predicted + self.gold
        return 200.0 * self.correct / total if total else 0.0

    def to_dict(self) -> dict[str, float | int]:
        """Figures and the counts behind them, ready for JSON."""
        return {name: getattr(self, name) for name in ("precision", "recall", "f1", "correct", "predicted", "gold")}


def counts_by_label(
    gold: Sequence[Sequence[Item]],
    predicted: Sequence[Sequence[Item]],
    label: Callable[[Item], str],
    known: Iterable[str] = (),
) -> dict[str, Counts]:
    """Counts of the items of each label, the most frequent in the gold first; known labels are listed in any case."""
    names = {label(item) for side in (gold, predicted) for items in side for item in items} | set(known)
    table = {
        name: Counts.of_posts(
            *([[item for item in items if label(item) == name] for items in side] for side in (gold, predicted))
        )
        for name in names
    }
    return dict(sorted(table.items(), key=lambda row: (-row[1].gold, row[0])))


def counts_by_group(
    groups: Mapping[str, Sequence[int]], gold: Sequence[Iterable[Hashable]], predicted: Sequence[Iterable[Hashable]]
) -> dict[str, Counts]:
    """Counts of the posts of each group, from the groups that `split_by_group` returns and the items of all posts."""
    return {
        name: Counts.of_posts([gold[row] for row in rows], [predicted[row] for row in rows])
        for name, rows in groups.items()
    }


def mean(values: Sequence[float]) -> float:
    """The mean of some figures; 0 without any."""
    return sum(values) / len(values) if values else 0.0


def check_aligned(gold: Sequence[Post], predicted: Sequence[Post]) -> None:
    """Make sure that the predictions are about the gold's posts, in the gold's order.

    Raises:
        InputError: There is no gold post, the numbers of posts differ, or a post has other tokens than its gold;
            the first such post is named.
    """
    if not gold:
        raise InputError("the gold holds no post, so there is nothing to score against")

    def excerpt(post: Post) -> str:
        text = " ".join(post.tokens)
        return repr(text if len(text) <= 60 else text[:57] + "...")

    # Tokens before numbers: a post left out shows as the first post that differs, which is what its owner looks for.
    for number, (expected, actual) in enumerate(zip(gold, predicted, strict=False), start=1):
        if expected.tokens != actual.tokens:
            raise InputError(
                f"post {number} (gold id {expected.id!r}) reads {excerpt(actual)} in the predictions and "
                f"{excerpt(expected)} in the gold; predictions must hold the gold's posts in the gold's order"
            )
    if len(gold) != len(predicted):
        raise InputError(
            f"the predictions hold {counted(len(predicted), 'post')} and the gold holds {len(gold):,}; "
            "there must be one prediction for every gold post, in the same order"
        )


def split_by_group(gold: Sequence[Post], groups: Mapping[str, str] | None) -> dict[str, list[int]]:
    """The positions of the posts of each group, groups in alphabetical order; none without groups.

    `groups` is the group's name by post id. Ids of other posts do no harm.

    Raises:
        InputError: A post has no group.
    """
    positions: dict[str, list[int]] = {}
    if groups is None:
        return positions
    for position, post in enumerate(gold):
        if post.id not in groups:
            raise InputError(
                f"post {position + 1} (id {post.id!r}) has no group; give every gold post one, or leave the groups out"
            )
        positions.setdefault(groups[post.id], []).append(position)
    return dict(sorted(positions.items()))


def nest(cells: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """A confusion table as (gold, predicted) -> count to gold -> predicted -> count, both in alphabetical order."""
    table: dict[str, dict[str, int]] = {}
    for (gold, predicted), count in sorted(cells.items()):
        table.setdefault(gold, {})[predicted] = count
    return table


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n − 1) of `n` runs; `std` is None for a single run, which has no spread.

    `failed` runs gave no figure; the text then says over how many of all the mean is.
    """

    mean: float
    std: float | None
    n: int
    failed: int = 0

    def __str__(self) -> str:
        return format(self, ".2f")

    def __format__(self, spec: str) -> str:
        """`"83.07 ± 0.20"`, or `"83.07 ± 0.20 (2 of 3 runs)"` where runs failed; `spec` is that of both numbers."""
        spec = spec or ".2f"
        text = f"{self.mean:{spec}}" if self.std is None else f"{self.mean:{spec}} ± {self.std:{spec}}"
        return f"{text} ({self.n} of {self.n + self.failed} runs)" if self.failed else text

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures, unrounded, ready for JSON."""
        return asdict(self)


def summarise(values: Iterable[float | None]) -> Summary:
    """Summarise one figure over seeds; None stands for a run that failed.

    Raises:
        InputError: There is no value, or one is not a finite number.
    """
    given = list(values)
    runs = [float(value) for value in given if value is not None]
    if not runs:
        raise InputError("there is no run to summarise; give the figure of at least one seed")
    for value in runs:
        if not math.isfinite(value):
            raise InputError(f"a run's figure is {value}; leave the failed run out or run it again")
    spread = statistics.stdev(runs) if len(runs) > 1 else None
    return Summary(statistics.fmean(runs), spread, len(runs), len(given) - len(runs))


def summarise_tables(runs: Sequence[Mapping[str, Counts]]) -> dict[str, dict[str, Summary]]:
    """Precision, recall and F1 of each label over runs; a label that a run's table lacks has counts of 0 there."""
    table = {name: [run.get(name, Counts(0, 0, 0)) for run in runs] for run in runs for name in run}
    return {
        name: {part: summarise(getattr(counts, part) for counts in row) for part in ("precision", "recall", "f1")}
        for name, row in table.items()
    }


RAREST_RELATIONS = 8
"""The paper's eight tail relations (Figure 4)."""

RAREST_TYPES = 2
"""The paper's two less frequent entity types (Figure 4)."""


@dataclass(frozen=True, slots=True)
class TailScores:
    """Scores of the rarest labels, rarest first.

    `labels` and `frequency` are counts and occurrences by label, `micro` the counts of all of them together.
    `macro_f1` is the mean of those that occur in the gold; one that does not has no F1 to speak of.
    """

    labels: dict[str, Counts]
    frequency: dict[str, int]
    micro: Counts
    macro_f1: float

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; those of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "macro_f1": self.macro_f1,
            "labels": {
                name: {"frequency": self.frequency[name], **counts.to_dict()} for name, counts in self.labels.items()
            },
        }


def rarest(frequency: Mapping[str, int], count: int) -> list[str]:
    """The `count` rarest labels, rarest first, equally rare ones in alphabetical order."""
    return sorted(frequency, key=lambda name: (frequency[name], name))[:count]


def score_tail(per_label: Mapping[str, Counts], frequency: Mapping[str, int], count: int) -> TailScores:
    """Pick the `count` rarest labels out of a table of scores.

    Args:
        per_label: Counts by label: `per_type` of entity scores, `per_relation` of relation scores.
        frequency: How often each label occurs in the posts that say what is rare, training posts as a rule. A label of
            the table that never occurs there is not among the rarest: no system was taught it.
    """
    labels = {name: per_label.get(name, Counts(0, 0, 0)) for name in rarest(frequency, count)}
    micro = Counts(
        *(sum(getattr(counts, part) for counts in labels.values()) for part in ("correct", "predicted", "gold"))
    )
    macro_f1 = mean([counts.f1 for counts in labels.values() if counts.gold])
    return TailScores(labels, {name: frequency[name] for name in labels}, micro, macro_f1)
