"""The graph in SQLite: its tables, and opening one. Every other form of a graph is written from this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promu.errors import InputError

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
