"""What a written quintuple may say: entity types, relations, and which types go with which relation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promu.errors import InputError
from promu.schema import Post, quintuples

TYPE_WORDS = {"per": "person", "loc": "location", "org": "organization", "misc": "miscellaneous"}
"""Entity types of the published files as the published prompts write them."""


@dataclass(frozen=True)
class Inventory:
    """Which (head type, relation, tail type) there are.

    Raises:
        InputError: There is none, or two types or relations are written with the same words.
    """

    triples: tuple[tuple[str, str, str], ...]

    def __post_init__(self) -> None:
        if not self.triples:
            raise InputError("there is no relation to write; train on posts with relations")
        for names in (self.types, self.relations):
            words: dict[str, str] = {}
            for name in names:
                other = words.setdefault(type_words(name), name)
                if other != name or "(" in name or '"' in name:
                    raise InputError(
                        f"types and relations must differ in more than case and _ and hold neither ( nor a quotation "
                        f"mark, found {other!r} and {name!r}; rename one"
                    )

    @classmethod
    def of(cls, posts: Sequence[Post]) -> Inventory:
        """What the quintuples of `posts` have."""
        found = {(str(one.head_type), one.relation, str(one.tail_type)) for post in posts for one in quintuples(post)}
        return cls(tuple(sorted(found)))

    @classmethod
    def from_list(cls, triples: Iterable[Sequence[Any]]) -> Inventory:
        """From JSON."""
        return cls(tuple((str(head), str(relation), str(tail)) for head, relation, tail in triples))

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Entity types in alphabetical order."""
        return tuple(sorted({kind for head, _, tail in self.triples for kind in (head, tail)}))

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """Relations in alphabetical order."""
        return tuple(sorted({relation for _, relation, _ in self.triples}))

    @cached_property
    def head_types(self) -> tuple[str, ...]:
        """Types that the head of some relation has."""
        return tuple(sorted({head for head, _, _ in self.triples}))

    @cached_property
    def tail_types(self) -> dict[str, tuple[str, ...]]:
        """Types that a tail may have, by the type of its head."""
        tails = {kind: {tail for head, _, tail in self.triples if head == kind} for kind in self.head_types}
        return {kind: tuple(sorted(found)) for kind, found in tails.items()}

    @cached_property
    def between(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Relations by the types of their two ends."""
        found: dict[tuple[str, str], list[str]] = {}
        for head, relation, tail in self.triples:
            found.setdefault((head, tail), []).append(relation)
        return {ends: tuple(names) for ends, names in found.items()}


def type_words(name: str) -> str:
    """How a type or relation is written: person for per, place of birth for place_of_birth."""
    return TYPE_WORDS.get(name.lower(), name.lower().replace("_", " "))


def triple_label(head_type: str, relation: str, tail_type: str) -> str:
    """The name of a triple among a model's labels, in the form of MNRE's: /per/org/member_of.

    Raises:
        InputError: A type holds a slash.
    """
    for kind in (head_type, tail_type):
        if "/" in kind:
            raise InputError(f"entity type {kind!r} holds a slash, which separates types in a label; rename it")
    return f"/{head_type}/{tail_type}/{relation}"


def inventory_of(labels: Iterable[str]) -> Inventory:
    """The triples that labels name, see `triple_label`.

    Raises:
        InputError: A label names none.
    """
    triples = []
    for label in labels:
        parts = label.split("/", 3)
        if len(parts) != 4 or parts[0]:
            raise InputError(f"label {label!r} names no head type, tail type and relation, as /per/org/member_of does")
        triples.append((parts[1], parts[3], parts[2]))
    return Inventory.from_list(sorted(triples))
