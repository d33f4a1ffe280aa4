"""Entity-level scores: an entity counts when its span and its type are exact.

`tags_to_entities` turns tags into entities by either of seqeval's two readings; from there on entities are sets, and
precision, recall and F1 equal seqeval's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from promu.errors import InputError
from promu.evaluation.counts import Counts, check_aligned, split_by_group
from promu.schema import Entity, Post

Mode = Literal["strict", "default"]

_Key = tuple[int, int, int, str]
"""Position of the post, first word, word after the last, type."""


@dataclass(frozen=True, slots=True)
class NerScores:
    """Entity-level scores of one set of predictions.

    Attributes:
        micro: Over all entities, span and type exact: the figure of the literature.
        spans: The same with types ignored.
        per_type: By entity type, alphabetical; types that occur only in the predictions are listed too.
        per_group: `micro` within each group of posts; empty without groups.
        posts: How many posts were scored.
    """

    micro: Counts
    spans: Counts
    per_type: dict[str, Counts]
    per_group: dict[str, Counts] = field(default_factory=dict)
    posts: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; precision, recall and f1 of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "posts": self.posts,
            "spans": self.spans.to_dict(),
            "per_type": {name: counts.to_dict() for name, counts in self.per_type.items()},
            "per_group": {name: counts.to_dict() for name, counts in self.per_group.items()},
        }


def score_entities(
    gold: Sequence[Post], predicted: Sequence[Post], groups: Mapping[str, str] | None = None
) -> NerScores:
    """Score predicted entities against gold, post by post.

    Args:
        gold: Posts with their gold entities.
        predicted: The same posts, same tokens and same order, with predicted entities.
        groups: Group name by gold post id, for figures by group ("text decides", "picture decides").

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
        per_group={
            name: Counts.of(_flat([gold_keys[i] for i in members]), _flat([predicted_keys[i] for i in members]))
            for name, members in positions.items()
        },
        posts=len(gold),
    )


def tags_to_entities(tags: Sequence[str], mode: Mode = "strict") -> list[Entity]:
    """Read BIO tags as entities.

    Args:
        tags: One tag a word: `O`, `B-<type>` or `I-<type>`.
        mode: What to make of an I- that continues nothing (after O, at the start, or after another type).
            `strict` (IOB2) drops it and what it leads, `default` lets it open an entity, as conlleval does.

    Raises:
        InputError: A tag has none of the three forms.
    """
    entities: list[Entity] = []
    start: int | None = None
    current: str | None = None
    for position, tag in enumerate(tags):
        prefix, kind = _split_tag(tag, position)
        if start is not None and prefix == "I" and kind == current:
            continue
        if start is not None:
            entities.append(Entity(start, position, current))
            start = current = None
        if prefix == "B" or (prefix == "I" and mode == "default"):
            start, current = position, kind
    if start is not None:
        entities.append(Entity(start, len(tags), current))
    return entities


def _split_tag(tag: str, position: int) -> tuple[str, str | None]:
    if tag == "O":
        return "O", None
    prefix, dash, kind = tag.partition("-")
    if prefix not in ("B", "I") or not dash or not kind:
        raise InputError(f"tag {tag!r} of word {position + 1} is no tag; tags are O, B-<type> and I-<type>")
    return prefix, kind


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
