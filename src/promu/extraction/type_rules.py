"""Between which entities a relation may hold, and whether two models' names of types ever meet.

A relation's label may name the types of both ends, such as `/per/org/member_of`: it holds between no others. Names are
compared without regard to case. Where the entity model calls its types otherwise, `types` says which is which.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, islice, permutations, product
from operator import and_
from typing import NamedTuple

from promu.errors import InputError
from promu.schema import NO_RELATION, Entity, Post
from promu.tasks.windows import Home, Window, extent

logger = logging.getLogger(__name__)

NAMED = 3
"""Pairs that are named where they are counted."""

# Twitter-2015 says OTHER where Twitter-2017 says MISC.
_SAME_TYPE = {"other": "misc"}


def label_types(label: str) -> tuple[str, str] | None:
    """The lower-case types of head and tail that a label such as `/per/org/member_of` states, or None."""
    parts = label.split("/")
    return None if len(parts) != 4 or parts[0] else (_plain(parts[1]), _plain(parts[2]))


def _plain(kind: str) -> str:
    kind = kind.lower()
    return _SAME_TYPE.get(kind, kind)


class Asked(NamedTuple):
    """The pairs of a post's entities between which a relation may hold.

    Attributes:
        pairs: Those that are asked about: ordered pairs (head, tail), by the window that they are asked about in.
        far: Pairs of entities, in whatever direction, that no window has room for, so that they are not asked about.
        first: The first of these, by position, `NAMED` at most.
    """

    pairs: list[tuple[Window, list[tuple[int, int]]]]
    far: int = 0
    first: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """How many ordered pairs are asked about."""
        return sum(len(pairs) for _, pairs in self.pairs)


class TypeRules:
    """The types that the labels of a relation model ask for.

    Args:
        labels: Of the model, `None` among them or not.
        types: Entity type -> the type that the labels have for it; types that are not named stay as they are.
        ends: Label -> types of its heads and of its tails, for labels whose names do not state them; none is any.
    """

    def __init__(
        self,
        labels: Sequence[str],
        types: Mapping[str, str] | None = None,
        ends: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.types = {_plain(kind): _plain(name) for kind, name in (types or {}).items()}
        self._given = dict(types or {})
        self._ends = {label: self._sides(label, ends or {}) for label in self.labels if label != NO_RELATION}
        self._fits: dict[tuple[str | None, str | None], list[bool]] = {}

    def _sides(
        self, label: str, ends: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    ) -> tuple[frozenset[str], frozenset[str]] | None:
        """The types of a label's heads and of its tails, none of them for any; None where it states nothing."""
        if label in ends:
            heads, tails = (frozenset(map(self._name, side)) for side in ends[label])
            return heads, tails
        stated = label_types(label)
        return None if stated is None else (frozenset(stated[:1]), frozenset(stated[1:]))

    def fits(self, head: str | None, tail: str | None) -> list[bool]:
        """Whether each label may hold between entities of these types; `None` always may, and no type fits all."""
        if (head, tail) not in self._fits:
            ends = [None if kind is None else self._name(kind) for kind in (head, tail)]
            stated = (self._ends.get(label) for label in self.labels)
            self._fits[head, tail] = [
                sides is None
                or all(end is None or not side or end in side for end, side in zip(ends, sides, strict=True))
                for sides in stated
            ]
        return self._fits[head, tail]

    def pairs(self, entities: Sequence[Entity]) -> list[tuple[int, int]]:
        """The ordered pairs (head, tail) of entities between which a relation other than `None` may hold."""
        may = self._may(entities)
        return [
            (head, tail)
            for head, tail in permutations(range(len(entities)), 2)
            if (entities[head].type, entities[tail].type) in may
        ]

    def _may(self, entities: Iterable[Entity]) -> set[tuple[str | None, str | None]]:
        """The types of head and tail, among those of entities, between which a relation may hold."""
        relation = [label != NO_RELATION for label in self.labels]
        kinds = {entity.type for entity in entities}
        return {ends for ends in product(kinds, kinds) if any(map(and_, self.fits(*ends), relation))}

    def asked(self, post: Post, windows: Sequence[Window]) -> Asked:
        """The pairs of a post's entities, each in the window where it has most words around it (`Home`).

        The work grows with the pairs that share a window, not with all pairs.

        Args:
            post: With its entities.
            windows: Of its words.
        """
        entities = post.entities
        if len(windows) == 1:
            return Asked([(windows[0], self.pairs(entities))])
        home = Home(windows, len(post.tokens))
        order = sorted(range(len(entities)), key=lambda number: entities[number].start)
        starts = [entities[number].start for number in order]
        found: list[tuple[Window, list[tuple[int, int]]]] = []
        for place, window in enumerate(windows):
            begun = order[bisect_left(starts, window.start) : bisect_left(starts, window.end)]
            inside = [number for number in begun if entities[number].end <= window.end]
            pairs = ((inside[head], inside[tail]) for head, tail in self.pairs([entities[number] for number in inside]))
            found.append((window, [(a, b) for a, b in pairs if home.of(*extent(entities[a], entities[b])) == place]))
        near = {(min(pair), max(pair)) for _, pairs in found for pair in pairs}
        may = self._may(entities)
        may |= {(tail, head) for head, tail in may}
        of_type = Counter(entity.type for entity in entities)
        either = combinations_with_replacement(of_type, 2)
        fitting = sum(
            of_type[one] * (of_type[other] if one != other else of_type[one] - 1) // (2 if one == other else 1)
            for one, other in either
            if (one, other) in may
        )
        far = fitting - len(near)

        def apart() -> Iterator[tuple[int, int]]:
            able = [number for number in order if any(entities[number].type == kind for kind, _ in may)]
            for place, one in enumerate(able):
                for other in islice(able, place + 1, None):
                    fits = (entities[one].type, entities[other].type) in may
                    if fits and (min(one, other), max(one, other)) not in near:
                        yield one, other

        return Asked(found, far, tuple(islice(apart(), NAMED)) if far else ())

    def check(self, found: Iterable[str]) -> list[str]:
        """What is wrong between these labels and the types that an entity model finds, in sentences; none is fine.

        Raises:
            InputError: `types` names a type that the entity model does not find, or one that no label is about.
        """
        found = sorted(found)
        stated = {end for sides in self._ends.values() for side in sides or () for end in side}
        for kind, name in self._given.items():
            if _plain(kind) not in set(map(_plain, found)):
                raise InputError(
                    f"the map of types names {kind!r}, which the entity model does not find; it finds {listed(found)}"
                )
            if _plain(name) not in stated:
                raise InputError(
                    f"the map of types has for {kind} {name!r}, which no relation is about; they are about "
                    f"{listed(sorted(stated)) or 'no types'}"
                )
        if not self._ends:
            return [f"no relation will be found: the relation model has no label but {NO_RELATION}"]
        met = set(map(self._name, found))
        idle = [label for label, sides in self._ends.items() if any(side and not side & met for side in sides or ())]
        if not idle:
            return []
        what = "no relation will be found"
        if len(idle) < len(self._ends):
            what = f"{len(idle)} of {len(self._ends)} relations will never be found ({listed(idle)})"
        sides = f"the entity model finds {listed(found)}, and the relations are about {listed(sorted(stated))}"
        free = [kind for kind in found if self._name(kind) not in stated]
        if not free:
            return [f"{what}: {sides}"]
        # a name that begins with one of the labels' is likely to mean the same
        wanted = sorted(stated - met)
        likely = {kind: name for kind in free for name in wanted if kind.lower().startswith(name)}
        example = likely or {free[0]: wanted[0]}
        return [f"{what}: {sides}; {map_remedy(example)}"]

    def strangers(self, entities: Iterable[Entity]) -> dict[str, str]:
        """A sentence for each type of given entities that no label is about; none where a label states no types."""
        sides = [side for of_label in self._ends.values() for side in of_label or (frozenset[str](),)]
        if not all(sides):
            return {}
        stated = sorted({end for side in sides for end in side})
        kinds = sorted({one.type for one in entities if one.type is not None and self._name(one.type) not in stated})
        about = f"they are about {listed(stated)}"
        return {
            kind: f"no relation is about entities of type {kind!r}, {about}; {map_remedy({kind: stated[0]})}"
            for kind in kinds
            if stated
        }

    def _name(self, kind: str) -> str:
        """What the labels call a type."""
        return self.types.get(_plain(kind), _plain(kind))


def map_remedy(example: Mapping[str, str]) -> str:
    """What to do where names differ for the same types."""
    words = " ".join(f"--type-map.{kind} {name}" for kind, name in example.items())
    said = f"type_map={dict(example)}, on the command line {words}"
    return f'if names differ for the same types, say so: {said}, or for good under "types" in re/config.json'


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "LOC, ORG and PER"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
