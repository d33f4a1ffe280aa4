"""What a graph knows of a name: entities, their relations both ways, the best evidence, and names that are near."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from promu.extraction.graph.names import normalise_name

BEST = 3
"""Pieces of evidence given for a relation."""
NEAR = 5
"""Names suggested where there is none of that spelling."""
_LIKENESS = 0.4
"""Of two names' pairs of letters, the share (Dice) that makes them near: one wrong letter in five is .67."""


@dataclass(frozen=True, slots=True)
class NamedEntity:
    """An entity of a graph; `id` is its row, `score` that of the surest span."""

    id: int
    iri: str
    name: str
    type: str | None
    mentions: int
    posts: int
    score: float | None


@dataclass(frozen=True, slots=True)
class FoundEvidence:
    """A post that tells a relation: its words, and which of them (start, end) are the head and the tail.

    `tokens` is empty where the graph holds no words.
    """

    post: str
    tokens: tuple[str, ...]
    head: tuple[int, int]
    tail: tuple[int, int]
    score: float | None


@dataclass(frozen=True, slots=True)
class Link:
    """A relation of the entity that was asked for; `evidence` holds the surest few of `mentions`."""

    label: str
    property: str
    other: NamedEntity
    outward: bool
    mentions: int
    posts: int
    score: float | None
    evidence: tuple[FoundEvidence, ...]


@dataclass(frozen=True, slots=True)
class EntityFacts:
    """Everything known of one entity.

    Attributes:
        entity: It.
        forms: How it is written, with how often, the most frequent first.
        links: Its relations, those told by most posts first, the surest first among equals: the first `limit` out of
            it and the first `limit` into it. One of it with itself is both.
        outward: How many relations it is the head of.
        inward: How many it is the tail of.
    """

    entity: NamedEntity
    forms: tuple[tuple[str, int], ...]
    links: tuple[Link, ...]
    outward: int
    inward: int


_ENTITY = "{0}.id, {0}.iri, {0}.name, {0}.type, {0}.mentions, {0}.posts, {0}.score"


def find_entities(connection: sqlite3.Connection, name: str, type: str | None = None) -> list[NamedEntity]:
    """The entities that `name` means by the rule of merging: one a type, the most frequent first.

    Args:
        connection: To a graph, see `open_graph`.
        name: However written.
        type: Of this type alone.
    """
    rows = connection.execute(
        f"SELECT {_ENTITY.format('entities')} FROM entities WHERE key = ? AND (? IS NULL OR type = ?)"
        " ORDER BY mentions DESC, type",
        (normalise_name(name), type, type),
    )
    return [NamedEntity(*row) for row in rows]


def similar_entities(connection: sqlite3.Connection, name: str, type: str | None = None) -> list[NamedEntity]:
    """At most `NEAR` entities whose names share most pairs of letters with `name`; reads every name of the graph."""
    wanted = _pairs(normalise_name(name))
    near: list[tuple[float, int, int]] = []
    rows = connection.execute("SELECT id, key, posts FROM entities WHERE ? IS NULL OR type = ?", (type, type))
    for id, key, posts in rows:
        pairs = _pairs(key)
        likeness = 2 * (wanted & pairs).total() / (wanted.total() + pairs.total())
        if likeness >= _LIKENESS:
            near.append((-likeness, -posts, id))
    best = [id for _, _, id in sorted(near)[:NEAR]]
    return [_entity(connection, id) for id in best]


def _pairs(key: str) -> Counter[str]:
    padded = f" {key} "
    return Counter(map("".join, pairwise(padded)))


def _entity(connection: sqlite3.Connection, id: int) -> NamedEntity:
    row = connection.execute(f"SELECT {_ENTITY.format('entities')} FROM entities WHERE id = ?", (id,)).fetchone()
    return NamedEntity(*row)


def facts_of(connection: sqlite3.Connection, entity: NamedEntity, limit: int) -> EntityFacts:
    """Forms and relations of an entity, at most `limit` relations out of it and as many into it."""
    forms = connection.execute(
        "SELECT form, mentions FROM forms WHERE entity = ? ORDER BY mentions DESC, form", (entity.id,)
    )
    counts = [
        connection.execute(f"SELECT count(*) FROM relations WHERE {end} = ?", (entity.id,)).fetchone()[0]
        for end in ("head", "tail")
    ]
    return EntityFacts(
        entity=entity,
        forms=tuple(forms.fetchall()),
        links=(*_links(connection, entity, True, limit), *_links(connection, entity, False, limit)),
        outward=counts[0],
        inward=counts[1],
    )


def _links(connection: sqlite3.Connection, entity: NamedEntity, outward: bool, limit: int) -> list[Link]:
    mine, others = ("head", "tail") if outward else ("tail", "head")
    rows = connection.execute(
        "SELECT relations.id, label, property, relations.mentions, relations.posts, relations.score,"
        f" {_ENTITY.format('other')} FROM relations JOIN entities AS other ON other.id = {others} WHERE {mine} = ?"
        " ORDER BY relations.posts DESC, relations.score DESC, label, other.iri LIMIT ?",
        (entity.id, limit),
    ).fetchall()
    return [
        Link(label, predicate, NamedEntity(*other), outward, mentions, posts, score, best_evidence(connection, id))
        for id, label, predicate, mentions, posts, score, *other in rows
    ]


def best_evidence(connection: sqlite3.Connection, relation: int) -> tuple[FoundEvidence, ...]:
    """The `BEST` surest pieces of evidence for a relation."""
    rows = connection.execute(
        "SELECT name, tokens, head_start, head_end, tail_start, tail_end, score FROM evidence"
        " JOIN posts ON posts.id = post WHERE relation = ? ORDER BY score DESC, name, head_start, tail_start LIMIT ?",
        (relation, BEST),
    )
    return tuple(
        FoundEvidence(post, tuple(json.loads(tokens or "[]")), (h0, h1), (t0, t1), score)
        for post, tokens, h0, h1, t0, t1, score in rows
    )


@dataclass(frozen=True, slots=True)
class Between:
    """A relation between two neighbours of an entity."""

    head: NamedEntity
    label: str
    tail: NamedEntity
    posts: int


def between(connection: sqlite3.Connection, entities: list[NamedEntity]) -> list[Between]:
    """The relations among some entities, those told by most posts first; of an entity with itself too."""
    known = {entity.id: entity for entity in entities}
    marks = ", ".join("?" * len(known))
    rows = connection.execute(
        f"SELECT head, label, tail, posts FROM relations WHERE head IN ({marks}) AND tail IN ({marks})"
        " ORDER BY posts DESC, score DESC, id",
        (*known, *known),
    )
    return [Between(known[head], label, known[tail], posts) for head, label, tail, posts in rows]
