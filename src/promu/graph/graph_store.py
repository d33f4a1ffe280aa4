"""The graph in SQLite: its tables, and opening one. Every other form of a graph is written from this one."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from promu.errors import InputError
from promu.graph.names import normalise_name

VERSION = "1"
"""Of the tables; a graph of another version is refused."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE posts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,  -- the post's own id
    tokens TEXT                 -- its words as a JSON list, where it is evidence for a relation
);
CREATE TABLE entities (
    id INTEGER PRIMARY KEY,
    iri TEXT NOT NULL,
    name TEXT NOT NULL,         -- the form most often written
    key TEXT NOT NULL,          -- its normalised name
    type TEXT,                  -- NULL where the spans have none
    mentions INTEGER NOT NULL,  -- spans
    posts INTEGER NOT NULL,     -- posts with at least one
    score REAL                  -- of the surest span
);
CREATE TABLE forms (
    entity INTEGER NOT NULL REFERENCES entities (id),
    form TEXT NOT NULL,         -- as written in the text
    mentions INTEGER NOT NULL,
    PRIMARY KEY (entity, form)
) WITHOUT ROWID;
CREATE TABLE relations (
    id INTEGER PRIMARY KEY,
    iri TEXT NOT NULL,          -- of the statement
    head INTEGER NOT NULL REFERENCES entities (id),
    label TEXT NOT NULL,        -- as the model says it
    property TEXT NOT NULL,     -- IRI of the predicate: Wikidata's where there is one
    tail INTEGER NOT NULL REFERENCES entities (id),
    mentions INTEGER NOT NULL,  -- rows of evidence
    posts INTEGER NOT NULL,     -- posts with at least one
    score REAL                  -- of the surest evidence
);
CREATE TABLE evidence (
    relation INTEGER NOT NULL REFERENCES relations (id),
    post INTEGER NOT NULL REFERENCES posts (id),
    head_start INTEGER NOT NULL, head_end INTEGER NOT NULL,  -- words, end exclusive
    tail_start INTEGER NOT NULL, tail_end INTEGER NOT NULL,
    head_char_start INTEGER NOT NULL, head_char_end INTEGER NOT NULL,  -- code points of the post's text
    tail_char_start INTEGER NOT NULL, tail_char_end INTEGER NOT NULL,
    score REAL
);
"""

INDEXES = """
CREATE UNIQUE INDEX entities_key ON entities (key, type);
CREATE UNIQUE INDEX relations_head ON relations (head, label, tail);
CREATE INDEX relations_tail ON relations (tail);
CREATE INDEX evidence_relation ON evidence (relation, score DESC);
"""
"""Made once all rows are in, which is faster than row by row."""


@contextmanager
def open_graph(path: Path) -> Iterator[sqlite3.Connection]:
    """A graph that `promu graph --to sqlite` wrote, to be read only.

    Raises:
        InputError: The file is missing, no such graph, damaged, or of another version.
    """
    if not path.is_file():
        raise InputError("no such graph; make one with promu graph OUT.jsonl --to sqlite --out GRAPH.sqlite", path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        found = connection.execute("SELECT value FROM meta WHERE name = 'promu graph'").fetchone()
        if found != (VERSION,):
            raise InputError(f"is a graph of version {found and found[0]}, not {VERSION}; make it again", path)
        yield connection
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"is no graph that can be read ({error}); make it with promu graph --to sqlite", path
        ) from None
    finally:
        connection.close()


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
