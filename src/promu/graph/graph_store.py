"""The graph in SQLite: its tables, and queries about a name. Every other format is written from it."""

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
    score REAL                  -- best of its spans
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
    label TEXT NOT NULL,        -- the model's own
    property TEXT NOT NULL,     -- IRI of the predicate: Wikidata's where there is one
    tail INTEGER NOT NULL REFERENCES entities (id),
    mentions INTEGER NOT NULL,  -- rows of evidence
    posts INTEGER NOT NULL,     -- posts with at least one
    score REAL                  -- best of its evidence
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

BEST = 3
"""Pieces of evidence of each relation in an answer."""
SIMILAR = 5
"""Similar names that are suggested, at most."""
_SIMILARITY = 0.4
"""Least Dice coefficient of two names' pairs of letters; one wrong letter in five gives .67."""


@dataclass(frozen=True, slots=True)
class NamedEntity:
    """An entity of a graph; `id` is its row, `score` the best of its spans."""

    id: int
    iri: str
    name: str
    type: str | None
    mentions: int
    posts: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A post with a relation: its words (none where the graph holds none), and the spans of head and tail in them."""

    post: str
    tokens: tuple[str, ...]
    head: tuple[int, int]
    tail: tuple[int, int]
    score: float | None


@dataclass(frozen=True, slots=True)
class Link:
    """A relation of the queried entity; `evidence` holds the best few of `mentions`."""

    label: str
    property: str
    other: NamedEntity
    outward: bool
    mentions: int
    posts: int
    score: float | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class EntityFacts:
    """What a graph holds of one entity.

    Attributes:
        forms: Its written forms with their counts, the most frequent first.
        links: Its relations, by number of posts, then by score: the first `limit` out of it and the first `limit` into
            it. A relation of it with itself is among both.
        outward: How many relations it is the head of.
        inward: How many it is the tail of.
    """

    entity: NamedEntity
    forms: tuple[tuple[str, int], ...]
    links: tuple[Link, ...]
    outward: int
    inward: int


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """The entities of a name, the most frequent first; where there is none, entities with similar names."""

    name: str
    entities: tuple[EntityFacts, ...]
    similar: tuple[NamedEntity, ...]


def query_graph(graph: str | Path, name: str, type: str | None = None, limit: int = 20) -> GraphAnswer:
    """What a graph, which `build_graph` wrote as `sqlite`, holds of a name.

    Args:
        name: In any spelling that merging takes for the same: capitals, @, # and a leading "the" make no difference.
        type: Only the entity of this type.
        limit: Relations out of an entity, and into it, at most.

    Raises:
        InputError: The file is missing, damaged or no graph, or `limit` is below 1.

    Example:
        ```python
        from promu import build_graph, query_graph

        build_graph(["out.jsonl"], "graph.sqlite", "sqlite")
        answer = query_graph("graph.sqlite", "@zorva", type="PER")
        print([(facts.entity.name, facts.forms) for facts in answer.entities] or answer.similar)
        ```
    """
    if limit < 1:
        raise InputError(f"limit is {limit}; at least 1 is needed")
    with open_graph(Path(graph)) as connection:
        facts = tuple(facts_of(connection, entity, limit) for entity in find_entities(connection, name, type))
        return GraphAnswer(name, facts, () if facts else tuple(similar_entities(connection, name, type)))


@contextmanager
def open_graph(path: Path) -> Iterator[sqlite3.Connection]:
    """A graph in SQLite, read-only.

    Raises:
        InputError: The file is missing, not a graph, damaged, or of another version.
    """
    if not path.is_file():
        raise InputError("no such graph; make one with promu graph OUT.jsonl --to sqlite --out GRAPH.sqlite", path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        version = connection.execute("SELECT value FROM meta WHERE name = 'promu graph'").fetchone()
        if version != (VERSION,):
            raise InputError(f"is a graph of version {version and version[0]}, not {VERSION}; make it again", path)
        yield connection
    except sqlite3.DatabaseError as error:
        raise InputError(f"is not a graph ({error}); make it with promu graph --to sqlite", path) from None
    finally:
        connection.close()


_ENTITY = "{0}.id, {0}.iri, {0}.name, {0}.type, {0}.mentions, {0}.posts, {0}.score"


def find_entities(connection: sqlite3.Connection, name: str, type: str | None = None) -> list[NamedEntity]:
    """The entities of a name, one a type, the most frequent first (as `query_graph`)."""
    rows = connection.execute(
        f"SELECT {_ENTITY.format('entities')} FROM entities WHERE key = ? AND (? IS NULL OR type = ?)"
        " ORDER BY mentions DESC, type",
        (normalise_name(name), type, type),
    )
    return [NamedEntity(*row) for row in rows]


def similar_entities(connection: sqlite3.Connection, name: str, type: str | None = None) -> list[NamedEntity]:
    """At most `SIMILAR` entities whose names share most pairs of letters with `name`; reads every name of the graph."""

    def letter_pairs(key: str) -> Counter[str]:
        return Counter(map("".join, pairwise(f" {key} ")))

    wanted = letter_pairs(normalise_name(name))
    similar: list[tuple[float, int, int]] = []
    rows = connection.execute("SELECT id, key, posts FROM entities WHERE ? IS NULL OR type = ?", (type, type))
    for id, key, posts in rows:
        pairs = letter_pairs(key)
        dice = 2 * (wanted & pairs).total() / (wanted.total() + pairs.total())
        if dice >= _SIMILARITY:
            similar.append((-dice, -posts, id))
    query = f"SELECT {_ENTITY.format('entities')} FROM entities WHERE id = ?"
    return [NamedEntity(*connection.execute(query, (id,)).fetchone()) for _, _, id in sorted(similar)[:SIMILAR]]


def facts_of(connection: sqlite3.Connection, entity: NamedEntity, limit: int) -> EntityFacts:
    """Forms and relations of an entity, at most `limit` relations out of it and as many into it."""
    forms = connection.execute(
        "SELECT form, mentions FROM forms WHERE entity = ? ORDER BY mentions DESC, form", (entity.id,)
    ).fetchall()
    outward, inward = (
        connection.execute(f"SELECT count(*) FROM relations WHERE {end} = ?", (entity.id,)).fetchone()[0]
        for end in ("head", "tail")
    )
    links = (*_links(connection, entity, True, limit), *_links(connection, entity, False, limit))
    return EntityFacts(entity, tuple(forms), links, outward, inward)


def _links(connection: sqlite3.Connection, entity: NamedEntity, outward: bool, limit: int) -> list[Link]:
    this, other = ("head", "tail") if outward else ("tail", "head")
    rows = connection.execute(
        "SELECT relations.id, label, property, relations.mentions, relations.posts, relations.score,"
        f" {_ENTITY.format('other')} FROM relations JOIN entities AS other ON other.id = {other} WHERE {this} = ?"
        " ORDER BY relations.posts DESC, relations.score DESC, label, other.iri LIMIT ?",
        (entity.id, limit),
    ).fetchall()
    return [
        Link(label, predicate, NamedEntity(*other), outward, mentions, posts, score, _best_evidence(connection, id))
        for id, label, predicate, mentions, posts, score, *other in rows
    ]


def _best_evidence(connection: sqlite3.Connection, relation: int) -> tuple[Evidence, ...]:
    rows = connection.execute(
        "SELECT name, tokens, head_start, head_end, tail_start, tail_end, score FROM evidence"
        " JOIN posts ON posts.id = post WHERE relation = ? ORDER BY score DESC, name, head_start, tail_start LIMIT ?",
        (relation, BEST),
    )
    return tuple(
        Evidence(post, tuple(json.loads(tokens or "[]")), (h0, h1), (t0, t1), score)
        for post, tokens, h0, h1, t0, t1, score in rows
    )


def between(connection: sqlite3.Connection, some: list[NamedEntity]) -> list[tuple[NamedEntity, str, NamedEntity, int]]:
    """(head, label, tail, posts) of the relations among some entities, by number of posts; also with itself."""
    by_id = {entity.id: entity for entity in some}
    marks = ", ".join("?" * len(by_id))
    rows = connection.execute(
        f"SELECT head, label, tail, posts FROM relations WHERE head IN ({marks}) AND tail IN ({marks})"
        " ORDER BY posts DESC, score DESC, id",
        (*by_id, *by_id),
    )
    return [(by_id[head], label, by_id[tail], posts) for head, label, tail, posts in rows]
