"""The graph as RDF (Turtle, JSON-LD) and as Parquet tables, written row by row out of the database.

Turtle and JSON-LD carry the same triples. Beside each relation's triple an `rdf:Statement` has its counts and evidence.
Both are written by hand: rdflib holds every triple in memory before it writes. The tests read them with rdflib.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promu.errors import InputError
from promu.files import write_text
from promu.graph.names import WIKIDATA, evidence_iri, form_iri, relation_iri, type_iri


class Iri(str):
    """A term of RDF that is an IRI; every other string is a literal."""


Term = Iri | str | int | float
About = list[tuple[str, list[Term]]]
"""Predicates (prefixed names or whole IRIs) of a subject, and their objects."""

_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_ENDS = [f"{end}_{place}" for end in ("head", "tail") for place in ("start", "end")]
_PLACES = [*_ENDS, *(end.replace("_", "_char_") for end in _ENDS)]
_PREDICATES = ["v:" + re.sub("_(.)", lambda sign: sign[1].upper(), place) for place in _PLACES]
_RELATIONS = (
    "relations.mentions, relations.posts, relations.score FROM relations"
    " JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail ORDER BY"
)
_FORMS = "SELECT form, mentions FROM forms WHERE entity = ? ORDER BY form"


def write_turtle(connection: sqlite3.Connection, path: Path) -> None:
    """Write a graph as Turtle (UTF-8)."""

    def lines() -> Iterator[str]:
        for prefix, namespace in prefixes(base_of(connection)).items():
            yield f"@prefix {prefix}: <{namespace}> .\n"
        for subject, about in nodes(connection):
            parts = " ;\n    ".join(
                f"{f'<{name}>' if '/' in name else name} {', '.join(map(_turtle_term, terms))}" for name, terms in about
            )
            yield f"\n<{subject}> {parts} .\n"

    write_text(path, lines())


def _turtle_term(term: Term) -> str:
    if isinstance(term, Iri):
        return f"<{term}>"
    if isinstance(term, str):
        escaped = _ESCAPED.sub(lambda sign: f"\\{sign[0]}" if sign[0] in '"\\' else f"\\u{ord(sign[0]):04X}", term)
        return f'"{escaped}"'
    return str(term) if isinstance(term, int) else f'"{term!r}"^^xsd:double'


def write_jsonld(connection: sqlite3.Connection, path: Path) -> None:
    """Write a graph as JSON-LD 1.1: one document with its context in it, a node a line."""

    def lines() -> Iterator[str]:
        yield f'{{"@context": {json.dumps(prefixes(base_of(connection)))},\n"@graph": [\n'
        for index, (subject, about) in enumerate(nodes(connection)):
            node = {"@id": subject} | {name: [_json_term(term) for term in terms] for name, terms in about}
            yield f"{',' * bool(index)}\n{json.dumps(node, ensure_ascii=False)}"
        yield "\n]}\n"

    write_text(path, lines())


def _json_term(term: Term) -> object:
    if isinstance(term, Iri):
        return {"@id": term}
    return {"@value": repr(term), "@type": "xsd:double"} if isinstance(term, float) else term


def prefixes(base: str) -> dict[str, str]:
    """The namespaces that predicates are abbreviated with; `v` is the graph's own."""
    return {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
        "wdt": WIKIDATA,
        "v": f"{base}vocabulary/",
    }


def base_of(connection: sqlite3.Connection) -> str:
    """What the IRIs of a graph begin with."""
    (base,) = connection.execute("SELECT value FROM meta WHERE name = 'base'").fetchone()
    return str(base)


def nodes(connection: sqlite3.Connection) -> Iterator[tuple[Iri, About]]:
    """Every triple of a graph, once, grouped by subjects; a subject may come more than once."""
    base = base_of(connection)
    space = prefixes(base)
    for (type,) in connection.execute("SELECT DISTINCT type FROM entities WHERE type IS NOT NULL ORDER BY type"):
        yield Iri(type_iri(base, type)), [("rdf:type", [Iri(space["rdfs"] + "Class")]), ("rdfs:label", [type])]
    for (label,) in connection.execute("SELECT DISTINCT label FROM relations ORDER BY label"):
        about = [("rdf:type", [Iri(space["rdf"] + "Property")]), ("rdfs:label", [label])]
        yield Iri(relation_iri(base, label)), about
    yield from _entities(connection, base)
    yield from _relations(connection, base, Iri(space["rdf"] + "Statement"))


def _entities(connection: sqlite3.Connection, base: str) -> Iterator[tuple[Iri, About]]:
    rows = connection.execute("SELECT id, iri, name, key, type, mentions, posts, score FROM entities ORDER BY iri")
    for id, iri, name, key, type, *counts in rows:
        forms = connection.execute(_FORMS, (id,)).fetchall()
        about: About = [("rdf:type", [Iri(type_iri(base, type))])] if type is not None else []
        about += [("rdfs:label", [name]), ("v:key", [key]), *_counts(*counts)]
        about.append(("v:form", [Iri(form_iri(iri, form)) for form, _ in forms]))
        yield Iri(iri), about
        for form, count in forms:
            yield Iri(form_iri(iri, form)), [("rdf:value", [form]), ("v:mentions", [count])]


def _relations(connection: sqlite3.Connection, base: str, statement: Iri) -> Iterator[tuple[Iri, About]]:
    rows = connection.execute(
        f"SELECT relations.id, relations.iri, head.iri, label, property, tail.iri, {_RELATIONS}"
        " head.iri, property, tail.iri, label"
    )
    last = None
    for id, iri, head, label, predicate, tail, *counts in rows:
        if last != (head, predicate, tail):  # two relations may be one property
            short = f"wdt:{predicate.removeprefix(WIKIDATA)}" if predicate.startswith(WIKIDATA) else predicate
            yield Iri(head), [(short, [Iri(tail)])]
        last = (head, predicate, tail)
        evidence = list(_evidence(connection, id, iri))
        about: About = [
            ("rdf:type", [statement]),
            ("rdf:subject", [Iri(head)]),
            ("rdf:predicate", [Iri(predicate)]),
            ("rdf:object", [Iri(tail)]),
            ("v:relation", [Iri(relation_iri(base, label))]),
            *_counts(*counts),
            ("v:evidence", [node for node, _ in evidence]),
        ]
        yield Iri(iri), about
        yield from evidence


def _evidence(connection: sqlite3.Connection, relation: int, statement: str) -> Iterator[tuple[Iri, About]]:
    rows = connection.execute(
        f"SELECT name, {', '.join(_PLACES)}, score FROM evidence JOIN posts ON posts.id = post WHERE relation = ?"
        " ORDER BY name, head_start, head_end, tail_start, tail_end",
        (relation,),
    )
    for post, *places, score in rows:
        about: About = [("v:post", [post])]
        about += [(name, [place]) for name, place in zip(_PREDICATES, places, strict=True)]
        about += [("v:score", [score])] if score is not None else []
        yield Iri(evidence_iri(statement, post, (places[0], places[1], places[2], places[3]))), about


def _counts(mentions: int, posts: int, score: float | None) -> About:
    counts: About = [("v:mentions", [mentions]), ("v:posts", [posts])]
    return counts if score is None else [*counts, ("v:score", [score])]


_ROWS = 20_000
"""Rows in memory at once."""

_COUNTS = [("mentions", pa.int64()), ("posts", pa.int64()), ("score", pa.float64())]
_FORM = pa.struct([("form", pa.string()), ("mentions", pa.int64())])


def _strings(*columns: str) -> list[tuple[str, Any]]:
    return [(column, pa.string()) for column in columns]


SCHEMAS = {
    "entities": pa.schema([*_strings("iri", "name", "key", "type"), *_COUNTS, ("forms", pa.list_(_FORM))]),
    "relations": pa.schema([*_strings("iri", "head", "label", "property", "tail"), *_COUNTS]),
    "evidence": pa.schema(
        [*_strings("relation", "post"), *((place, pa.int64()) for place in _PLACES), ("score", pa.float64())]
    ),
}

_QUERIES = {
    "entities": "SELECT iri, name, key, type, mentions, posts, score, id FROM entities ORDER BY iri",
    "relations": f"SELECT relations.iri, head.iri, label, property, tail.iri, {_RELATIONS} relations.iri",
    "evidence": (
        f"SELECT relations.iri, posts.name, {', '.join(_PLACES)}, evidence.score FROM evidence JOIN relations"
        " ON relations.id = relation JOIN posts ON posts.id = post"
        " ORDER BY relations.iri, evidence.score DESC, posts.name"
    ),
}


def write_tables(connection: sqlite3.Connection, folder: Path) -> None:
    """Write `entities.parquet`, `relations.parquet` and `evidence.parquet` into a new folder.

    Raises:
        InputError: It cannot be written; the disk may be full.
    """
    folder.mkdir()
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.parquet"
        tagged = schema.with_metadata({"promu.base": base_of(connection)})
        try:
            with pq.ParquetWriter(path, tagged) as writer:
                rows = connection.execute(_QUERIES[name])
                while some := rows.fetchmany(_ROWS):
                    if name == "entities":
                        forms = (connection.execute(_FORMS, (id,)).fetchall() for *_, id in some)
                        some = [
                            (*row, [{"form": form, "mentions": count} for form, count in written])
                            for (*row, _), written in zip(some, forms, strict=True)
                        ]
                    columns = zip(zip(*some, strict=True), schema.types, strict=True)
                    writer.write_table(pa.table([pa.array(column, kind) for column, kind in columns], tagged))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot be written ({reason}); make room and run the command again", path) from None
