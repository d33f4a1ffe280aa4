"""The neighbourhood of one entity as a page: a single HTML file that needs nothing beside itself, and no script."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from promu.analysis.pages import page_templates
from promu.analysis.report_posts import relation_name, style_of
from promu.errors import InputError
from promu.extraction.graph.iris import WIKIDATA
from promu.extraction.graph.layout import lay_out
from promu.extraction.graph.query import (
    Between,
    EntityFacts,
    FoundEvidence,
    Link,
    NamedEntity,
    between,
    facts_of,
    find_entities,
    similar_entities,
)
from promu.files import shorten, write_text

_AMONG = 40
"""Relations among the neighbours that are listed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a post's words: the head, the tail, or (`role` is empty) what is around them."""

    text: str
    role: str = ""


@dataclass(frozen=True, slots=True)
class QuoteView:
    """One piece of evidence, ready for the page."""

    post: str
    pieces: tuple[Piece, ...]
    score: float | None


@dataclass(frozen=True, slots=True)
class LinkView:
    """A relation ready for the page: `number` names its place there, `wikidata` is a property such as P26 or empty."""

    number: int
    head: NamedEntity
    tail: NamedEntity
    link: Link
    wikidata: str
    quotes: tuple[QuoteView, ...]


def write_view(
    connection: sqlite3.Connection, name: str, path: Path, *, type: str | None, limit: int, source: str
) -> None:
    """Write the page of the entity that `name` means.

    Args:
        connection: To a graph, see `open_graph`.
        name: However written.
        path: The page, written whole or not at all.
        type: Of this type; None where only one entity has the name.
        limit: Relations out of it, and into it, at most.
        source: What the page calls the graph.

    Raises:
        InputError: No entity has this name, or several have and `type` does not say which.
    """
    facts = facts_of(connection, choose(connection, name, type), limit)
    others = {link.other.id: link.other for link in facts.links if link.other.id != facts.entity.id}
    among = [found for found in between(connection, list(others.values())) if found.head.id != found.tail.id]
    write_text(path, [render(facts, among, source)])


def choose(connection: sqlite3.Connection, name: str, type: str | None) -> NamedEntity:
    """The one entity that is meant.

    Raises:
        InputError: There is none, or more than one.
    """
    found = find_entities(connection, name, type)
    if not found:
        near = ", ".join(f"{one.name!r} ({one.type})" for one in similar_entities(connection, name, type))
        kind = f" of type {type}" if type else ""
        raise InputError(f"nothing{kind} is called {shorten(name)}" + (f"; similar are {near}" if near else ""))
    if len(found) > 1:
        types = ", ".join(str(one.type) for one in found)
        raise InputError(f"{shorten(name)} is several entities, of the types {types}; say which with --type")
    return found[0]


def render(facts: EntityFacts, among: list[Between], source: str) -> str:
    """The page's HTML."""
    environment = page_templates("promu.extraction.graph")  # colours and type are those of promu's reports
    environment.filters["relation_name"] = relation_name
    environment.filters["style_of"] = style_of
    links = [_link(facts, number, link) for number, link in enumerate(facts.links)]
    return environment.get_template("view.html.j2").render(
        facts=facts,
        entity=facts.entity,
        drawing=lay_out(facts),
        links=links,
        among=among[:_AMONG],
        among_total=len(among),
        source=source,
    )


def _link(facts: EntityFacts, number: int, link: Link) -> LinkView:
    head, tail = (facts.entity, link.other) if link.outward else (link.other, facts.entity)
    wikidata = link.property.removeprefix(WIKIDATA) if link.property.startswith(WIKIDATA) else ""
    quotes = tuple(QuoteView(found.post, _pieces(found), found.score) for found in link.evidence)
    return LinkView(number, head, tail, link, wikidata, quotes)


def _pieces(evidence: FoundEvidence) -> tuple[Piece, ...]:
    """The words of a post, cut at head and tail; spans that overlap go to the one that begins first."""
    spans = sorted([(*evidence.head, "head"), (*evidence.tail, "tail")])
    pieces, position = [], 0
    for start, end, role in spans:
        start = max(start, position)
        if evidence.tokens and start < end:
            pieces.append(Piece(" ".join(evidence.tokens[position:start])))
            pieces.append(Piece(" ".join(evidence.tokens[start:end]), role))
            position = end
    pieces.append(Piece(" ".join(evidence.tokens[position:])))
    return tuple(piece for piece in pieces if piece.text)
