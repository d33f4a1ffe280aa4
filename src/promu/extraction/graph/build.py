"""Merging what was found in posts into a graph, in one pass.

In memory are the distinct entities and relations with their counts. Posts and evidence go to the file as they come.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.extraction.graph.iris import WIKIDATA, entity_iri, relation_iri, statement_iri
from promu.extraction.graph.reader import FoundPost
from promu.extraction.graph.store import INDEXES, TABLES, VERSION
from promu.files import fault, shorten
from promu.schema import Relation

_ROWS = 10_000
"""Rows of evidence that wait to be written together."""

_Key = tuple[str, str | None]


@dataclass(slots=True)
class _Tally:
    """What is counted of one entity or relation."""

    id: int
    mentions: int = 0
    posts: int = 0
    score: float | None = None

    def add(self, score: float | None) -> None:
        self.mentions += 1
        if score is not None and (self.score is None or score > self.score):
            self.score = score


@dataclass(slots=True)
class _EntityTally(_Tally):
    forms: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """What a graph holds.

    Attributes:
        posts: Posts read.
        mentions: Spans in them.
        entities: What the spans were merged into.
        evidence: Relations found in posts, without the weak ones.
        relations: What these were merged into.
        weak: Relations found in posts that were left out for their score.
        loops: Of `relations`, those of an entity with itself: two spans of one post that were merged.
        unmapped: Rows of evidence of each relation without a Wikidata property.
    """

    posts: int
    mentions: int
    entities: int
    evidence: int
    relations: int
    weak: int
    loops: int
    unmapped: dict[str, int]


class GraphBuilder:
    """Fills an empty database with posts, then with what they were merged into.

    Args:
        connection: To an empty database, in autocommit mode.
        min_score: Relations found with a lower score are counted as weak and left out.
    """

    def __init__(self, connection: sqlite3.Connection, min_score: float) -> None:
        self._connection = connection
        self._min_score = min_score
        self._entities: dict[_Key, _EntityTally] = {}
        self._relations: dict[tuple[int, str, int], _Tally] = {}
        self._waiting: list[tuple[Any, ...]] = []
        self._posts = self._weak = 0
        # The file gets its name once it is whole; until then a journal would only cost time.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + TABLES + "BEGIN;")

    def add(self, found: FoundPost) -> None:
        """Count one post's entities and relations, and write down its evidence.

        Raises:
            InputError: A post of this id was added before; this one is not counted.
        """
        told = [one for one in found.post.relations if one.score is None or one.score >= self._min_score]
        tokens = json.dumps(found.post.tokens, ensure_ascii=False) if told else None
        row = (self._posts + 1, found.post.id, tokens)
        # Without a journal a failed insert could not be undone; an ignored one has done nothing.
        if not self._connection.execute("INSERT OR IGNORE INTO posts VALUES (?, ?, ?)", row).rowcount:
            raise InputError(
                f"a post with the id {shorten(found.post.id)} came before; give each post an id of its own"
            )
        self._posts += 1
        self._weak += len(found.post.relations) - len(told)
        self._count_relations(found, told, self._count_entities(found))
        if len(self._waiting) >= _ROWS:
            self._write_waiting()

    def _count_entities(self, found: FoundPost) -> list[_EntityTally]:
        tallies = []
        for entity, name, text in zip(found.post.entities, found.keys, found.texts, strict=True):
            tally = self._entities.get((name, entity.type))
            if tally is None:
                tally = self._entities[name, entity.type] = _EntityTally(len(self._entities) + 1)
            tally.add(entity.score)
            tally.forms[text] += 1
            tallies.append(tally)
        for tally in {tally.id: tally for tally in tallies}.values():
            tally.posts += 1
        return tallies

    def _count_relations(self, found: FoundPost, told: Sequence[Relation], tallies: Sequence[_Tally]) -> None:
        met: dict[int, _Tally] = {}
        for relation in told:
            key = (tallies[relation.head].id, relation.type, tallies[relation.tail].id)
            tally = self._relations.get(key)
            if tally is None:
                tally = self._relations[key] = _Tally(len(self._relations) + 1)
            tally.add(relation.score)
            met[tally.id] = tally
            head, tail = found.post.entities[relation.head], found.post.entities[relation.tail]
            words = (head.start, head.end, tail.start, tail.end)
            characters = (*found.characters[relation.head], *found.characters[relation.tail])
            self._waiting.append((tally.id, self._posts, *words, *characters, relation.score))
        for tally in met.values():
            tally.posts += 1

    def _write_waiting(self) -> None:
        self._connection.executemany("INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._waiting)
        self._waiting.clear()

    def finish(self, base: str, properties: Mapping[str, str]) -> GraphSummary:
        """Write the merged entities and relations, and make the indexes.

        Args:
            base: What the graph's own IRIs begin with.
            properties: Relation label -> Wikidata property.
        """
        self._write_waiting()
        self._write_relations(base, properties, self._write_entities(base))
        meta = {"promu graph": VERSION, "base": base, "posts": str(self._posts)}
        self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self._connection.executescript(INDEXES)  # which commits the rows first
        unmapped: Counter[str] = Counter()
        for (_, label, _), tally in self._relations.items():
            if label not in properties:
                unmapped[label] += tally.mentions
        return GraphSummary(
            posts=self._posts,
            mentions=sum(tally.mentions for tally in self._entities.values()),
            entities=len(self._entities),
            evidence=sum(tally.mentions for tally in self._relations.values()),
            relations=len(self._relations),
            weak=self._weak,
            loops=sum(head == tail for head, _, tail in self._relations),
            unmapped=dict(unmapped.most_common()),
        )

    def _write_entities(self, base: str) -> list[str]:
        """Write the entities and give their IRIs, in the order of their ids, which count from 1."""
        iris = []
        for (key, type), tally in self._entities.items():
            iris.append(entity_iri(base, key, type))
            name = min(tally.forms.items(), key=lambda item: (-item[1], item[0]))[0]
            self._connection.execute(
                "INSERT INTO entities VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (tally.id, iris[-1], name, key, type, tally.mentions, tally.posts, tally.score),
            )
            forms = ((tally.id, form, mentions) for form, mentions in tally.forms.items())
            self._connection.executemany("INSERT INTO forms VALUES (?, ?, ?)", forms)
        return iris

    def _write_relations(self, base: str, properties: Mapping[str, str], iris: Sequence[str]) -> None:
        for (head, label, tail), tally in self._relations.items():
            predicate = WIKIDATA + properties[label] if label in properties else relation_iri(base, label)
            statement = statement_iri(base, iris[head - 1], label, iris[tail - 1])
            self._connection.execute(
                "INSERT INTO relations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (tally.id, statement, head, label, predicate, tail, tally.mentions, tally.posts, tally.score),
            )


def build_graph(
    connection: sqlite3.Connection,
    placed: Iterable[tuple[Path, int, FoundPost]],
    *,
    base: str,
    properties: Mapping[str, str],
    min_score: float = 0.0,
    problems: list[InputError] | None = None,
) -> GraphSummary:
    """Merge posts into the graph of an empty database.

    Args:
        connection: To it, in autocommit mode.
        placed: (file, line number, post), as `read_found_posts` yields the last two.
        base: What the graph's own IRIs begin with.
        properties: Relation label -> Wikidata property.
        min_score: Relations found with a lower score are left out and counted.
        problems: Where posts go whose id stood before; None raises the first.

    Raises:
        InputError: As `read_found_posts`, and without `problems` for an id that stands twice.
    """
    builder = GraphBuilder(connection, min_score)
    for path, number, found in placed:
        try:
            builder.add(found)
        except InputError as error:
            fault(problems, InputError(error.reason, path, number))
    return builder.finish(base, properties)
