"""The neighbourhood of one entity as a page: a single HTML file that needs nothing beside itself, and no script."""

from __future__ import annotations

import math
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promu.errors import InputError
from promu.files import shorten, write_text
from promu.graph.graph_store import (
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
from promu.graph.names import WIKIDATA
from promu.report.html import page_templates
from promu.report.post_view import relation_name, style_of

_NAME, _LABEL = 7.8, 6.7
"""Width of a character of a name and of a label, in SVG units: an upper mean over common fonts."""
_LONGEST = 26
"""Characters of a name or label that are drawn; the lists below have all of it."""
_ROW, _GAP, _CURVE, _MARGIN = 44.0, 12.0, 96.0, 4.0
_PORT = 9.0
"""Distance of two lines where they meet the middle."""


@dataclass(frozen=True, slots=True)
class Box:
    """A drawn entity; `x`, `y` is the upper left corner, `text` its name, shortened."""

    text: str
    type: str
    style: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A drawn relation: its number in the list of links, SVG path data from head to tail, and its label's middle.

    `box` is the neighbour at its other end, on the first line to it alone; `weight` is the stroke's width.
    """

    number: int
    path: str
    label: str
    label_x: float
    label_y: float
    weight: float
    box: Box | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A laid-out neighbourhood with its size."""

    middle: Box
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Column:
    """The neighbours of one side with the numbers of the links to each, and what they need of the width."""

    neighbours: list[tuple[NamedEntity, list[int]]]
    box: float
    label: float

    @property
    def rows(self) -> int:
        return sum(len(numbers) for _, numbers in self.neighbours)

    @property
    def width(self) -> float:
        return self.box + self.label + _CURVE if self.neighbours else 0.0

    @property
    def height(self) -> float:
        return self.rows * _ROW + max(0, len(self.neighbours) - 1) * _GAP


def lay_out(facts: EntityFacts) -> Drawing | None:
    """Draw the links of an entity to others; None if there are none. Those to itself are left to the list."""
    links = facts.links
    left, right = (_column(facts, outward) for outward in (False, True))
    if not left.rows + right.rows:
        return None
    widest = _width(_short(facts.entity.name), _NAME) * 1.15 + 36
    tall = max(60.0, max(left.rows, right.rows) * _PORT + 24)
    height = max(left.height, right.height, tall) + 2 * _MARGIN
    x = _MARGIN + left.width
    middle = _box(facts.entity, x, (height - tall) / 2, widest, tall)
    lines = [
        *_lines(links, left, middle, height, outward=False),
        *_lines(links, right, middle, height, outward=True),
    ]
    return Drawing(middle, tuple(lines), round(x + widest + right.width + _MARGIN, 1), round(height, 1))


def _column(facts: EntityFacts, outward: bool) -> _Column:
    found: dict[int, tuple[NamedEntity, list[int]]] = {}
    for number, link in enumerate(facts.links):
        if link.outward is outward and link.other.id != facts.entity.id:
            found.setdefault(link.other.id, (link.other, []))[1].append(number)
    neighbours = list(found.values())
    boxes = [_width(_short(entity.name), _NAME) + 28 for entity, _ in neighbours]
    labels = [_width(label_of(facts.links[number]), _LABEL) + 26 for _, numbers in neighbours for number in numbers]
    return _Column(neighbours, max([72.0, *boxes]), max([60.0, *labels]))


def _lines(links: Sequence[Link], column: _Column, middle: Box, height: float, outward: bool) -> list[Line]:
    y = (height - column.height) / 2
    port = middle.y + middle.height / 2 - _PORT * (column.rows - 1) / 2
    edge = middle.x + middle.width if outward else middle.x  # where lines meet the middle
    sign = 1 if outward else -1
    bend, end = edge + sign * _CURVE, edge + sign * (_CURVE + column.label)  # the label's stretch, and the neighbour
    lines = []
    for entity, numbers in column.neighbours:
        tall = _ROW * len(numbers)
        box: Box | None = _box(entity, end if outward else end - column.box, y, column.box, tall)
        for number in numbers:
            row = y + _ROW / 2
            path = (
                f"M{edge + 2:g} {port:g}C{edge + 50:g} {port:g} {bend - 46:g} {row:g} {bend:g} {row:g}H{end - 5:g}"
                if outward
                else f"M{end + 2:g} {row:g}H{bend:g}C{bend + 46:g} {row:g} {edge - 50:g} {port:g} {edge - 5:g} {port:g}"
            )
            weight = round(min(1.4 + 0.5 * math.log2(links[number].posts), 4.0), 1)
            label = label_of(links[number])
            lines.append(Line(number, path, label, round((bend + end) / 2, 1), round(row - 6, 1), weight, box))
            y, port, box = y + _ROW, port + _PORT, None
        y += _GAP
    return lines


def _box(entity: NamedEntity, x: float, y: float, width: float, height: float) -> Box:
    values = [round(value, 1) for value in (x, y, width, height)]
    return Box(_short(entity.name), entity.type or "", style_of(entity.type), *values)


def label_of(link: Link) -> str:
    """A relation as it is drawn."""
    return _short(relation_name(link.label))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _width(text: str, unit: float) -> float:
    return round(unit * sum(1.9 if unicodedata.east_asian_width(sign) in "WF" else 1.0 for sign in text), 1)


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
    environment = page_templates("promu.graph")  # colours and type are those of promu's reports
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
