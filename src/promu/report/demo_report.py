"""The report of one demo run: a single HTML file that needs nothing beside itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from promu.files import write_text
from promu.report.html import (
    Candidate,
    Curves,
    DemoReport,
    Embedded,
    ExtractedPost,
    LabelledPair,
    Scores,
    SystemResult,
    embed,
    page_templates,
    to_json,
)
from promu.schema import NO_RELATION, Entity, Post, Relation

_NAME, _LABEL = 7.6, 6.4
"""Width of a character of a name and of a label, in SVG units: an upper mean over common fonts."""

NODE_HEIGHT = 42.0
_MARGIN = 2.0
_LEVEL = 30.0
_PORT = 14.0


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An arrow to draw: from node `head` to node `tail`, its label and its verdict ("right", "wrong", "open")."""

    head: int
    tail: int
    label: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Node:
    """A drawn entity; `x`, `y` is the upper left corner."""

    text: str
    type: str
    style: str
    x: float
    y: float
    width: float
    height: float = NODE_HEIGHT


@dataclass(frozen=True, slots=True)
class Arrow:
    """A drawn relation: SVG path data, and the middle of its label; `over`: the label interrupts the line."""

    path: str
    label: str
    verdict: str
    label_x: float
    label_y: float
    label_width: float
    over: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A laid-out graph with its size."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    width: float
    height: float


def lay_out(entities: Sequence[tuple[str, str, str]], edges: Sequence[GraphEdge]) -> Graph | None:
    """Place entities in a row and arrows between them.

    A relation between neighbours is a straight arrow in the gap between them; any other, and a second one between the
    same two, is an arc above the row, higher the farther it reaches.

    Args:
        entities: (text, type, style) of each node.
        edges: Relations by the nodes' indices.

    Returns:
        The graph; None if there is no edge.
    """
    if not edges:
        return None
    # Entities without a relation have their place in the text; here they would only stretch the row.
    used = sorted({index for edge in edges for index in (edge.head, edge.tail)})
    place = {index: position for position, index in enumerate(used)}
    straight: dict[int, GraphEdge] = {}
    arcs: list[GraphEdge] = []
    for edge in edges:
        gap = min(place[edge.head], place[edge.tail])
        if abs(place[edge.head] - place[edge.tail]) == 1 and gap not in straight:
            straight[gap] = edge
        else:
            arcs.append(edge)
    arcs.sort(key=lambda edge: abs(place[edge.head] - place[edge.tail]))
    top = _MARGIN + (_LEVEL * len(arcs) + 10 if arcs else 0)
    nodes: list[Node] = []
    x = _MARGIN
    for position, index in enumerate(used):
        text, kind, style = entities[index]
        width = round(max(_NAME * len(text), _LABEL * len(kind)) + 26, 1)
        nodes.append(Node(text, kind, style, round(x, 1), round(top, 1), width))
        x += width
        if position < len(used) - 1:
            x += _label_width(straight[position].label) + 34 if position in straight else 40.0
    arrows = [_straight(straight[gap], nodes[gap], nodes[gap + 1], place) for gap in sorted(straight)]
    ports = _ports([(place[edge.head], place[edge.tail]) for edge in arcs], nodes)
    for level, (edge, (start, end)) in enumerate(zip(arcs, ports, strict=True), start=1):
        arrows.append(_arc(edge, start, end, top, top - _LEVEL * level))
    # A label above the row may be wider than what it spans.
    reach = max([x + _MARGIN, *(arrow.label_x + arrow.label_width / 2 + _MARGIN for arrow in arrows)])
    return Graph(tuple(nodes), tuple(arrows), round(reach, 1), round(top + NODE_HEIGHT + _MARGIN, 1))


def _label_width(label: str) -> float:
    return round(_LABEL * len(label) + 14, 1)


def _straight(edge: GraphEdge, left: Node, right: Node, place: dict[int, int]) -> Arrow:
    y = left.y + NODE_HEIGHT / 2
    start, end = left.x + left.width + 3, right.x - 4
    if place[edge.head] > place[edge.tail]:
        start, end = right.x - 3, left.x + left.width + 4
    middle = (left.x + left.width + right.x) / 2
    path = f"M{start:g} {y:g}L{end:g} {y:g}"
    return Arrow(path, edge.label, edge.verdict, round(middle, 1), y - 8, _label_width(edge.label), False)


def _ports(arcs: Sequence[tuple[int, int]], nodes: Sequence[Node]) -> list[tuple[float, float]]:
    """Where each arc (head, tail) leaves and enters: side by side on a node, such that nested arcs do not cross.

    Args:
        arcs: The nodes' positions in the row, innermost arc first.
        nodes: The row.
    """
    ends: dict[int, list[tuple[int, int, int]]] = {}
    for level, (head, tail) in enumerate(arcs):
        for node, other in ((head, tail), (tail, head)):
            # From left to right: arcs from the left, inner ones first; then arcs to the right, outer ones first.
            ends.setdefault(node, []).append((int(other > node), -level if other > node else level, level))
    at: dict[tuple[int, int], float] = {}
    for node, found in ends.items():
        for slot, (_, _, level) in enumerate(sorted(found)):
            centre = nodes[node].x + nodes[node].width / 2
            at[node, level] = round(centre + _PORT * (slot - (len(found) - 1) / 2), 1)
    return [(at[head, level], at[tail, level]) for level, (head, tail) in enumerate(arcs)]


def _arc(edge: GraphEdge, start: float, end: float, row: float, y: float) -> Arrow:
    """An arc at height `y` over a row of nodes that begins at `row`."""
    bend = 10 if end > start else -10
    path = (
        f"M{start:g} {row - 2:g}L{start:g} {y + 10:g}Q{start:g} {y:g} {start + bend:g} {y:g}"
        f"L{end - bend:g} {y:g}Q{end:g} {y:g} {end:g} {y + 10:g}L{end:g} {row - 4:g}"
    )
    width = _label_width(edge.label)
    middle = max((start + end) / 2, width / 2 + _MARGIN)
    return Arrow(path, edge.label, edge.verdict, round(middle, 1), y, width, True)


RIGHT, WRONG, MISSED, OPEN = "right", "wrong", "missed", "open"
"""Agrees with the gold; contradicts it; in the gold alone; not judged, since the gold says nothing about it."""

MARKS = {RIGHT: "✓", WRONG: "✗", MISSED: "○", OPEN: "·"}

STYLES = {"PER": "per", "LOC": "loc", "ORG": "org", "MISC": "misc", "OTHER": "misc"}
"""Style class of an entity type; the 2015 and 2017 Twitter files write OTHER for MISC."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding, or one gold label without a finding, in words."""

    kind: str
    sentence: str
    score: float | None = None

    @property
    def mark(self) -> str:
        """A sign for `kind`; the word itself stands beside it on the page."""
        return MARKS[self.kind]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text: plain words, or (with a `label`) an entity."""

    text: str
    label: str = ""
    style: str = ""
    verdict: str = ""
    note: str = ""

    @property
    def mark(self) -> str:
        """A sign for `verdict`."""
        return MARKS[self.verdict]


@dataclass(frozen=True, slots=True)
class PostView:
    """Everything the page shows of one post."""

    id: str
    decides: str
    image: Embedded | None
    pieces: tuple[Piece, ...]
    graph: Graph | None
    verdicts: tuple[Verdict, ...]
    summary: str
    result: str


def relation_name(label: str) -> str:
    """The readable end of a relation label: `/per/loc/place_of_residence` gives "place of residence"."""
    return label.rstrip("/").rsplit("/", 1)[-1].replace("_", " ") or label


def style_of(kind: str | None) -> str:
    """The style class of an entity type."""
    return STYLES.get(type_name(kind), "other")


def type_name(kind: str | None) -> str:
    """An entity type as the page writes it; MNRE writes its types in small letters."""
    return (kind or "").upper()


def view_post(post: ExtractedPost) -> PostView:
    """Judge and lay out one post.

    Raises:
        InputError: The image cannot be read, or the extraction contradicts itself (a span past the end, a relation
            to an entity that is not there).
    """
    found = _to_post(post.result)
    entities = _judge_entities(found, post.gold_entities)
    relations = _judge_relations(found, post.gold_relations)
    verdicts = (*entities.values(), *_missed_entities(found, post), *relations, *_missed_relations(found, post))
    image = None
    if post.image is not None:
        things = ", ".join(region.label for region in post.regions)
        alt = f"Image of post {found.id}" + (f": {things}" if things else "")
        image = embed(post.image, alt, [(region.box, region.label) for region in post.regions])
    graph = lay_out(
        [(found.words(entity), type_name(entity.type), style_of(entity.type)) for entity in found.entities],
        [
            GraphEdge(relation.head, relation.tail, f"{verdict.mark} {relation_name(relation.type)}", verdict.kind)
            for relation, verdict in zip(found.relations, relations, strict=True)
        ],
    )
    return PostView(
        found.id,
        post.decides,
        image,
        tuple(_pieces(found, entities, _missed_spans(found, post))),
        graph,
        tuple(verdicts),
        _summary(verdicts),
        _pretty(post.result),
    )


def _to_post(result: Mapping[str, Any]) -> Post:
    return Post(
        str(result["id"]),
        tuple(result["tokens"]),
        entities=tuple(Entity(e["start"], e["end"], e["type"], e.get("score")) for e in result["entities"]),
        relations=tuple(Relation(r["head"], r["tail"], r["type"], r.get("score")) for r in result["relations"]),
    )


def _gold_types(gold: Sequence[Mapping[str, Any]]) -> dict[Span, str | None]:
    return {(int(entity["start"]), int(entity["end"])): entity["type"] for entity in gold}


def _gold_pairs(gold: Sequence[Mapping[str, Any]]) -> dict[tuple[Span, Span], str]:
    return {(_span(relation["head_span"]), _span(relation["tail_span"])): relation["type"] for relation in gold}


def _span(value: Sequence[int]) -> Span:
    start, end = value
    return int(start), int(end)


def _judge_entities(found: Post, gold: Sequence[Mapping[str, Any]] | None) -> dict[int, Verdict]:
    """A verdict for each found entity, by its index."""
    types = _gold_types(gold or ())
    verdicts = {}
    for index, entity in enumerate(found.entities):
        said = f"“{found.words(entity)}” is {type_name(entity.type) or 'an entity'}"
        span = (entity.start, entity.end)
        if gold is None or (span in types and types[span] is None):
            kind, sentence = OPEN, f"{said}; the gold labels do not tell its type"
        elif span not in types:
            kind, sentence = WRONG, f"{said}; the gold labels have no entity with these words"
        elif type_name(types[span]) == type_name(entity.type):
            kind, sentence = RIGHT, said
        else:
            kind, sentence = WRONG, f"{said}; the gold label is {type_name(types[span])}"
        verdicts[index] = Verdict(kind, sentence, entity.score)
    return verdicts


def _missed_spans(found: Post, post: ExtractedPost) -> dict[Span, str | None]:
    spans = {(entity.start, entity.end) for entity in found.entities}
    return {span: kind for span, kind in _gold_types(post.gold_entities or ()).items() if span not in spans}


def _missed_entities(found: Post, post: ExtractedPost) -> list[Verdict]:
    return [
        Verdict(MISSED, f"“{' '.join(found.tokens[start:end])}” is {type_name(kind) or 'an entity'}")
        for (start, end), kind in _missed_spans(found, post).items()
    ]


def _judge_relations(found: Post, gold: Sequence[Mapping[str, Any]] | None) -> list[Verdict]:
    pairs = _gold_pairs(gold or ())
    verdicts = []
    for relation in found.relations:
        head, tail = found.entities[relation.head], found.entities[relation.tail]
        pair = ((head.start, head.end), (tail.start, tail.end))
        said = _triple(found.words(head), relation.type, found.words(tail))
        back = pairs.get((pair[1], pair[0]), NO_RELATION)
        if pairs.get(pair) == relation.type:
            kind, sentence = RIGHT, said
        elif pairs.get(pair) == NO_RELATION:
            kind, sentence = WRONG, f"{said}; the gold label is no relation"
        elif pair in pairs:
            kind, sentence = WRONG, f"{said}; the gold label is {relation_name(pairs[pair])}"
        elif back != NO_RELATION:
            kind, sentence = WRONG, f"{said}; the gold label is {relation_name(back)}, the other way round"
        else:
            kind, sentence = OPEN, f"{said}; the gold labels say nothing about this pair"
        verdicts.append(Verdict(kind, sentence, relation.score))
    return verdicts


def _missed_relations(found: Post, post: ExtractedPost) -> list[Verdict]:
    """Gold relations between two spans for which nothing was said, in either direction."""
    spans = [(entity.start, entity.end) for entity in found.entities]
    said = {frozenset((spans[relation.head], spans[relation.tail])) for relation in found.relations}
    return [
        Verdict(MISSED, _triple(" ".join(found.tokens[slice(*head)]), kind, " ".join(found.tokens[slice(*tail)])))
        for (head, tail), kind in _gold_pairs(post.gold_relations or ()).items()
        if kind != NO_RELATION and frozenset((head, tail)) not in said
    ]


def _triple(head: str, label: str, tail: str) -> str:
    return f"“{head}” – {relation_name(label)} → “{tail}”"


def _pieces(found: Post, verdicts: Mapping[int, Verdict], missed: Mapping[Span, str | None]) -> list[Piece]:
    """The text cut at the entities; of two that overlap, the page colours the first."""
    spans = [
        (entity.start, entity.end, entity.type, verdicts[index].kind, verdicts[index].sentence)
        for index, entity in enumerate(found.entities)
    ]
    spans += [(start, end, kind, MISSED, "in the gold labels, not found") for (start, end), kind in missed.items()]
    pieces = []
    at = 0
    # At the same place what was found goes before what was missed.
    for start, end, kind, verdict, note in sorted(spans, key=lambda span: (span[0], span[3] == MISSED)):
        if start < at or end > len(found.tokens):
            continue
        if start > at:
            pieces.append(Piece(" ".join(found.tokens[at:start])))
        pieces.append(
            Piece(" ".join(found.tokens[start:end]), type_name(kind) or "entity", style_of(kind), verdict, note)
        )
        at = end
    if at < len(found.tokens):
        pieces.append(Piece(" ".join(found.tokens[at:])))
    return pieces


def _summary(verdicts: Sequence[Verdict]) -> str:
    """ "2 right, 1 wrong": the kinds that occur, in a fixed order."""
    words = {RIGHT: "right", WRONG: "wrong", MISSED: "missed", OPEN: "not judged"}
    counts = {kind: sum(verdict.kind == kind for verdict in verdicts) for kind in words}
    return ", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count) or "nothing found"


def _pretty(result: Mapping[str, Any]) -> str:
    """The extraction as JSON, one entity and one relation a line."""
    lines = []
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"


WIDTH, HEIGHT = 400.0, 230.0
_LEFT, _TOP, _BOTTOM = 34.0, 12.0, 28.0
_LABEL_GAP = 14.0
_LABEL_CHARACTER = 6.6


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and the text beside it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line, with its name and the style class it is drawn in."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]

    def finite(self) -> list[tuple[float, float]]:
        """The points that have a place on paper."""
        return [point for point in self.points if all(map(math.isfinite, point))]


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line: SVG path data, its last point, and where its name stands."""

    name: str
    style: str
    path: str
    end: tuple[float, float]
    label_y: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """A line chart laid out; `left`, `right`, `top`, `bottom` bound the plot."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def summary(self) -> str:
        """The lines in words, for those who do not see them."""
        return "; ".join(f"{line.name} from {line.first:.3g} to {line.last:.3g}" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands, how high, its value as text, and the base line of that text."""

    name: str
    style: str
    x: float
    y: float
    width: float
    height: float
    text: str
    text_y: float


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars that stand together, with the group's name under them and a limit (such as a ceiling) across them."""

    name: str
    bars: tuple[Bar, ...]
    middle: float
    start: float
    end: float
    limit_y: float | None
    limit_text: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """A chart of grouped bars, 0-100."""

    groups: tuple[BarGroup, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    bottom: float
    width: float = WIDTH
    height: float = HEIGHT


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) from at or below `low` to at or above `high`."""
    span = high - low
    if span < 1e-300:  # nothing to tell apart, or less than a float can divide
        span = abs(high) if abs(high) >= 1e-300 else 1.0
    rough = span / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def line_chart(series: Sequence[Series], y_max: float | None = None) -> LineChart | None:
    """Lay out lines over a common pair of axes, y from 0 (or below, where values are).

    Args:
        series: The lines. Values that are not finite leave a gap.
        y_max: The y axis reaches at least to this.

    Returns:
        The chart; None if no line has a point.
    """
    drawn = [one for one in series if one.finite()]
    if not drawn:
        return None
    xs = [x for one in drawn for x, _ in one.finite()]
    ys = [y for one in drawn for _, y in one.finite()]
    x_low, x_high = min(xs), max(xs)
    y_values = ticks(min(0.0, *ys), max(y_max or 0.0, *ys))
    left = max(_LEFT, 10 + _LABEL_CHARACTER * max(len(short(value)) for value in y_values))
    right = WIDTH - 14 - _LABEL_CHARACTER * max(len(one.name) for one in drawn)
    bottom = HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - y_values[0]) / (y_values[-1] - y_values[0])
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - _TOP), 1)

    ends = [place(*one.finite()[-1]) for one in drawn]
    labels = spread([y for _, y in ends], _LABEL_GAP, _TOP, bottom)
    lines = []
    for one, end, label_y in zip(drawn, ends, labels, strict=True):
        values = [y for _, y in one.finite()]
        path = _path([place(*point) if all(map(math.isfinite, point)) else None for point in one.points])
        lines.append(Line(one.name, one.style, path, end, label_y, values[0], values[-1]))
    x_values = [value for value in ticks(x_low, x_high) if x_low <= value <= x_high] or [x_low]
    return LineChart(
        tuple(lines),
        tuple(Tick(place(value, 0)[0], short(value)) for value in x_values),
        tuple(Tick(place(x_low, value)[1], short(value)) for value in y_values),
        round(left, 1),
        round(right, 1),
        _TOP,
        bottom,
    )


def bar_chart(
    groups: Sequence[tuple[str, Sequence[tuple[str, str, float]], float | None]], limit: str = ""
) -> BarChart | None:
    """Lay out grouped bars on an axis from 0 to 100.

    Args:
        groups: Each with its name, its bars as (name, style, value 0-100), and the value of the limit across it.
        limit: What the limit is called.

    Returns:
        The chart; None if there is no bar.
    """
    most = max((len(bars) for _, bars, _ in groups), default=0)
    if not most:
        return None
    left, right, bottom = 30.0, WIDTH - 4, HEIGHT - _BOTTOM
    slot = (right - left) / len(groups)
    bar_width = min(slot * 0.84 / most, 44.0)

    def height_of(value: float) -> float:
        return round(min(max(value, 0.0), 100.0) / 100 * (bottom - _TOP), 1)

    laid = []
    for index, (name, bars, ceiling) in enumerate(groups):
        middle = left + (index + 0.5) * slot
        start = middle - bar_width * len(bars) / 2
        limit_y = None if ceiling is None else round(bottom - height_of(ceiling), 1)
        laid_bars = tuple(
            Bar(
                bar_name,
                style,
                round(start + place * bar_width + 1.5, 1),
                round(bottom - height_of(value), 1),
                round(bar_width - 3, 1),
                height_of(value),
                f"{value:.0f}" if value >= 99.95 else f"{value:.1f}",
                _above(bottom - height_of(value), limit_y),
            )
            for place, (bar_name, style, value) in enumerate(bars)
        )
        end = start + bar_width * len(bars)
        limit_text = "" if ceiling is None else f"{limit} {ceiling:.1f}"
        laid.append(
            BarGroup(name, laid_bars, round(middle, 1), round(start - 3, 1), round(end + 3, 1), limit_y, limit_text)
        )
    marks = tuple(Tick(round(bottom - height_of(value), 1), str(value)) for value in (0, 25, 50, 75, 100))
    return BarChart(tuple(laid), marks, left, right, bottom)


def _above(top: float, limit_y: float | None) -> float:
    """Base line of the figure over a bar that ends at `top`: higher up where the limit's line would strike it."""
    base = top - 5
    struck = limit_y is not None and base - 11 < limit_y < base + 4
    return round(limit_y - 4 if struck and limit_y is not None else base, 1)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart, within `low`..`high` where they fit."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = round(min(placed[index], ceiling), 1)
        ceiling = placed[index] - gap
    return placed


def short(value: float) -> str:
    """A tick's number in few characters: 0.25, 5, 12k."""
    value = value + 0.0  # not -0
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 10):g}"


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path data; None lifts the pen."""
    parts, pen_down = [], False
    for point in points:
        if point is not None:
            parts.append(f"{'L' if pen_down else 'M'}{point[0]:g} {point[1]:g}")
        pen_down = point is not None
    return "".join(parts)


__all__ = ["render", "to_json", "write_report"]

TASKS = (("ner", "Entities", "MNER"), ("re", "Relations", "MRE"))
GROUPS = {"text": "text decides", "image": "image decides"}
LOSSES = {
    "itm": ("ITM", "does the caption belong to the image?"),
    "cit": ("CIT", "contrast of captions and images."),
    "coe": ("COE", "soft nouns of a region."),
    "cir": ("CIR", "soft relations of an image."),
    "mlm": ("MLM", "masked words of a caption."),
}
"""Short name and meaning of the parts of the pre-training loss."""

SYSTEM_STYLES = {"text-only": "text", "from-scratch": "scratch", "promu": "promu"}
PROMU = "promu"
MOSAIC = 12
"""Images beside the title."""


@dataclass(frozen=True, slots=True)
class Gain:
    """F1 points of promu over another system."""

    over: str
    points: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result table: figures as text, each with whether it is the column's best."""

    name: str
    style: str
    cells: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class TaskView:
    """What the page says of one task."""

    key: str
    title: str
    short: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    chart: BarChart | None
    gains: tuple[Gain, ...]
    f1: float | None
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region's number, what was drawn, and its nouns with probability and whether they are right (None: unknown)."""

    number: int
    drawn: str
    labels: tuple[tuple[str, float, bool | None], ...]


@dataclass(frozen=True, slots=True)
class PairView:
    """A caption pair with its image and soft labels."""

    image: Embedded
    caption: str
    matched: bool
    regions: tuple[RegionView, ...]
    relation: tuple[Candidate, ...]


def write_report(path: Path, data: DemoReport) -> None:
    """Write the report atomically.

    Raises:
        InputError: An image is missing or broken, an extraction contradicts itself, or `path` cannot be written.
    """
    write_text(path, [render(data)])


def render(data: DemoReport) -> str:
    """The report as one HTML document that loads nothing and runs no script.

    Raises:
        InputError: An image is missing or broken, or an extraction contradicts itself.
    """
    posts = [view_post(post) for post in data.posts]
    pairs = [_pair(pair) for pair in data.pairs]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            tasks=[_task(data, *task) for task in TASKS],
            systems=data.systems,
            curves=_curves(data.curves),
            pairs=pairs,
            posts=posts,
            mosaic=_mosaic(pairs, posts),
        )
    )


def _environment() -> jinja2.Environment:
    environment = page_templates()
    environment.filters |= {"signed": signed, "duration": duration, "percent": percent}
    environment.globals |= {"system_style": SYSTEM_STYLES.get}
    return environment


def signed(points: float) -> str:
    """A difference with its sign: "+7.1", "−0.4" (a true minus), "±0.0"."""
    text = f"{abs(points):.1f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if points > 0 else '−'}{text}"


def duration(seconds: float) -> str:
    """Seconds in words a person reads: "48 s", "7 min 12 s", "1 h 4 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(share: float) -> str:
    """A share as whole percent, with "< 1 %" and "> 99 %" where rounding would deny what is left."""
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def _task(data: DemoReport, key: str, title: str, short: str) -> TaskView:
    scores: list[tuple[SystemResult, Scores]] = [(system, getattr(system, key)) for system in data.systems]
    groups = _groups([found for _, found in scores])
    getters: list[tuple[str, Callable[[Scores], float | None]]] = [
        ("Precision", lambda found: found.precision),
        ("Recall", lambda found: found.recall),
        ("F1", lambda found: found.f1),
    ]
    getters += [(f"F1, {GROUPS.get(group, group)}", _by_group(group)) for group in groups]
    bests = [
        max((value for _, found in scores if (value := getter(found)) is not None), default=None)
        for _, getter in getters
    ]
    rows = tuple(
        Row(
            system.name,
            SYSTEM_STYLES.get(system.name, "other"),
            tuple(
                _cell(getter(found), best, len(scores) > 1) for (_, getter), best in zip(getters, bests, strict=True)
            ),
        )
        for system, found in scores
    )
    ceiling = data.ceiling.get(key)
    f1 = {system.name: found.f1 for system, found in scores}
    gains: tuple[Gain, ...] = ()
    if PROMU in f1:
        others = sorted((name for name in f1 if name != PROMU), key=lambda name: name != "from-scratch")
        gains = tuple(Gain(name, f1[PROMU] - f1[name]) for name in others)
    return TaskView(
        key,
        title,
        short,
        tuple(name for name, _ in getters),
        rows,
        _bars(scores, groups, ceiling),
        gains,
        f1.get(PROMU),
        ceiling,
    )


def _by_group(group: str) -> Callable[[Scores], float | None]:
    return lambda found: found.by_group.get(group)


def _groups(scores: Sequence[Scores]) -> list[str]:
    """The groups that occur, the known ones first."""
    found = {group for one in scores for group in one.by_group}
    return [group for group in GROUPS if group in found] + sorted(found - GROUPS.keys())


def _cell(value: float | None, best: float | None, several: bool) -> tuple[str, bool]:
    if value is None or best is None:
        return "–", False
    return f"{value:.1f}", several and f"{value:.1f}" == f"{best:.1f}"


def _bars(
    scores: Sequence[tuple[SystemResult, Scores]], groups: Sequence[str], ceiling: float | None
) -> BarChart | None:
    def bar(system: SystemResult, value: float) -> tuple[str, str, float]:
        return system.name, SYSTEM_STYLES.get(system.name, "other"), value

    laid: list[tuple[str, list[tuple[str, str, float]], float | None]] = [
        ("all posts", [bar(system, found.f1) for system, found in scores], ceiling)
    ]
    for group in groups:
        bars = [bar(system, found.by_group[group]) for system, found in scores if group in found.by_group]
        laid.append((GROUPS.get(group, group), bars, None))
    return bar_chart(laid, "text-only ceiling")


def _curves(curves: Curves) -> list[tuple[str, str, str, LineChart]]:
    """(title, what the axes are, explanation, chart) of each chart that has points."""
    charts = [
        ("Teacher", "loss by step", "", line_chart([Series("loss", "teacher", curves.teacher)])),
        ("Pre-training", "loss by step", _meanings(curves.pretraining), line_chart(_losses(curves.pretraining))),
    ]
    by_task: dict[str, list[Series]] = {}
    for label, points in curves.finetuning.items():
        system, _, task = label.partition(" · ")
        by_task.setdefault(task, []).append(Series(system, SYSTEM_STYLES.get(system, "other"), points))
    for task, series in by_task.items():
        title = f"Fine-tuning: {task}" if task else "Fine-tuning"
        charts.append((title, "dev F1 by epoch", "", line_chart(series)))
    return [(title, axes, note, chart) for title, axes, note, chart in charts if chart is not None]


def _meanings(logged: Sequence[Mapping[str, float]]) -> str:
    """What the short names of the losses that occur stand for."""
    found = {name for row in logged for name in row}
    return " ".join(f"{short}: {meaning}" for name, (short, meaning) in LOSSES.items() if name in found)


def _losses(logged: Sequence[Mapping[str, float]]) -> list[Series]:
    names = list(dict.fromkeys(name for row in logged for name in row if name != "step"))
    return [
        Series(
            LOSSES[name][0] if name in LOSSES else name,
            name if name in LOSSES else "other",
            [(row["step"], row[name]) for row in logged if name in row],
        )
        for name in names
    ]


def _pair(pair: LabelledPair) -> PairView:
    drawn = " and ".join(region.drawn for region in pair.regions)
    boxes = [(region.box, region.labels[0][0] if region.labels else "") for region in pair.regions]
    return PairView(
        embed(pair.image, f"Drawn image of {drawn}" if drawn else "Drawn image", boxes),
        pair.caption,
        pair.matched,
        tuple(
            RegionView(
                number,
                region.drawn,
                tuple((noun, share, noun in region.names if region.names else None) for noun, share in region.labels),
            )
            for number, region in enumerate(pair.regions, start=1)
        ),
        tuple(pair.relation),
    )


def _mosaic(pairs: Sequence[PairView], posts: Sequence[PostView]) -> list[Embedded]:
    """Images for the head of the page, each once, as many as fill whole rows of four."""
    found = [pair.image for pair in pairs] + [post.image for post in posts if post.image is not None]
    unique = list({image.uri: image for image in found}.values())[:MOSAIC]
    return unique[: len(unique) // 4 * 4]
