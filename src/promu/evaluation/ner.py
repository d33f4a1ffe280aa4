"""Entity-level scores: an entity counts when its span and its type are exact.

Entities are sets of (post, span, type), so that precision, recall and F1 equal seqeval's. How tags become entities, by
either of seqeval's two modes, is the business of `promu.corpora.conll`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from promu.errors import InputError
from promu.evaluation.counts import Counts, check_aligned, nest, split_by_group
from promu.evaluation.significance import PostCounts
from promu.schema import Post

MISSED = "(missed)"
"""In the place of the predicted type: nothing was predicted on a gold span."""

SPURIOUS = "(spurious)"
"""In the place of the gold type: something was predicted where no gold span is."""

_Key = tuple[int, int, int, str]
"""Position of the post, first word, word after the last, type."""


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
    gold_keys, predicted_keys = _keys(gold, "gold"), _keys(predicted, "predicted")
    positions = split_by_group(gold, groups) if groups is not None else {}
    types = sorted({key[3] for keys in (gold_keys, predicted_keys) for post in keys for key in post})
    all_gold, all_predicted = _flat(gold_keys), _flat(predicted_keys)
    return NerScores(
        micro=Counts.of(all_gold, all_predicted),
        spans=Counts.of((key[:3] for key in all_gold), (key[:3] for key in all_predicted)),
        per_type={
            name: Counts.of((k for k in all_gold if k[3] == name), (k for k in all_predicted if k[3] == name))
            for name in types
        },
        confusion=_confusion(all_gold, all_predicted),
        per_group={
            name: Counts.of(_flat([gold_keys[i] for i in members]), _flat([predicted_keys[i] for i in members]))
            for name, members in positions.items()
        },
        posts=len(gold),
    )


def entity_counts(gold: Sequence[Post], predicted: Sequence[Post], types: Collection[str] | None = None) -> PostCounts:
    """What each post adds to the micro figure, for `paired_bootstrap`.

    Args:
        gold: Posts with their gold entities.
        predicted: The same posts with predicted entities.
        types: Count entities of these types only, the tail for instance.

    Returns:
        (N, 3) correct, predicted and gold entities of each post.

    Raises:
        InputError: As `score_entities`.
    """
    check_aligned(gold, predicted)
    rows = []
    for expected, actual in zip(_keys(gold, "gold"), _keys(predicted, "predicted"), strict=True):
        counts = Counts.of(*([key for key in keys if types is None or key[3] in types] for keys in (expected, actual)))
        rows.append((counts.correct, counts.predicted, counts.gold))
    return np.array(rows, dtype=np.int64)


def entity_frequency(posts: Sequence[Post]) -> dict[str, int]:
    """How often each entity type occurs."""
    return dict(Counter(entity.type for post in posts for entity in post.entities if entity.type is not None))


def _confusion(gold: Sequence[_Key], predicted: Sequence[_Key]) -> dict[str, dict[str, int]]:
    cells: Counter[tuple[str, str]] = Counter((key[3], key[3]) for key in set(gold) & set(predicted))
    wrong: dict[tuple[int, int, int], tuple[list[str], list[str]]] = {}
    for side, keys, others in ((0, gold, set(predicted)), (1, predicted, set(gold))):
        for key in sorted(set(keys) - others):
            wrong.setdefault(key[:3], ([], []))[side].append(key[3])
    for expected, actual in wrong.values():  # lists, for where a span carries several types
        cells.update((left or SPURIOUS, right or MISSED) for left, right in zip_longest(expected, actual))
    return nest(cells)


def _keys(posts: Sequence[Post], side: str) -> list[list[_Key]]:
    keys: list[list[_Key]] = []
    for position, post in enumerate(posts):
        keys.append([])
        for entity in post.entities:
            if entity.type is None:
                raise InputError(
                    f"post {position + 1} (id {post.id!r}): the {side} entity {post.words(entity)!r} has no type, "
                    "so it cannot be scored"
                )
            keys[-1].append((position, entity.start, entity.end, entity.type))
    return keys


def _flat(keys: Sequence[Sequence[_Key]]) -> list[_Key]:
    return [key for post in keys for key in post]
