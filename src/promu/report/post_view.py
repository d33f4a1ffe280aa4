"""One extracted post for the page: each answer judged against the gold labels, marked text, a graph of its triples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from promu.report.html import Box, Embedded, check_box, embed
from promu.report.palette import type_name, type_styles
from promu.schema import NO_RELATION, Entity, Post, Relation

Span = tuple[int, int]

RIGHT, WRONG, MISSED, OPEN = "right", "wrong", "missed", "open"
"""Agrees with the gold; contradicts it; in the gold alone; not judged, since the gold says nothing about it."""

MARKS = {RIGHT: "✓", WRONG: "✗", MISSED: "○", OPEN: "·"}


@dataclass(frozen=True, slots=True)
class ExtractedPost:
    """One unseen post and what was extracted from it.

    Attributes:
        image: The image; None for a post without one.
        decides: Whether text or image settles the gold labels.
        result: `Extraction.to_dict()`: `id`, `tokens`, `entities`, `relations`.
        gold_entities: `{"start", "end", "type"}` each; a type of None is unknown. None: nobody has annotated the
            entities, and none is judged.
        gold_relations: `{"head_span", "tail_span", "type"}` each, spans as (start, end), type "None" for a pair without
            relation. None, or a pair that is not listed: not judged.
        regions: What the detector found in the image: the box and its name.
    """

    image: Path | None
    decides: Literal["text", "image"]
    result: Mapping[str, Any]
    gold_entities: Sequence[Mapping[str, Any]] | None = None
    gold_relations: Sequence[Mapping[str, Any]] | None = None
    regions: Sequence[tuple[Box, str]] = ()

    def __post_init__(self) -> None:
        for box, _ in self.regions:
            check_box(box)


class Verdict(NamedTuple):
    """One extracted or missed entity or relation in words; `kind` is a key of `MARKS`."""

    kind: str
    sentence: str
    score: float | None = None


class Segment(NamedTuple):
    """A stretch of the text: plain words, or (with a `label`) an entity."""

    text: str
    label: str = ""
    style: str = ""
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PostView:
    """Everything the page shows of one post."""

    id: str
    decides: str
    image: Embedded | None
    segments: Sequence[Segment]
    graph: Graph | None
    verdicts: Sequence[Verdict]
    summary: str
    result: str


def relation_name(label: str) -> str:
    """The readable end of a relation label: `/per/loc/place_of_residence` gives "place of residence"."""
    return label.rstrip("/").rsplit("/", 1)[-1].replace("_", " ") or label


def types_of(post: ExtractedPost) -> set[str]:
    """The types of the entities of a post, extracted or gold."""
    return {type_name(one["type"]) for one in (*post.result["entities"], *(post.gold_entities or ()))}


def view_post(post: ExtractedPost, styles: Mapping[str, str] | None = None) -> PostView:
    """Judge and lay out one post; `styles` are those of the page's entity types (`type_styles`).

    Raises:
        InputError: The image cannot be read, or the extraction contradicts itself (a span past the end, a relation
            to an entity that is not there).
    """
    result = post.result
    styles = styles or type_styles(types_of(post))
    extracted = Post(
        str(result["id"]),
        tuple(result["tokens"]),
        entities=tuple(Entity(e["start"], e["end"], e["type"], e.get("score")) for e in result["entities"]),
        relations=tuple(Relation(r["head"], r["tail"], r["type"], r.get("score")) for r in result["relations"]),
    )
    spans = {(entity.start, entity.end) for entity in extracted.entities}
    gold = {(int(one["start"]), int(one["end"])): one["type"] for one in post.gold_entities or ()}
    missed = {span: kind for span, kind in gold.items() if span not in spans}
    entities = [_judge_entity(extracted, entity, gold, post.gold_entities is None) for entity in extracted.entities]
    lost = [
        Verdict(MISSED, f"“{_words(extracted, span)}” is {type_name(kind) or 'an entity'}")
        for span, kind in missed.items()
    ]
    relations, missed_relations = _judge_relations(extracted, post.gold_relations or ())
    verdicts = [*entities, *lost, *relations, *missed_relations]
    image = None
    if post.image is not None:
        things = ", ".join(label for _, label in post.regions)
        image = embed(post.image, f"Image of post {extracted.id}" + (f": {things}" if things else ""), post.regions)
    graph = lay_out(
        [(extracted.words(one), kind := type_name(one.type), styles[kind]) for one in extracted.entities],
        [
            GraphEdge(one.head, one.tail, f"{MARKS[verdict.kind]} {relation_name(one.type)}", verdict.kind)
            for one, verdict in zip(extracted.relations, relations, strict=True)
        ],
    )
    counts = Counter(verdict.kind for verdict in verdicts)
    words = {RIGHT: "right", WRONG: "wrong", MISSED: "missed", OPEN: "not judged"}
    summary = ", ".join(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]) or "nothing found"
    segments = _segments(extracted, entities, missed, styles)
    return PostView(extracted.id, post.decides, image, segments, graph, verdicts, summary, _pretty(result))


def _words(post: Post, span: Span) -> str:
    return " ".join(post.tokens[slice(*span)])


def _judge_entity(post: Post, entity: Entity, gold: Mapping[Span, str | None], unlabelled: bool) -> Verdict:
    kind, answer = type_name(entity.type), f"“{post.words(entity)}” is {type_name(entity.type) or 'an entity'}"
    span = (entity.start, entity.end)
    if unlabelled or (span in gold and gold[span] is None):
        return Verdict(OPEN, f"{answer}; the gold labels do not give its type", entity.score)
    if span not in gold:
        return Verdict(WRONG, f"{answer}; the gold labels have no entity with these words", entity.score)
    if type_name(gold[span]) == kind:
        return Verdict(RIGHT, answer, entity.score)
    return Verdict(WRONG, f"{answer}; the gold label is {type_name(gold[span])}", entity.score)


def _judge_relations(post: Post, gold: Sequence[Mapping[str, Any]]) -> tuple[list[Verdict], list[Verdict]]:
    """A verdict for each extracted relation, and one for each gold relation of a pair without an answer."""

    def triple(head: Span, tail: Span, label: str) -> str:
        return f"“{_words(post, head)}” – {relation_name(label)} → “{_words(post, tail)}”"

    labels = {(tuple(one["head_span"]), tuple(one["tail_span"])): str(one["type"]) for one in gold}
    spans = [(entity.start, entity.end) for entity in post.entities]
    verdicts, answered = [], set()
    for relation in post.relations:
        pair = (spans[relation.head], spans[relation.tail])
        answered.add(frozenset(pair))
        label, reverse = labels.get(pair), labels.get(pair[::-1], NO_RELATION)
        if label == relation.type:
            kind, why = RIGHT, ""
        elif label is not None:
            kind, why = WRONG, f"; the gold label is {'no relation' if label == NO_RELATION else relation_name(label)}"
        elif reverse != NO_RELATION:
            kind, why = WRONG, f"; the gold label is {relation_name(reverse)}, the other way round"
        else:
            kind, why = OPEN, "; the gold labels say nothing about this pair"
        verdicts.append(Verdict(kind, triple(*pair, relation.type) + why, relation.score))
    return verdicts, [
        Verdict(MISSED, triple(*pair, label))
        for pair, label in labels.items()
        if label != NO_RELATION and frozenset(pair) not in answered
    ]


def _segments(
    post: Post, verdicts: Sequence[Verdict], missed: Mapping[Span, str | None], styles: Mapping[str, str]
) -> list[Segment]:
    """The text cut at the entities; of two that overlap, the page colours the first."""
    spans = [
        (entity.start, entity.end, entity.type, verdict.kind, verdict.sentence)
        for entity, verdict in zip(post.entities, verdicts, strict=True)
    ]
    spans += [(*span, kind, MISSED, "in the gold labels, not found") for span, kind in missed.items()]
    segments: list[Segment] = []
    done = 0
    # At the same place an extracted entity goes before a missed one.
    for start, end, kind, verdict, note in sorted(spans, key=lambda span: (span[0], span[3] == MISSED)):
        if done <= start and end <= len(post.tokens):
            text, label, style = _words(post, (start, end)), type_name(kind) or "entity", styles[type_name(kind)]
            segments += [Segment(_words(post, (done, start))), Segment(text, label, style, verdict, note)]
            done = end
    segments.append(Segment(_words(post, (done, len(post.tokens)))))
    return [segment for segment in segments if segment.text]


def _pretty(result: Mapping[str, Any]) -> str:
    """The extraction as JSON, one entity and one relation a line."""
    lines = []
    for key, value in result.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            text = "[\n    " + ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n  ]"
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


# The graph of the triples: entities in a row, arrows between them.

_NAME, _LABEL = 7.6, 6.4  # width of a character of a name and of a label, in SVG units: an upper mean over common fonts
_NODE_HEIGHT, _MARGIN, _LEVEL, _PORT = 42.0, 2.0, 30.0, 14.0


class GraphEdge(NamedTuple):
    """An arrow to draw: from node `head` to node `tail`, its label and its verdict (right, wrong or open)."""

    head: int
    tail: int
    label: str
    verdict: str


class Node(NamedTuple):
    """A drawn entity; `x`, `y` is the upper left corner."""

    text: str
    type: str
    style: str
    x: float
    y: float
    width: float
    height: float


class Arrow(NamedTuple):
    """A drawn relation: SVG path data, and the middle of its label; `over`: the label interrupts the line."""

    path: str
    label: str
    verdict: str
    label_x: float
    label_y: float
    label_width: float
    over: bool


class Graph(NamedTuple):
    """A laid-out graph with its size."""

    nodes: list[Node]
    arrows: list[Arrow]
    width: float
    height: float


def lay_out(entities: Sequence[tuple[str, str, str]], edges: Sequence[GraphEdge]) -> Graph | None:
    """Place entities, (text, type, style) each, in a row and arrows between them.

    A relation between neighbours is a straight arrow in the gap between them. Any other, and a second one between the
    same two, is an arc above the row, higher the farther it reaches. Entities without a relation are left out.

    Edges are relations by the nodes' indices; None if there is no edge.
    """
    if not edges:
        return None
    used = sorted({index for edge in edges for index in (edge.head, edge.tail)})
    edges = [edge._replace(head=used.index(edge.head), tail=used.index(edge.tail)) for edge in edges]
    straight: dict[int, GraphEdge] = {}
    arcs: list[GraphEdge] = []
    for edge in edges:
        gap = min(edge.head, edge.tail)
        if abs(edge.head - edge.tail) == 1 and gap not in straight:
            straight[gap] = edge
        else:
            arcs.append(edge)
    arcs.sort(key=lambda edge: abs(edge.head - edge.tail))
    top = _MARGIN + (_LEVEL * len(arcs) + 10 if arcs else 0)
    nodes: list[Node] = []
    x = _MARGIN
    for position, index in enumerate(used):
        text, kind, style = entities[index]
        width = round(max(_NAME * len(text), _LABEL * len(kind)) + 26, 1)
        nodes.append(Node(text, kind, style, round(x, 1), round(top, 1), width, _NODE_HEIGHT))
        x += width
        if position < len(used) - 1:
            x += _label_width(straight[position].label) + 34 if position in straight else 40.0
    arrows = []
    for gap, edge in sorted(straight.items()):
        y, left, right = top + _NODE_HEIGHT / 2, nodes[gap].x + nodes[gap].width, nodes[gap + 1].x
        start, end = (left + 3, right - 4) if edge.head < edge.tail else (right - 3, left + 4)
        path, middle = f"M{start:g} {y:g}L{end:g} {y:g}", round((left + right) / 2, 1)
        arrows.append(Arrow(path, edge.label, edge.verdict, middle, y - 8, _label_width(edge.label), False))
    for level, (edge, (start, end)) in enumerate(zip(arcs, _ports(arcs, nodes), strict=True), start=1):
        y, bend, width = top - _LEVEL * level, 10 if end > start else -10, _label_width(edge.label)
        path = (
            f"M{start:g} {top - 2:g}L{start:g} {y + 10:g}Q{start:g} {y:g} {start + bend:g} {y:g}"
            f"L{end - bend:g} {y:g}Q{end:g} {y:g} {end:g} {y + 10:g}L{end:g} {top - 4:g}"
        )
        middle = round(max((start + end) / 2, width / 2 + _MARGIN), 1)
        arrows.append(Arrow(path, edge.label, edge.verdict, middle, y, width, True))
    # A label above the row may be wider than the arc below it.
    reach = max([x, *(arrow.label_x + arrow.label_width / 2 for arrow in arrows)]) + _MARGIN
    return Graph(nodes, arrows, round(reach, 1), round(top + _NODE_HEIGHT + _MARGIN, 1))


def _label_width(label: str) -> float:
    return round(_LABEL * len(label) + 14, 1)


def _ports(arcs: Sequence[GraphEdge], nodes: Sequence[Node]) -> list[tuple[float, float]]:
    """Where each arc (innermost first) leaves and enters, such that nested arcs do not cross."""
    slots: dict[int, list[tuple[bool, int, int]]] = {}
    for level, edge in enumerate(arcs):
        for node, other in ((edge.head, edge.tail), (edge.tail, edge.head)):
            # From left to right: arcs from the left, inner ones first; then arcs to the right, outer ones first.
            slots.setdefault(node, []).append((other > node, -level if other > node else level, level))
    at: dict[tuple[int, int], float] = {}
    for node, found in slots.items():
        left = nodes[node].x + nodes[node].width / 2 - _PORT * (len(found) - 1) / 2
        for slot, (_, _, level) in enumerate(sorted(found)):
            at[node, level] = round(left + _PORT * slot, 1)
    return [(at[edge.head, level], at[edge.tail, level]) for level, edge in enumerate(arcs)]
