"""Scores of grounded entities: what is named, of which type, and which region of the image shows it.

A predicted entity is right if its span and type are the gold's and its region is: where gold has boxes for the name, a
region with an IoU of at least .5 with any of them; where gold has none, no region. Of several predicted regions the one
with the highest score counts. Counted are, as micro precision, recall and F1: MNER (span, type), EEG, which is entity
extraction and grounding (span, region), and GMNER (span, type, region), the main figure (Yu et al., ACL 2023). With
FMNERG's fine types GMNER and MNER are counted with the coarse ones too (Wang et al., ACM MM 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from promu.corpora.gmner import COARSE_TYPES
from promu.errors import InputError
from promu.evaluation.counts import Counts, check_aligned, split_by_group
from promu.evaluation.ner import entity_items
from promu.evaluation.significance import PostCounts
from promu.schema import Post, Region

IOU = 0.5
"""With any gold box of a name, from which on a region is right."""


class _Grounded(NamedTuple):
    """An entity: the boxes that show it, in predictions one at most."""

    span: tuple[int, int]
    type: str
    regions: frozenset[Region]


@dataclass(frozen=True, slots=True)
class GroundedScores:
    """Scores of grounded entities.

    Attributes:
        micro: GMNER: span, type and region.
        mner: Span and type.
        eeg: Span and region.
        shown: Of the entities that the image shows, those with the same span that are said to be shown, anywhere.
        coarse: `GMNER` and `MNER` with FMNERG's coarse types; empty where the gold's types are not its fine ones.
        per_type: GMNER by type, alphabetical.
        posts: How many posts were scored.
        per_group: `micro` within each group of posts; empty without groups.
    """

    micro: Counts
    mner: Counts
    eeg: Counts
    shown: Counts
    coarse: dict[str, Counts]
    per_type: dict[str, Counts]
    posts: int
    per_group: dict[str, Counts] = field(default_factory=dict)

    def table(self) -> dict[str, Counts]:
        """The rows of a table: the ways of counting, then GMNER by type."""
        coarse = {f"{name}, coarse types": counts for name, counts in self.coarse.items()}
        ways = {"GMNER": self.micro, "MNER": self.mner, "EEG": self.eeg, "shown or not": self.shown}
        return {**ways, **coarse, **self.per_type}

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; those of GMNER at the top."""
        ways = {"mner": self.mner, "eeg": self.eeg, "shown": self.shown}
        tables = {"coarse": self.coarse, "per_type": self.per_type, "per_group": self.per_group}
        return {
            **self.micro.to_dict(),
            "posts": self.posts,
            **{name: counts.to_dict() for name, counts in ways.items()},
            **{name: {row: counts.to_dict() for row, counts in table.items()} for name, table in tables.items()},
        }


def score_grounded(
    gold: Sequence[Post], predicted: Sequence[Post], groups: Mapping[str, str] | None = None
) -> GroundedScores:
    """Score predicted entities and their regions against gold, post by post.

    Args:
        gold: Posts with their gold entities, each with regions (none where the image does not show it).
        predicted: The same posts, same tokens and same order, with predicted entities and regions.
        groups: Group name by gold post id, for figures by group.

    Raises:
        InputError: The posts do not line up, an entity has no type or says nothing about regions, or a post has no
            group.

    >>> from promu.schema import Entity
    >>> box, near = Region((0.0, 0.0, 10.0, 10.0)), Region((1.0, 0.0, 11.0, 10.0))
    >>> right = Entity(0, 1, "PER", regions=(box,)), Entity(2, 3, "LOC", regions=())
    >>> found = Entity(0, 1, "PER", regions=(near,)), Entity(2, 3, "ORG", regions=())
    >>> scores = score_grounded(*([Post("1", ("Ann", "in", "Rome"), entities=one)] for one in (right, found)))
    >>> scores.micro.f1, scores.mner.f1, scores.eeg.f1
    (50.0, 50.0, 100.0)
    """
    sides = _sides(gold, predicted)
    by_post = [_right(*of_post, _typed) for of_post in zip(*sides, strict=True)]
    types = sorted({one.type for side in sides for items in side for one in items})
    expected = {one.type for items in sides[0] for one in items}
    fine = bool(expected) and expected <= set(COARSE_TYPES)
    broad = [[[one._replace(type=COARSE_TYPES.get(one.type, one.type)) for one in of] for of in side] for side in sides]
    mner: list[list[list[Hashable]]] = [[[_typed(one) for one in items] for items in side] for side in sides]
    wide: list[list[list[Hashable]]] = [[[_typed(one) for one in items] for items in side] for side in broad]
    shown = ([[one.span for one in items if one.regions] for items in side] for side in sides)
    return GroundedScores(
        micro=_total(by_post),
        mner=Counts.of_posts(*mner),
        eeg=_total([_right(*of_post, lambda one: one.span) for of_post in zip(*sides, strict=True)]),
        shown=Counts.of_posts(*shown),
        coarse={"GMNER": _count(*broad), "MNER": Counts.of_posts(*wide)} if fine else {},
        per_type={
            kind: _count(*([[one for one in items if one.type == kind] for items in side] for side in sides))
            for kind in types
        },
        posts=len(gold),
        per_group={name: _total([by_post[row] for row in rows]) for name, rows in split_by_group(gold, groups).items()},
    )


def grounded_counts(gold: Sequence[Post], predicted: Sequence[Post]) -> PostCounts:
    """(N, 3) correct, predicted and gold grounded entities of each post, for `compare_runs`.

    Raises:
        InputError: As `score_grounded`.
    """
    rows = [_right(*of_post, _typed) for of_post in zip(*_sides(gold, predicted), strict=True)]
    return np.array([(one.correct, one.predicted, one.gold) for one in rows], dtype=np.int64)


def _typed(one: _Grounded) -> Hashable:
    return one.span, one.type


def _count(gold: Sequence[Sequence[_Grounded]], predicted: Sequence[Sequence[_Grounded]]) -> Counts:
    return _total([_right(*of_post, _typed) for of_post in zip(gold, predicted, strict=True)])


def _total(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(one, part) for one in counts) for part in ("correct", "predicted", "gold")))


def _right(gold: Sequence[_Grounded], found: Sequence[_Grounded], key: Callable[[_Grounded], Hashable]) -> Counts:
    """Counts of one post, of items that are the same by `key` and region; an item given twice counts once."""
    expected, actual = ({(key(one), one.regions) for one in side} for side in (gold, found))
    taken: dict[tuple[Hashable, frozenset[Region]], tuple[Hashable, frozenset[Region]]] = {}

    def place(item: tuple[Hashable, frozenset[Region]], tried: set[Hashable]) -> bool:
        """Give the item a gold one of its own, moving others where that helps."""
        for right in expected:
            if right not in tried and right[0] == item[0] and _shows(right[1], item[1]):
                tried.add(right)
                if right not in taken or place(taken[right], tried):
                    taken[right] = item
                    return True
        return False

    correct = sum(place(item, set()) for item in actual)
    return Counts(correct, len(actual), len(expected))


def _shows(gold: frozenset[Region], found: frozenset[Region]) -> bool:
    if not gold or not found:
        return not gold and not found
    return any(box.iou(region) >= IOU for box in gold for region in found)


def _sides(gold: Sequence[Post], predicted: Sequence[Post]) -> tuple[list[list[_Grounded]], list[list[_Grounded]]]:
    """The entities of each post of both sides."""
    check_aligned(gold, predicted)
    sides: list[list[list[_Grounded]]] = []
    for posts, side in ((gold, "gold"), (predicted, "predicted")):
        rows: list[list[_Grounded]] = []
        for post, items in zip(posts, entity_items(posts, side), strict=True):
            rows.append([])
            for entity, (start, end, kind) in zip(post.entities, items, strict=True):
                if entity.regions is None:
                    raise InputError(
                        f"post {post.id!r}: the {side} entity {post.words(entity)!r} says nothing about regions; give "
                        "them, an empty list where the image does not show it, or score the task ner"
                    )
                boxes = entity.regions if side == "gold" else (entity.region,) if entity.region else ()
                rows[-1].append(_Grounded((start, end), kind, frozenset(Region(one.box) for one in boxes)))
        sides.append(rows)
    return sides[0], sides[1]
