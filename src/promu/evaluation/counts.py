"""Precision, recall and F1 from three counts: the arithmetic that every scorer here shares."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from promu.errors import InputError
from promu.schema import Post


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
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "correct": self.correct,
            "predicted": self.predicted,
            "gold": self.gold,
        }


def check_aligned(gold: Sequence[Post], predicted: Sequence[Post]) -> None:
    """Make sure that the predictions are about the gold's posts, in the gold's order.

    Raises:
        InputError: There is no gold post, the numbers of posts differ, or a post has other tokens than its gold;
            the first such post is named.
    """
    if not gold:
        raise InputError("the gold holds no post, so there is nothing to score against")
    # Tokens before numbers: a post left out shows as the first post that differs, which is what its owner looks for.
    for number, (expected, found) in enumerate(zip(gold, predicted, strict=False), start=1):
        if expected.tokens != found.tokens:
            raise InputError(
                f"post {number} (gold id {expected.id!r}) reads {_excerpt(found.tokens)} in the predictions and "
                f"{_excerpt(expected.tokens)} in the gold; predictions must hold the gold's posts in the gold's order"
            )
    if len(gold) != len(predicted):
        raise InputError(
            f"the predictions hold {len(predicted)} posts and the gold holds {len(gold)}; "
            "there must be one prediction for every gold post, in the same order"
        )


def split_by_group(gold: Sequence[Post], groups: Mapping[str, str]) -> dict[str, list[int]]:
    """The positions of the posts of each group, groups in alphabetical order.

    Args:
        gold: The posts, in order.
        groups: Group name by post id; ids of other posts do no harm.

    Raises:
        InputError: A post has no group.
    """
    positions: dict[str, list[int]] = {}
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


def _excerpt(tokens: tuple[str, ...], limit: int = 60) -> str:
    text = " ".join(tokens)
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")
