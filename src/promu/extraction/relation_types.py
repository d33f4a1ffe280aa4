"""Which relations may hold between which entities: labels such as `/per/org/member_of` name the types of both ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product

import torch

from promu.schema import NO_RELATION, Entity, Post, Relation

# Twitter-2015 says OTHER where Twitter-2017 says MISC.
_SAME_TYPE = {"other": "misc"}


def label_types(label: str) -> tuple[str, str] | None:
    """The lower-case types of head and tail that a label states, or None where it states none."""
    parts = label.split("/")
    if len(parts) != 4 or parts[0]:
        return None
    return _plain(parts[1]), _plain(parts[2])


def fitting_labels(head: Entity, tail: Entity, labels: Sequence[str]) -> list[bool]:
    """Whether each label may hold from `head` to `tail`; `None` always may, and an entity without type fits all."""
    return [_fits(head.type, tail.type, label) for label in labels]


def fitting_pairs(entities: Sequence[Entity], labels: Sequence[str]) -> list[tuple[int, int]]:
    """The ordered pairs (head, tail) of entities between which a relation other than `None` may hold."""
    relations = [label for label in labels if label != NO_RELATION]
    kinds = product({entity.type for entity in entities}, repeat=2)
    fitting = {(head, tail) for head, tail in kinds if any(_fits(head, tail, label) for label in relations)}
    return [
        (head, tail)
        for head, tail in permutations(range(len(entities)), 2)
        if (entities[head].type, entities[tail].type) in fitting
    ]


@lru_cache(maxsize=10_000)
def _fits(head: str | None, tail: str | None, label: str) -> bool:
    types = None if label == NO_RELATION else label_types(label)
    if types is None:
        return True
    return all(kind is None or _plain(kind) == stated for kind, stated in zip((head, tail), types, strict=True))


def _plain(kind: str) -> str:
    kind = kind.lower()
    return _SAME_TYPE.get(kind, kind)


def best_fitting(pair: Post, probabilities: torch.Tensor, labels: Sequence[str]) -> Relation | None:
    """The most probable relation of a pair among those that its types allow; None where that is `None`."""
    (place,) = pair.relations
    fits = fitting_labels(pair.entities[place.head], pair.entities[place.tail], labels)
    score, label = (probabilities * torch.tensor(fits)).max(-1)
    name = labels[int(label)]
    return None if name == NO_RELATION else Relation(place.head, place.tail, name, float(score))
