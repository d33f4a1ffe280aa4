"""Between which entities a relation may hold, and whether two models' names of types ever meet.

A relation's label may name the types of both ends, such as `/per/org/member_of`: it holds between no others. Names are
compared without regard to case. Where the entity model calls its types otherwise, `types` says which is which.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations, product
from operator import and_

from promu.errors import InputError
from promu.schema import NO_RELATION, Entity

logger = logging.getLogger(__name__)

# Twitter-2015 says OTHER where Twitter-2017 says MISC.
_SAME_TYPE = {"other": "misc"}


def label_types(label: str) -> tuple[str, str] | None:
    """The lower-case types of head and tail that a label such as `/per/org/member_of` states, or None."""
    parts = label.split("/")
    return None if len(parts) != 4 or parts[0] else (_plain(parts[1]), _plain(parts[2]))


def _plain(kind: str) -> str:
    kind = kind.lower()
    return _SAME_TYPE.get(kind, kind)


class TypeRules:
    """The types that the labels of a relation model ask for.

    Args:
        labels: Of the model, `None` among them or not.
        types: Entity type -> the type that the labels have for it; types that are not named stay as they are.
    """

    def __init__(self, labels: Sequence[str], types: Mapping[str, str] | None = None) -> None:
        self.labels = tuple(labels)
        self.types = {_plain(kind): _plain(name) for kind, name in (types or {}).items()}
        self._given = dict(types or {})
        self._ends = {label: label_types(label) for label in self.labels if label != NO_RELATION}
        self._fits: dict[tuple[str | None, str | None], list[bool]] = {}

    def fits(self, head: str | None, tail: str | None) -> list[bool]:
        """Whether each label may hold between entities of these types; `None` always may, and no type fits all."""
        if (head, tail) not in self._fits:
            ends = [None if kind is None else self._name(kind) for kind in (head, tail)]
            stated = (self._ends.get(label) for label in self.labels)
            self._fits[head, tail] = [
                names is None or all(end in (None, name) for end, name in zip(ends, names, strict=True))
                for names in stated
            ]
        return self._fits[head, tail]

    def pairs(self, entities: Sequence[Entity]) -> list[tuple[int, int]]:
        """The ordered pairs (head, tail) of entities between which a relation other than `None` may hold."""
        kinds = product({entity.type for entity in entities}, repeat=2)
        relation = [label != NO_RELATION for label in self.labels]
        may = {ends for ends in kinds if any(map(and_, self.fits(*ends), relation))}
        return [
            (head, tail)
            for head, tail in permutations(range(len(entities)), 2)
            if (entities[head].type, entities[tail].type) in may
        ]

    def check(self, found: Iterable[str]) -> list[str]:
        """What is wrong between these labels and the types that an entity model finds, in sentences; none is fine.

        Raises:
            InputError: `types` names a type that the entity model does not find, or one that no label is about.
        """
        found = sorted(found)
        stated = {end for ends in self._ends.values() for end in ends or ()}
        for kind, name in self._given.items():
            if _plain(kind) not in set(map(_plain, found)):
                raise InputError(
                    f"types names {kind!r}, which the entity model does not find; it finds {listed(found)}"
                )
            if _plain(name) not in stated:
                raise InputError(
                    f"types maps {kind} to {name!r}, which no relation is about; they are about "
                    f"{listed(sorted(stated)) or 'no types'}"
                )
        if not self._ends:
            return [f"no relation will be found: the relation model has no label but {NO_RELATION}"]
        met = set(map(self._name, found))
        idle = [label for label, ends in self._ends.items() if ends is not None and not met.issuperset(ends)]
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
        if None in self._ends.values():
            return {}
        stated = sorted({end for ends in self._ends.values() for end in ends or ()})
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
    words = " ".join(f"--types.{kind} {name}" for kind, name in example.items())
    said = f"types={dict(example)}, on the command line {words}"
    return f'if names differ for the same types, say so: {said}, or for good under "types" in re/config.json'


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "LOC, ORG and PER"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
