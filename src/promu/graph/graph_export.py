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
Node = tuple[Iri, list[tuple[str, list[Term]]]]
"""A subject with its predicates (prefixed names or whole IRIs) and their objects."""

_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_PLACES = [f"{end}{unit}{place}" for unit in ("", "Char") for end in ("head", "tail") for place in ("Start", "End")]


def write_turtle(connection: sqlite3.Connection, path: Path) -> None:
    """Write a graph as Turtle (UTF-8)."""
    write_text(path, _turtle(connection))


def _turtle(connection: sqlite3.Connection) -> Iterator[str]:
    for prefix, namespace in prefixes(base_of(connection)).items():
        yield f"@prefix {prefix}: <{namespace}> .\n"
    for subject, about in nodes(connection):
        lines = " ;\n    ".join(
            f"{f'<{name}>' if '/' in name else name} {', '.join(map(_turtle_term, terms))}" for name, terms in about
        )
        yield f"\n<{subject}> {lines} .\n"


def _turtle_term(term: Term) -> str:
    if isinstance(term, Iri):
        return f"<{term}>"
    if isinstance(term, str):
        escaped = _ESCAPED.sub(lambda sign: f"\\{sign[0]}" if sign[0] in '"\\' else f"\\u{ord(sign[0]):04X}", term)
        return f'"{escaped}"'
    return str(term) if isinstance(term, int) else f'"{term!r}"^^xsd:double'


def write_jsonld(connection: sqlite3.Connection, path: Path) -> None:
    """Write a graph as JSON-LD 1.1: one document with its context in it, a node a line."""
    write_text(path, _jsonld(connection))


def _jsonld(connection: sqlite3.Connection) -> Iterator[str]:
    yield f'{{"@context": {json.dumps(prefixes(base_of(connection)))},\n"@graph": [\n'
    for index, (subject, about) in enumerate(nodes(connection)):
        node = {"@id": subject} | {name: [_json_term(term) for term in terms] for name, terms in about}
        yield f"{',' * bool(index)}\n{json.dumps(node, ensure_ascii=False)}"
    yield "\n]}\n"


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


def nodes(connection: sqlite3.Connection) -> Iterator[Node]:
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


def _entities(connection: sqlite3.Connection, base: str) -> Iterator[Node]:
    rows = connection.execute("SELECT id, iri, name, key, type, mentions, posts, score FROM entities ORDER BY iri")
    for id, iri, name, key, type, *counts in rows:
        forms = connection.execute("SELECT form, mentions FROM forms WHERE entity = ? ORDER BY form", (id,)).fetchall()
        about: list[tuple[str, list[Term]]] = [("rdf:type", [Iri(type_iri(base, type))])] if type is not None else []
        about += [("rdfs:label", [name]), ("v:key", [key]), *_counts(*counts)]
        about.append(("v:form", [Iri(form_iri(iri, form)) for form, _ in forms]))
        yield Iri(iri), about
        for form, count in forms:
            yield Iri(form_iri(iri, form)), [("rdf:value", [form]), ("v:mentions", [count])]


def _relations(connection: sqlite3.Connection, base: str, statement: Iri) -> Iterator[Node]:
    rows = connection.execute(
        "SELECT relations.id, relations.iri, head.iri, label, property, tail.iri, relations.mentions, relations.posts,"
        " relations.score FROM relations"
        " JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
        " ORDER BY head.iri, property, tail.iri, label"
    )
    last = None
    for id, iri, head, label, predicate, tail, *counts in rows:
        if last != (head, predicate, tail):  # two relations may be one property
            short = f"wdt:{predicate.removeprefix(WIKIDATA)}" if predicate.startswith(WIKIDATA) else predicate
            yield Iri(head), [(short, [Iri(tail)])]
        last = (head, predicate, tail)
        evidence = list(_evidence(connection, id, iri))
        about: list[tuple[str, list[Term]]] = [
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


def _evidence(connection: sqlite3.Connection, relation: int, statement: str) -> Iterator[Node]:
    rows = connection.execute(
        "SELECT name, head_start, head_end, tail_start, tail_end, head_char_start, head_char_end, tail_char_start,"
        " tail_char_end, score FROM evidence JOIN posts ON posts.id = post WHERE relation = ?"
        " ORDER BY name, head_start, head_end, tail_start, tail_end",
        (relation,),
    )
    for post, *places, score in rows:
        about: list[tuple[str, list[Term]]] = [("v:post", [post])]
        about += [(f"v:{name}", [place]) for name, place in zip(_PLACES, places, strict=True)]
        about += [("v:score", [score])] if score is not None else []
        yield Iri(evidence_iri(statement, post, (places[0], places[1], places[2], places[3]))), about


def _counts(mentions: int, posts: int, score: float | None) -> list[tuple[str, list[Term]]]:
    counts: list[tuple[str, list[Term]]] = [("v:mentions", [mentions]), ("v:posts", [posts])]
    return counts if score is None else [*counts, ("v:score", [score])]


_ROWS = 20_000
"""Rows in memory at once."""

_COUNTS = [("mentions", pa.int64()), ("posts", pa.int64()), ("score", pa.float64())]
_FORMS = pa.list_(pa.struct([("form", pa.string()), ("mentions", pa.int64())]))
_SPANS = [(f"{end}_{place}", pa.int64()) for end in ("head", "tail") for place in ("start", "end")]
_CHARACTERS = [(f"{end}_char_{place}", pa.int64()) for end in ("head", "tail") for place in ("start", "end")]

SCHEMAS = {
    "entities": pa.schema(
        [*((name, pa.string()) for name in ("iri", "name", "key", "type")), *_COUNTS, ("forms", _FORMS)]
    ),
    "relations": pa.schema([*((name, pa.string()) for name in ("iri", "head", "label", "property", "tail")), *_COUNTS]),
    "evidence": pa.schema(
        [("relation", pa.string()), ("post", pa.string()), *_SPANS, *_CHARACTERS, ("score", pa.float64())]
    ),
}

_QUERIES = {
    "entities": "SELECT iri, name, key, type, mentions, posts, score, id FROM entities ORDER BY iri",
    "relations": (
        "SELECT relations.iri, head.iri, label, property, tail.iri, relations.mentions, relations.posts,"
        " relations.score FROM relations"
        " JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
        " ORDER BY relations.iri"
    ),
    "evidence": (
        "SELECT relations.iri, posts.name, head_start, head_end, tail_start, tail_end, head_char_start, head_char_end,"
        " tail_char_start, tail_char_end, evidence.score FROM evidence JOIN relations ON relations.id = relation"
        " JOIN posts ON posts.id = post ORDER BY relations.iri, evidence.score DESC, posts.name"
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
                        some = [(*row, _forms(connection, id)) for *row, id in some]
                    columns = zip(*some, strict=True)
                    writer.write_table(
                        pa.table(
                            [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], tagged
                        )
                    )
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot be written ({reason}); make room and run the command again", path) from None


def _forms(connection: sqlite3.Connection, entity: int) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT form, mentions FROM forms WHERE entity = ? ORDER BY form", (entity,))
    return [{"form": form, "mentions": mentions} for form, mentions in rows]
