"""Relation scores over given entity pairs, as MNRE's literature counts them.

`None` is no relation: a pair that is `None` on both sides adds to accuracy and to nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promu.errors import InputError, counted
from promu.evaluation.counts import Counts, check_aligned, counts_by_group, counts_by_label, mean, nest, split_by_group
from promu.evaluation.significance import PostCounts, post_counts
from promu.schema import NO_RELATION, Post

_Pair = tuple[str, str]
"""Gold and predicted relation of one pair of entities."""


@dataclass(frozen=True, slots=True)
class RelationScores:
    """Scores of one relation for each pair.

    Attributes:
        micro: Over all relations but `None`: the figure of the literature.
        accuracy: Share of pairs, `None` included, that got their relation, 0 to 100.
        macro_precision, macro_recall, macro_f1: Mean over the relations that occur in the gold, `None` left out.
        per_relation: By relation, most frequent in the gold first; `None` left out.
        confusion: Gold relation, then predicted relation, `None` among them: how often. Cells of 0 are left out.
        per_group: `micro` within each group of posts; empty without groups.
        group_accuracy: `accuracy` within each group.
        pairs: How many pairs were scored.
    """

    micro: Counts
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_relation: dict[str, Counts]
    confusion: dict[str, dict[str, int]]
    per_group: dict[str, Counts] = field(default_factory=dict)
    group_accuracy: dict[str, float] = field(default_factory=dict)
    pairs: int = 0

    def table(self) -> dict[str, Counts]:
        """The rows of a table: all, then each relation."""
        return {"all": self.micro, **self.per_relation}

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; precision, recall and f1 of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "pairs": self.pairs,
            "accuracy": self.accuracy,
            "macro": {"precision": self.macro_precision, "recall": self.macro_recall, "f1": self.macro_f1},
            "per_relation": {name: counts.to_dict() for name, counts in self.per_relation.items()},
            "confusion": self.confusion,
            "per_group": {
                name: {**counts.to_dict(), "accuracy": self.group_accuracy[name]}
                for name, counts in self.per_group.items()
            },
        }


def score_relations(
    gold: Sequence[Post], predicted: Sequence[Post], groups: Mapping[str, str] | None = None
) -> RelationScores:
    """Score one predicted relation a post against the gold one.

    Args:
        gold: Posts with exactly one relation each, `None` among them (MNRE's pairs).
        predicted: The same pairs, same tokens, same head and tail, same order, with predicted relations.
        groups: Group name by gold post id, for figures by group.

    Raises:
        InputError: The posts or their pairs do not line up, or a post has no or several relations.
    """
    pairs = relation_pairs(gold, predicted)
    rows = split_by_group(gold, groups)
    sides = _items(pairs)
    per_relation = counts_by_label(*sides, str)
    present = [counts for counts in per_relation.values() if counts.gold]
    return RelationScores(
        micro=Counts.of_posts(*sides),
        accuracy=_accuracy(pairs),
        macro_precision=mean([counts.precision for counts in present]),
        macro_recall=mean([counts.recall for counts in present]),
        macro_f1=mean([counts.f1 for counts in present]),
        per_relation=per_relation,
        confusion=nest(Counter(pairs)),
        per_group=counts_by_group(rows, *sides),
        group_accuracy={name: _accuracy([pairs[row] for row in members]) for name, members in rows.items()},
        pairs=len(pairs),
    )


def relation_counts(gold: Sequence[Post], predicted: Sequence[Post]) -> PostCounts:
    """(N, 3) correct, predicted and gold relations of each pair, `None` left out, for `compare_runs`.

    Raises:
        InputError: As `score_relations`.
    """
    return post_counts(*_items(relation_pairs(gold, predicted)))


def _items(pairs: Sequence[_Pair]) -> tuple[list[list[str]], list[list[str]]]:
    """What is counted of each pair on both sides: its relation, or nothing."""
    gold, predicted = ([[] if pair[side] == NO_RELATION else [pair[side]] for pair in pairs] for side in (0, 1))
    return gold, predicted


def relation_frequency(posts: Sequence[Post]) -> dict[str, int]:
    """How often each relation occurs, `None` left out."""
    counts = Counter(relation.type for post in posts for relation in post.relations)
    return {name: count for name, count in counts.items() if name != NO_RELATION}


def relation_pairs(gold: Sequence[Post], predicted: Sequence[Post]) -> list[_Pair]:
    """Gold and predicted relation of each pair of entities, `None` among them.

    Raises:
        InputError: The pairs do not line up, or a post has no or several relations.
    """
    check_aligned(gold, predicted)
    pairs: list[_Pair] = []
    for number, (expected, actual) in enumerate(zip(gold, predicted, strict=True), start=1):
        expected_spans, expected_type = _only_relation(expected, number, "gold")
        actual_spans, actual_type = _only_relation(actual, number, "prediction")
        if expected_spans != actual_spans:
            raise InputError(
                f"post {number} (gold id {expected.id!r}): the prediction is about head and tail at words "
                f"{actual_spans}, the gold at {expected_spans}; predictions must hold the gold's pairs in its order"
            )
        pairs.append((expected_type, actual_type))
    return pairs


def _only_relation(post: Post, number: int, side: str) -> tuple[tuple[tuple[int, int], tuple[int, int]], str]:
    if len(post.relations) != 1:
        found = counted(len(post.relations), "relation")
        raise InputError(
            f"post {number} (id {post.id!r}): the {side} has {found}; relations over given pairs are scored one a "
            f"post, {NO_RELATION!r} where there is none"
        )
    relation = post.relations[0]
    head, tail = post.entities[relation.head], post.entities[relation.tail]
    return ((head.start, head.end), (tail.start, tail.end)), relation.type


def _accuracy(pairs: Sequence[_Pair]) -> float:
    return 100.0 * sum(gold == predicted for gold, predicted in pairs) / len(pairs)
