"""The neighbourhood of one entity as a page: a single HTML file that needs nothing beside itself, and no script."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promu.errors import InputError
from promu.files import refuse_overwriting, shorten, write_text
from promu.graph import graph_store
from promu.graph.graph_store import EntityFacts, Evidence, Link, NamedEntity, facts_of
from promu.graph.names import WIKIDATA
from promu.report.html import page_templates
from promu.report.palette import type_name, type_styles
from promu.report.post_view import Node, relation_name

_AMONG = 40  # relations among the neighbours that are listed
_OF_NEIGHBOUR = 8  # relations out of a neighbour, and into it, that are listed
_LONGEST = 26  # characters of a name or label that are drawn; the lists have all of it
_NAME, _LABEL = 7.8, 6.7  # width of a character of a name and of a label, in SVG units: an upper mean over common fonts
_ROW, _GAP, _CURVE, _MARGIN = 44.0, 12.0, 96.0, 4.0
_PORT = 9.0  # distance of two lines where they meet the middle
_PHONE = 316.0  # width of the drawing that stands in a column
_SHRUNK = 0.8  # the wide drawing is shown where it need not be made smaller than this
_INSIDE = 1018.0  # room for a drawing on the widest page, in pixels
_AROUND = 104.0  # pixels that page and card take from the width of a screen


def write_graph_page(graph: Path, name: str, out: Path, *, type: str | None = None, limit: int = 12) -> None:
    """Write the page of the entity that has a name: its neighbours as a drawing, its relations with their evidence.

    `name` is as `query_graph` takes it, `type` may be None where only one entity has the name, and `limit` is the most
    relations out of it, and into it: 1 to 100.

    Raises:
        InputError: The graph cannot be read, no entity has this name, or several have and `type` does not say which.
    """
    if not 1 <= limit <= 100:
        raise InputError(f"limit is {limit}; from 1 to 100 relations can be drawn each way")
    with graph_store.open_graph(graph) as connection:
        entities = graph_store.find_entities(connection, name, type)
        if not entities:
            similar = graph_store.similar_entities(connection, name, type)
            names = "; similar are " * bool(similar) + ", ".join(f"{one.name!r} ({one.type})" for one in similar)
            raise InputError(f"nothing{f' of type {type}' if type else ''} is called {shorten(name)}{names}")
        if len(entities) > 1:
            types = ", ".join(str(one.type) for one in entities)
            raise InputError(f"{shorten(name)} is several entities, of the types {types}; say which with type=")
        facts = facts_of(connection, entities[0], limit)
        others = {link.other.id: link.other for link in facts.links if link.other.id != facts.entity.id}
        neighbours = [facts_of(connection, one, min(limit, _OF_NEIGHBOUR)) for one in others.values()]
        found = graph_store.between(connection, list(others.values()))
        among = [one for one in found if one[0].id != one[2].id]
        styles = type_styles(row[0] for row in connection.execute("SELECT DISTINCT type FROM entities"))
    environment = page_templates("promu.graph")  # colours and type are those of promu's reports
    environment.filters |= {"relation_name": relation_name, "style_of": lambda kind: styles[type_name(kind)]}
    page = environment.get_template("view.html.j2").render(
        facts=facts,
        entity=facts.entity,
        drawing=(drawing := draw_neighbours(facts, styles)),
        column=draw_column(facts, styles),
        wide_from=wide_from(drawing),
        neighbours=neighbours,
        here={facts.entity.id, *others},
        links=[_link_view(facts, number, link) for number, link in enumerate(facts.links)],
        among=among[:_AMONG],
        among_total=len(among),
        source=graph.name,
    )
    refuse_overwriting(out, graph)
    write_text(out, [page])


def _link_view(facts: EntityFacts, number: int, link: Link) -> dict[str, Any]:
    """A relation for the page; `quotes` has of each evidence the post's id, its words as `_segments`, and the score."""
    head, tail = (facts.entity, link.other) if link.outward else (link.other, facts.entity)
    wikidata = link.property.removeprefix(WIKIDATA) if link.property.startswith(WIKIDATA) else ""
    quotes = [(evidence.post, _segments(evidence), evidence.score) for evidence in link.evidence]
    return {"number": number, "head": head, "tail": tail, "link": link, "wikidata": wikidata, "quotes": quotes}


def _segments(evidence: Evidence) -> list[tuple[str, str]]:
    """The words of a post as (text, "head", "tail" or ""); spans that overlap go to the one that begins first."""
    segments, position = [], 0
    for start, end, role in sorted([(*evidence.head, "head"), (*evidence.tail, "tail")]):
        start = max(start, position)
        if evidence.tokens and start < end:
            segments += [(evidence.tokens[position:start], ""), (evidence.tokens[start:end], role)]
            position = end
    segments.append((evidence.tokens[position:], ""))
    return [(" ".join(words), role) for words, role in segments if words]


class Line(NamedTuple):
    """A drawn relation: its number in the list of links, SVG path data from head to tail, and its label's middle.

    `box` is the neighbour at its other end, on the first line to it alone; `weight` is the stroke's width.
    """

    number: int
    path: str
    label: str
    label_x: float
    label_y: float
    weight: float
    box: Node | None


class Drawing(NamedTuple):
    """A laid-out neighbourhood with its size."""

    middle: Node
    lines: list[Line]
    width: float
    height: float


def wide_from(drawing: Drawing | None) -> float | None:
    """From which width of a screen, in pixels, the wide drawing is shown; None: on no screen."""
    if drawing is None or _SHRUNK * drawing.width > _INSIDE:
        return None
    return round(_SHRUNK * drawing.width + _AROUND)


def draw_column(facts: EntityFacts, styles: Mapping[str, str] | None = None) -> Drawing | None:
    """The same relations as `draw_neighbours` in a column, for phones: the entity above, each neighbour below it.

    Above a neighbour stand the labels of its relations, with an arrow each: → from the entity, ← to it.
    """
    styles = styles or type_styles([facts.entity.type, *(link.other.type for link in facts.links)])
    by_id: dict[int, tuple[NamedEntity, list[int]]] = {}
    for number, link in enumerate(facts.links):
        if link.other.id != facts.entity.id:
            by_id.setdefault(link.other.id, (link.other, []))[1].append(number)
    if not by_id:
        return None
    width = min(_width(_short(facts.entity.name), _NAME) * 1.15 + 36, _PHONE - 2 * _MARGIN)
    middle = _box(facts.entity, styles, _MARGIN, _MARGIN, width, 48.0)
    bottom, trunk, left = middle.y + middle.height, 18.0, 38.0
    y, lines = bottom + 10, []
    for entity, numbers in by_id.values():
        tall = max(40.0, _PORT * len(numbers) + 14)
        top = y + 20 * len(numbers) + 3
        box: Node | None = _box(entity, styles, left, top, _width(_short(entity.name), _NAME) + 28, tall)
        for place, number in enumerate(numbers):
            link = facts.links[number]
            port = round(top + tall / 2 + _PORT * (place - (len(numbers) - 1) / 2), 1)
            path = (
                f"M{trunk:g} {bottom:g}V{port:g}H{left - 5:g}"
                if link.outward
                else f"M{left - 2:g} {port:g}H{trunk:g}V{bottom + 5:g}"
            )
            label = f"{'→' if link.outward else '←'} {_label(link)}"
            lines.append(Line(number, path, label, left + 4, round(y + 15 + 20 * place, 1), 1.6, box))
            box = None
        y = top + tall + 10
    return Drawing(middle, lines, _PHONE, round(y, 1))


class _Column(NamedTuple):
    """The neighbours of one side with the numbers of the links to each; widths of boxes and labels, rows, and size."""

    neighbours: list[tuple[NamedEntity, list[int]]]
    box: float
    label: float
    rows: int
    width: float
    height: float


def draw_neighbours(facts: EntityFacts, styles: Mapping[str, str] | None = None) -> Drawing | None:
    """Draw the relations of an entity to others; None if there are none. Those to itself are in the list alone.

    `styles` are those of all the graph's types (`type_styles`).
    """
    styles = styles or type_styles([facts.entity.type, *(link.other.type for link in facts.links)])
    left, right = (_column(facts, outward) for outward in (False, True))
    if not left.rows + right.rows:
        return None
    width = _width(_short(facts.entity.name), _NAME) * 1.15 + 36
    tall = max(60.0, max(left.rows, right.rows) * _PORT + 24)
    height = max(left.height, right.height, tall) + 2 * _MARGIN
    x = _MARGIN + left.width
    middle = _box(facts.entity, styles, x, (height - tall) / 2, width, tall)
    lines = [
        *(
            line
            for column, outward in ((left, False), (right, True))
            for line in _lines(facts.links, column, middle, styles, height, outward)
        )
    ]
    return Drawing(middle, lines, round(x + width + right.width + _MARGIN, 1), round(height, 1))


def _column(facts: EntityFacts, outward: bool) -> _Column:
    by_id: dict[int, tuple[NamedEntity, list[int]]] = {}
    for number, link in enumerate(facts.links):
        if link.outward is outward and link.other.id != facts.entity.id:
            by_id.setdefault(link.other.id, (link.other, []))[1].append(number)
    boxes = [_width(_short(entity.name), _NAME) + 28 for entity, _ in by_id.values()]
    labels = [_width(_label(facts.links[number]), _LABEL) + 26 for _, numbers in by_id.values() for number in numbers]
    box, label, rows = max([72.0, *boxes]), max([60.0, *labels]), len(labels)
    height = rows * _ROW + max(0, len(by_id) - 1) * _GAP
    return _Column(list(by_id.values()), box, label, rows, box + label + _CURVE if rows else 0.0, height)


def _lines(
    links: Sequence[Link], column: _Column, middle: Node, styles: Mapping[str, str], height: float, outward: bool
) -> list[Line]:
    y = (height - column.height) / 2
    port = middle.y + middle.height / 2 - _PORT * (column.rows - 1) / 2
    edge = middle.x + middle.width if outward else middle.x  # where lines meet the middle
    sign = 1 if outward else -1
    bend, end = edge + sign * _CURVE, edge + sign * (_CURVE + column.label)  # the label's stretch, and the neighbour
    lines = []
    for entity, numbers in column.neighbours:
        tall = _ROW * len(numbers)
        box: Node | None = _box(entity, styles, end if outward else end - column.box, y, column.box, tall)
        for number in numbers:
            row = y + _ROW / 2
            path = (
                f"M{edge + 2:g} {port:g}C{edge + 50:g} {port:g} {bend - 46:g} {row:g} {bend:g} {row:g}H{end - 5:g}"
                if outward
                else f"M{end + 2:g} {row:g}H{bend:g}C{bend + 46:g} {row:g} {edge - 50:g} {port:g} {edge - 5:g} {port:g}"
            )
            weight = round(min(1.4 + 0.5 * math.log2(links[number].posts), 4.0), 1)
            label = _label(links[number])
            lines.append(Line(number, path, label, round((bend + end) / 2, 1), round(row - 6, 1), weight, box))
            y, port, box = y + _ROW, port + _PORT, None
        y += _GAP
    return lines


def _box(entity: NamedEntity, styles: Mapping[str, str], x: float, y: float, width: float, height: float) -> Node:
    values = [round(value, 1) for value in (x, y, width, height)]
    return Node(_short(entity.name), entity.type or "", styles[type_name(entity.type)], *values)


def _label(link: Link) -> str:
    return _short(relation_name(link.label))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _width(text: str, unit: float) -> float:
    return round(unit * sum(1.9 if unicodedata.east_asian_width(sign) in "WF" else 1.0 for sign in text), 1)
