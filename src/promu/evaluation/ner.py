"""Entity-level scores: an entity counts when its span and its type are exact.

Entities are sets of (post, span, type), so that precision, recall and F1 equal seqeval's. How tags become entities, by
either of seqeval's two modes, is the business of `promu.corpora.conll`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from promu.errors import InputError
from promu.evaluation.counts import Counts, check_aligned, counts_by_group, counts_by_label, nest, split_by_group
from promu.evaluation.significance import PostCounts, post_counts
from promu.schema import Post

MISSED = "(missed)"
"""In the place of the predicted type: nothing was predicted on a gold span."""

SPURIOUS = "(spurious)"
"""In the place of the gold type: something was predicted where no gold span is."""

_Item = tuple[int, int, str]
"""First word, word after the last, type."""


@dataclass(frozen=True, slots=True)
class NerScores:
    """Entity-level scores of one set of predictions.

    Attributes:
        micro: Over all entities, span and type exact: the figure of the literature.
        spans: The same with types ignored.
        per_type: By entity type, alphabetical; types that occur only in the predictions are listed too.
        confusion: Gold type, then predicted type, of what has the same span: how often. A gold span that nothing was
            predicted on is under `MISSED`, a predicted one that is none of the gold's under the gold type `SPURIOUS`.
            Cells of 0 are left out.
        per_group: `micro` within each group of posts; empty without groups.
        posts: How many posts were scored.
    """

    micro: Counts
    spans: Counts
    per_type: dict[str, Counts]
    confusion: dict[str, dict[str, int]]
    per_group: dict[str, Counts] = field(default_factory=dict)
    posts: int = 0

    def table(self) -> dict[str, Counts]:
        """The rows of a table: all, spans only, then each type."""
        return {"all": self.micro, "spans only": self.spans, **self.per_type}

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; precision, recall and f1 of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "posts": self.posts,
            "spans": self.spans.to_dict(),
            "per_type": {name: counts.to_dict() for name, counts in self.per_type.items()},
            "confusion": self.confusion,
            "per_group": {name: counts.to_dict() for name, counts in self.per_group.items()},
        }


def score_entities(
    gold: Sequence[Post], predicted: Sequence[Post], groups: Mapping[str, str] | None = None
) -> NerScores:
    """Score predicted entities against gold, post by post.

    Args:
        gold: Posts with their gold entities.
        predicted: The same posts, same tokens and same order, with predicted entities.
        groups: Group name by gold post id, for figures by group ("text decides", "image decides").

    Raises:
        InputError: The posts do not line up, an entity has no type, or a post has no group.
    """
    check_aligned(gold, predicted)
    sides = entity_items(gold, "gold"), entity_items(predicted, "predicted")
    return NerScores(
        micro=Counts.of_posts(*sides),
        spans=Counts.of_posts(*([[item[:2] for item in items] for items in side] for side in sides)),
        per_type=dict(sorted(counts_by_label(*sides, lambda item: item[2]).items())),
        confusion=_confusion(*sides),
        per_group=counts_by_group(split_by_group(gold, groups), *sides),
        posts=len(gold),
    )


def entity_counts(gold: Sequence[Post], predicted: Sequence[Post]) -> PostCounts:
    """(N, 3) correct, predicted and gold entities of each post, for `compare_runs`.

    Raises:
        InputError: As `score_entities`.
    """
    check_aligned(gold, predicted)
    return post_counts(entity_items(gold, "gold"), entity_items(predicted, "predicted"))


def entity_frequency(posts: Sequence[Post]) -> dict[str, int]:
    """How often each entity type occurs."""
    return dict(Counter(entity.type for post in posts for entity in post.entities if entity.type is not None))


def _confusion(gold: Sequence[Sequence[_Item]], predicted: Sequence[Sequence[_Item]]) -> dict[str, dict[str, int]]:
    cells: Counter[tuple[str, str]] = Counter()
    for sides in zip(gold, predicted, strict=True):
        right = set(sides[0]) & set(sides[1])
        cells.update((kind, kind) for _, _, kind in right)
        wrong: dict[tuple[int, int], tuple[list[str], list[str]]] = {}
        for side, items in enumerate(sides):
            for start, end, kind in sorted(set(items) - right):
                wrong.setdefault((start, end), ([], []))[side].append(kind)
        for expected, actual in wrong.values():  # lists, for where a span carries several types
            cells.update((left or SPURIOUS, found or MISSED) for left, found in zip_longest(expected, actual))
    return nest(cells)


def entity_items(posts: Sequence[Post], side: str) -> list[list[_Item]]:
    """Span and type of the entities of each post, in their order.

    Raises:
        InputError: An entity of this side has no type.
    """
    items: list[list[_Item]] = []
    for number, post in enumerate(posts, start=1):
        items.append([])
        for entity in post.entities:
            if entity.type is None:
                raise InputError(
                    f"post {number} (id {post.id!r}): the {side} entity {post.words(entity)!r} has no type, "
                    "so it cannot be scored"
                )
            items[-1].append((entity.start, entity.end, entity.type))
    return items
