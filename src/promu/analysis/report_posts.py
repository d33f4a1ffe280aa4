"""An extracted post made ready for the page: its words with coloured spans, and each finding held against the gold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promu.analysis.report_data import ExtractedPost
from promu.analysis.report_graph import Graph, GraphEdge, lay_out
from promu.analysis.report_pictures import Embedded, embed
from promu.schema import NO_RELATION, Entity, Post, Relation

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
    picture: Embedded | None
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
        InputError: The picture cannot be read, or the extraction contradicts itself (a span past the end, a relation
            to an entity that is not there).
    """
    found = _to_post(post.result)
    entities = _judge_entities(found, post.gold_entities)
    relations = _judge_relations(found, post.gold_relations)
    verdicts = (*entities.values(), *_missed_entities(found, post), *relations, *_missed_relations(found, post))
    picture = None
    if post.image is not None:
        things = ", ".join(region.label for region in post.regions)
        alt = f"Picture of post {found.id}" + (f": {things}" if things else "")
        picture = embed(post.image, alt, [(region.box, region.label) for region in post.regions])
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
        picture,
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
