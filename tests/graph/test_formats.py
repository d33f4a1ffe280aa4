"""Turtle, JSON-LD and Parquet say what the SQLite graph says, whatever a name holds; read back by other libraries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from rdflib import RDF, RDFS, Graph, Literal, Namespace, URIRef
from tests.graph.examples import COUPLE, POSTS, Record, make_graph, posts, record, rows

BASE = "https://promu.example/"
V = Namespace(f"{BASE}vocabulary/")
Facts = dict[str, set[tuple[Any, ...]]]

ENDS = "JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
PLACES = ["head_start", "head_end", "tail_start", "tail_end"]
PLACES += ["head_char_start", "head_char_end", "tail_char_start", "tail_char_end"]


def facts_of_sqlite(path: Path) -> Facts:
    """What a graph says, each thing under its IRI."""
    return {
        "entities": set(rows(path, "SELECT iri, name, key, type, mentions, posts, score FROM entities")),
        "forms": set(rows(path, "SELECT iri, form, forms.mentions FROM forms JOIN entities ON entities.id = entity")),
        "relations": set(
            rows(
                path,
                "SELECT relations.iri, head.iri, label, property, tail.iri, relations.mentions, relations.posts,"
                f" relations.score FROM relations {ENDS}",
            )
        ),
        "evidence": set(
            rows(
                path,
                f"SELECT iri, name, {', '.join(PLACES)}, evidence.score FROM evidence"
                " JOIN relations ON relations.id = relation JOIN posts ON posts.id = post",
            )
        ),
    }


def facts_of_rdf(graph: Graph) -> Facts:
    """The same out of triples."""

    def value(node: Any, predicate: Any) -> Any:
        found = list(graph.objects(node, predicate))
        assert len(found) < 2
        return None if not found else found[0].toPython() if isinstance(found[0], Literal) else found[0]

    def counts(node: Any) -> tuple[Any, ...]:
        return value(node, V.mentions), value(node, V.posts), value(node, V.score)

    statements = list(graph.subjects(RDF.type, RDF.Statement))
    for node in statements:  # what is spoken of is also said
        assert tuple(value(node, part) for part in (RDF.subject, RDF.predicate, RDF.object)) in graph
    camel = [
        "".join([first, *(word.title() for word in rest)]) for first, *rest in (name.split("_") for name in PLACES)
    ]
    return {
        "entities": {
            (str(node), value(node, RDFS.label), str(key), label_of(graph, node), *counts(node))
            for node, key in graph.subject_objects(V.key)
        },
        "forms": {
            (str(node), value(form, RDF.value), value(form, V.mentions)) for node, form in graph.subject_objects(V.form)
        },
        "relations": {
            (
                str(node),
                str(value(node, RDF.subject)),
                value(value(node, V.relation), RDFS.label),
                str(value(node, RDF.predicate)),
                str(value(node, RDF.object)),
                *counts(node),
            )
            for node in statements
        },
        "evidence": {
            (str(node), value(found, V.post), *(value(found, V[name]) for name in camel), value(found, V.score))
            for node, found in graph.subject_objects(V.evidence)
        },
    }


def label_of(graph: Graph, node: Any) -> str | None:
    """The label of an entity's type."""
    types = list(graph.objects(node, RDF.type))
    return None if not types else str(graph.value(types[0], RDFS.label))


def facts_of_parquet(folder: Path) -> Facts:
    """The same out of three tables."""
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("entities", "relations", "evidence")}
    records = {name: table.to_pylist() for name, table in tables.items()}
    return {
        "forms": {
            (row["iri"], one["form"], one["mentions"]) for row in records["entities"] for one in row.pop("forms")
        },
        **{name: {tuple(row.values()) for row in found} for name, found in records.items()},
    }


def triples_expected(path: Path) -> int:
    """How many triples a graph comes to, so that nothing else is said."""
    facts = facts_of_sqlite(path)
    entities, relations, evidence = facts["entities"], facts["relations"], facts["evidence"]
    types = {row[3] for row in entities} - {None}
    scores = sum(row[-1] is not None for row in [*entities, *relations, *evidence])
    direct = {(row[1], row[3], row[4]) for row in relations}
    of_entities = (
        4 * len(entities) + sum(row[3] is not None for row in entities) + 3 * len(facts["forms"]) + 2 * len(types)
    )
    of_relations = 7 * len(relations) + 2 * len({row[2] for row in relations}) + len(direct)
    return scores + of_entities + of_relations + len(evidence) + 9 * len(evidence)


@given(posts())
@settings(max_examples=15)
def test_every_format_says_the_same(found: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as name:
        graph = make_graph(Path(name), found)
        facts = facts_of_sqlite(graph)
        turtle = Graph().parse(make_graph(Path(name), found, "ttl"), format="turtle")
        assert facts_of_rdf(turtle) == facts
        assert len(turtle) == triples_expected(graph)
        linked = Graph().parse(make_graph(Path(name), found, "jsonld"), format="json-ld")
        assert set(linked) == set(turtle)
        assert facts_of_parquet(make_graph(Path(name), found, "parquet")) == facts


@pytest.mark.parametrize("base", ["http://data.example.org/a#", "urn:my-graph:"])
def test_any_base_works_in_every_format(tmp_path: Path, base: str) -> None:
    iris = {row[0] for found in facts_of_sqlite(make_graph(tmp_path, POSTS, base=base)).values() for row in found}
    turtle = Graph().parse(make_graph(tmp_path, POSTS, "ttl", base=base), format="turtle")
    assert set(Graph().parse(make_graph(tmp_path, POSTS, "jsonld", base=base), format="json-ld")) == set(turtle)
    assert iris <= set(map(str, turtle.subjects())) and all(iri.startswith(base) for iri in iris)


def test_two_labels_of_one_property_are_one_triple_and_two_statements(tmp_path: Path) -> None:
    both = record("x", "Ann Bob", [(0, 1, "PER", 1.0), (1, 2, "PER", 1.0)], (0, 1, COUPLE, 0.5), (0, 1, "couple", 0.25))
    path = make_graph(tmp_path, [both], "ttl")
    turtle = Graph().parse(path, format="turtle")
    spouse = URIRef("http://www.wikidata.org/prop/direct/P26")
    assert list(turtle.subject_objects(spouse)) == [(URIRef(f"{BASE}entity/PER/ann"), URIRef(f"{BASE}entity/PER/bob"))]
    assert len(list(turtle.subjects(RDF.predicate, spouse))) == 2
    assert path.read_text(encoding="utf-8").count("wdt:P26") == 1
