"""IRIs are legal whatever a name holds, and different things have different ones."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.graph.examples import NAMES, TYPES

from promu.errors import InputError
from promu.graph.names import (
    BASE,
    check_base,
    entity_iri,
    evidence_iri,
    form_iri,
    relation_iri,
    statement_iri,
    type_iri,
)

# RFC 3986, written anew: scheme, authority, path of whole segments, query.
PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})"
LEGAL = re.compile(rf"https://[a-z.]+(/{PCHAR}+)+(\?({PCHAR}|[/?])*)?")


@given(NAMES, TYPES, NAMES)
def test_every_iri_is_legal(name: str, type: str | None, label: str) -> None:
    entity = entity_iri(BASE, name, type)
    statement = statement_iri(BASE, entity, label, entity)
    made = [entity, type_iri(BASE, type or "x"), relation_iri(BASE, label), form_iri(entity, name), statement]
    for iri in [*made, evidence_iri(statement, name, (0, 1, 2, 3))]:
        assert LEGAL.fullmatch(iri), iri
        assert not {".", ".."} & set(urlsplit(iri).path.split("/"))


@given(st.tuples(NAMES, TYPES), st.tuples(NAMES, TYPES))
def test_two_entities_have_two_iris(one: tuple[str, str | None], two: tuple[str, str | None]) -> None:
    assert (entity_iri(BASE, *one) == entity_iri(BASE, *two)) is (one == two)


@given(NAMES, st.lists(NAMES, min_size=1, max_size=3))
def test_two_relations_have_two_iris(label: str, parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert (relation_iri(BASE, path) == relation_iri(BASE, label)) is (path == label)
    assert relation_iri(BASE, path) != relation_iri(BASE, path[1:])


@given(NAMES, TYPES)
def test_a_name_can_be_read_back_from_its_iri(name: str, type: str | None) -> None:
    assert unquote(entity_iri(BASE, name, type).rpartition("/")[2]) == name


def test_they_look_like_what_they_name() -> None:
    assert entity_iri(BASE, "ann lee", "PER") == "https://promu.example/entity/PER/ann%20lee"
    assert relation_iri(BASE, "/per/loc/visited") == "https://promu.example/relation/per/loc/visited"
    assert relation_iri(BASE, "visited") == "https://promu.example/relation/visited"


@pytest.mark.parametrize(
    "base", ["http://a.org/", "https://a.org/x/y#", "https://a.org:8080/g/", "urn:uuid:", "urn:my-graph:x:"]
)
def test_bases_that_can_be_used(base: str) -> None:
    assert check_base(base) == base


@pytest.mark.parametrize(
    "base",
    ["", "a.org/", "https://a.org", "https://a.org/x", "https://a b/", "https://a.org/<x>/", "v:x/", "https://é.org/"],
)
def test_bases_that_cannot(base: str) -> None:
    with pytest.raises(InputError, match="cannot carry names; give one like"):
        check_base(base)
