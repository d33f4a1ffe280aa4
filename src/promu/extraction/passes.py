"""The forward passes over a batch of posts: those over their windows, and those over their pairs of entities.

A post that a model takes whole is one window (`promu.tasks.windows`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError, counted
from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.request import Request
from promu.extraction.result import Attention, Below, Explanation, Extraction, attention_from, mean_map
from promu.extraction.type_rules import Asked, TypeRules
from promu.files import shorten
from promu.modeling.inputs import WordEncoder
from promu.modeling.inventory import inventory_of
from promu.progress import report
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.familiarity import Familiarity
from promu.tasks.predictor import EncodedImages, Predictions, Predictor, by_length
from promu.tasks.task import packed_posts, pair_places, relation_probabilities
from promu.tasks.windows import Window, merge_answers, part_of, too_long, windows_of

MOST_PAIRS = 1024
"""Pairs a pass at most, but for those of the last row: a bound on memory where texts have many entities."""
NAME = 40
"""Characters of a name in a warning at most."""
KEPT = 64
"""Windows whose vectors are kept until their pairs are asked about, or one batch of them: a bound on memory."""


class Fused(NamedTuple):
    """Fused vectors of windows, kept for their pairs.

    Attributes:
        passes: (B, N, d) of each forward pass.
        places: By number of the post and window, which pass has its vectors, and in which row.
    """

    passes: list[Any]
    places: dict[tuple[int, Window], tuple[int, int]]


def best_fitting(posts: Sequence[Post], probabilities: NDArray[np.float32], rules: TypeRules) -> list[Relation | None]:
    """Of each pair of the posts the most probable relation that its types allow; None where it does not beat `None`.

    `probabilities` (P, R) are those of the posts' relations, which ask about pairs, one post after the other.
    """
    asked = [(post, pair) for post in posts for pair in post.relations]
    fits = [rules.fits(post.entities[pair.head].type, post.entities[pair.tail].type) for post, pair in asked]
    none = rules.labels.index(NO_RELATION)
    allowed = np.array(fits)
    allowed[:, none] = False
    fitting = probabilities * allowed
    scores, labels = fitting.max(-1), fitting.argmax(-1)
    beats, choices = (scores > probabilities[:, none]).tolist(), zip(scores.tolist(), labels.tolist(), strict=True)
    return [
        replace(pair, type=rules.labels[label], score=score) if beat else None
        for (_, pair), beat, (score, label) in zip(asked, beats, choices, strict=True)
    ]


def to_extraction(request: Request) -> Extraction:
    """A request as an answer with the entities that its post has."""
    return Extraction(replace(request.post, relations=()), request.image_reason, source=request.source)


class Lowest(NamedTuple):
    """The lowest scores of answers: of all, and of some types in its place."""

    overall: float
    by_type: Mapping[str, float]

    def allows(self, one: Entity | Relation) -> bool:
        """Whether an answer's score is high enough."""
        return (one.score or 0.0) >= self.by_type.get(one.type or "", self.overall)


def lowest_scores(predictor: Predictor, config: ExtractionConfig) -> tuple[Lowest, Lowest]:
    """The lowest scores of entities and of relations.

    By type those of the call count most, then the call's for all, then the model's by type, then the model's for all.
    """
    overall = thresholds(predictor, config)
    given = config.entity_threshold, config.relation_threshold
    own = predictor.config.type_thresholds or {}
    entities, relations = (
        Lowest(lowest, {**(own if one is None else {}), **config.threshold})
        for lowest, one in zip(overall, given, strict=True)
    )
    return entities, relations


def _above(post: Post, entities: Lowest, relations: Lowest) -> tuple[list[int], list[int]]:
    """The numbers of the entities and relations with such scores or higher; relations go with their entities."""
    kept = {number for number, one in enumerate(post.entities) if entities.allows(one)}
    related = (
        number for number, one in enumerate(post.relations) if kept >= {one.head, one.tail} and relations.allows(one)
    )
    return sorted(kept), list(related)


def _only(post: Post, entities: Sequence[int], relations: Sequence[int]) -> Post:
    """The post with these of its entities and relations."""
    place = {number: new for new, number in enumerate(entities)}
    kept = (post.relations[number] for number in relations)
    moved = (replace(one, head=place[one.head], tail=place[one.tail]) for one in kept)
    return replace(post, entities=tuple(post.entities[number] for number in entities), relations=tuple(moved))


def thresholds(predictor: Predictor, config: ExtractionConfig) -> tuple[float, float]:
    """The lowest scores of entities and of relations: those of the call, or else the model's own."""
    given = ((config.entity_threshold, "entity_threshold"), (config.relation_threshold, "relation_threshold"))
    entities, relations = (getattr(predictor.config, name) if one is None else one for one, name in given)
    return float(entities), float(relations)


def find_entities(
    predictor: Predictor,
    requests: Sequence[Request],
    images: EncodedImages,
    config: ExtractionConfig,
    keep: bool = False,
) -> tuple[list[Extraction], Fused | None]:
    """The answers of a model that reads whole posts: entities, and relations too if it is a joint one.

    A forward pass has `config.batch_size` windows at most. With `keep`, their vectors come too, unless they are many.
    """
    posts = [request.post for request in requests]
    windows = [windows_of(predictor.encoder, post.tokens, config.stride) for post in posts]
    rows = [(number, window) for number, of_post in enumerate(windows) for window in of_post]
    size = 1 if predictor.one_by_one else config.batch_size
    fused = Fused([], {}) if keep and len(rows) <= max(size, KEPT) else None
    answers: dict[tuple[int, Window], Post] = {}
    explained: dict[tuple[int, Window], Explanation] = {}
    done = 0
    for chunk in by_length([window.end - window.start for _, window in rows], size):
        of_pass = [rows[row] for row in chunk]
        inputs = images.inputs([number for number, _ in of_pass])
        parts = [part_of(posts[number], window) for number, window in of_pass]
        predictions = predictor.predict_batch(parts, inputs, config.explain, keep=fused is not None)
        given = predictor.answer(predictions)
        answers.update(zip(of_pass, given, strict=True))
        if config.explain:
            shown = [number in images.rows for number, _ in of_pass]
            explained.update(zip(of_pass, _explanations(predictor, predictions, given, of_pass, shown), strict=True))
        if fused is not None:
            fused.places.update((one, (len(fused.passes), row)) for row, one in enumerate(of_pass))
            fused.passes.append(predictions.fused)
        done += len(chunk)
        if len(rows) > KEPT + len(requests):
            report("reading windows", done, len(rows))
    lowest = lowest_scores(predictor, config)
    extractions = []
    for number, (request, of_post) in enumerate(zip(requests, windows, strict=True)):
        every = merge_answers(request.post, of_post, [answers[number, window] for window in of_post])
        entities, relations = _above(every.post, *lowest)
        below = Below(len(every.post.entities) - len(entities), len(every.post.relations) - len(relations))
        explanation = None
        if config.explain:
            of_windows = [explained[number, window] for window in of_post]
            explanation = Explanation(
                tuple(
                    of_windows[window].entities[place] for window, place in map(every.entities.__getitem__, entities)
                ),
                tuple(
                    of_windows[window].relations[place] for window, place in map(every.relations.__getitem__, relations)
                ),
            )
        answer = _only(every.post, entities, relations)
        extractions.append(Extraction(answer, request.image_reason, 0, explanation, request.source, below))
    return extractions, fused


def _explanations(
    predictor: Predictor,
    predictions: Predictions,
    answers: Sequence[Post],
    windows: Sequence[tuple[int, Window]],
    shown: Sequence[bool],
) -> list[Explanation]:
    """What the answers of one pass attended to; `shown` says which have an image."""
    assert predictions.attentions is not None
    width = predictions.batch["input_ids"].shape[1]
    shares = mean_map(predictions.attentions)
    found = []
    for row, (answer, (_, window), image) in enumerate(zip(answers, windows, shown, strict=True)):
        text = predictor.task.encode(predictor.encoder, answer)
        words = [text.positions[entity.start : entity.end] for entity in answer.entities]
        ends = [words[relation.head] + words[relation.tail] for relation in answer.relations]
        of_entities, of_relations = (
            tuple(
                attention_from(shares[row], width, one, text.words, len(answer.tokens), image, window.start)
                for one in of
            )
            for of in (words, ends)
        )
        found.append(Explanation(of_entities, of_relations))
    return found


class _Row(NamedTuple):
    """Pairs of one post that share a text.

    Attributes:
        number: Of the post.
        window: What of it is read.
        post: That, with the pairs as relations.
        entities: The number that each of its entities has in the whole post.
    """

    number: int
    window: Window
    post: Post
    entities: Sequence[int]


def _rows(predictor: Predictor, number: int, post: Post, asked: Asked) -> Iterator[_Row]:
    for window, pairs in asked.pairs:
        if not pairs:
            continue
        part, entities = part_of(post, window), list(range(len(post.entities)))
        if part is not post:
            entities = sorted({end for pair in pairs for end in pair})
            spans = (post.entities[one] for one in entities)
            moved = (replace(one, start=one.start - window.start, end=one.end - window.start) for one in spans)
            part = replace(part, entities=tuple(moved))
            place = {one: new for new, one in enumerate(entities)}
            pairs = [(place[head], place[tail]) for head, tail in pairs]
        for packed in packed_posts(predictor.encoder, part, pairs):
            yield _Row(number, window, packed, entities)


def find_relations(
    predictor: Predictor,
    extractions: Sequence[Extraction],
    asked: Sequence[Asked],
    images: EncodedImages,
    config: ExtractionConfig,
    rules: TypeRules,
    size: int,
    fused: Fused | None = None,
) -> list[Extraction]:
    """The extractions with the relations of the pairs that are `asked` about: of each the direction of higher score.

    `predictor` classifies relations, the pairs are in windows of it, and `rules` are those of its labels; a forward
    pass has `size` rows. Where another model has read the windows already, `fused` are their vectors, and there is no
    forward pass.
    """
    best: list[dict[frozenset[int], tuple[Relation, Attention | None]]] = [{} for _ in extractions]
    rows: Iterable[_Row] = (
        row for number, one in enumerate(asked) for row in _rows(predictor, number, extractions[number].post, one)
    )
    for chunk, vectors in _chunks(rows, size, fused):
        inputs = images.inputs([row.number for row in chunk]) if vectors is None else {}
        predictions = predictor.predict_batch([row.post for row in chunk], inputs, config.explain, fused=vectors)
        probabilities = relation_probabilities(predictor, predictions.outputs)
        width = predictions.batch["input_ids"].shape[1]
        shares = None if predictions.attentions is None else mean_map(predictions.attentions)
        rows_of_pairs = [row for row, one in enumerate(chunk) for _ in one.post.relations]
        chosen = best_fitting([row.post for row in chunk], probabilities, rules)
        for place, (row, local) in enumerate(zip(rows_of_pairs, chosen, strict=True)):
            if local is None:
                continue
            number, window, post, entities = chunk[row]
            relation = Relation(entities[local.head], entities[local.tail], local.type, local.score)
            ends = frozenset((relation.head, relation.tail))
            if ends in best[number] and (best[number][ends][0].score or 0.0) >= (relation.score or 0.0):
                continue
            attention = None
            if shares is not None:
                text = predictor.task.encode(predictor.encoder, post)
                image = number in images.rows
                queries = pair_places(predictions.batch, place)
                attention = attention_from(
                    shares[row], width, queries, text.words, len(post.tokens), image, window.start
                )
            best[number][ends] = relation, attention
    _, lowest = lowest_scores(predictor, config)
    results = []
    for one, found in zip(extractions, best, strict=True):
        kept = [item for item in found.values() if lowest.allows(item[0])]
        kept.sort(key=lambda item: (item[0].head, item[0].tail))
        explanation = one.explanation
        if config.explain:
            of_entities = () if explanation is None else explanation.entities
            explanation = Explanation(of_entities, tuple(attention for _, attention in kept if attention is not None))
        post = replace(one.post, relations=tuple(relation for relation, _ in kept))
        below = one.below._replace(relations=len(found) - len(kept))
        results.append(replace(one, post=post, explanation=explanation, below=below))
    return results


def _chunks(rows: Iterable[_Row], size: int, fused: Fused | None) -> Iterator[tuple[list[_Row], Any]]:
    """Rows in parts of `size`, or of fewer with many pairs: one that reaches `MOST_PAIRS` is not added to.

    With `fused`, the rows of a part come from one of its passes, whose vectors for them come too.
    """
    if fused is None:
        yield from ((chunk, None) for chunk in _parts(rows, size))
        return

    def place(row: _Row) -> tuple[int, int]:
        return fused.places[row.number, row.window]

    for number, of_pass in groupby(sorted(rows, key=lambda row: place(row)[0]), key=lambda row: place(row)[0]):
        for chunk in _parts(of_pass, size):
            yield chunk, fused.passes[number][[place(row)[1] for row in chunk]]


def _parts(rows: Iterable[_Row], size: int) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    pairs = 0
    for row in rows:
        chunk.append(row)
        pairs += len(row.post.relations)
        if len(chunk) == size or pairs >= MOST_PAIRS:
            yield chunk
            chunk, pairs = [], 0
    if chunk:
        yield chunk


def ask(
    extractions: Sequence[Extraction], rules: TypeRules, encoder: WordEncoder, config: ExtractionConfig
) -> tuple[list[Asked], dict[int, InputError]]:
    """The pairs of each extraction's entities that a model is asked about, and which have more than is allowed.

    Args:
        extractions: With their entities.
        rules: Of the model's labels.
        encoder: Of the model.
        config: Its `stride` and `max_pairs` count here.

    Returns:
        The pairs of each; and by number why one is refused, of whose pairs none are asked about.
    """
    asked: list[Asked] = []
    refused: dict[int, InputError] = {}
    for number, one in enumerate(extractions):
        of_post = rules.asked(one.post, windows_of(encoder, one.tokens, config.stride))
        if config.max_pairs is not None and of_post.total > config.max_pairs:
            refused[number] = InputError(
                f"the text has {counted(of_post.total, 'pair')} of entities that may be related, at most "
                f"{config.max_pairs:,} are looked at; shorten it"
            )
            of_post = of_post._replace(pairs=[])
        asked.append(of_post)
    return asked, refused


def with_warnings(
    one: Extraction, asked: Asked, encoder: WordEncoder, together: int, familiarity: Familiarity | None
) -> Extraction:
    """The extraction with all that keeps its answers from being trusted.

    Args:
        one: With its entities.
        asked: Which of their pairs are asked about.
        encoder: Of the model that finds entities.
        together: Tokens that the model which is asked about pairs reads together.
        familiarity: What texts the models know.
    """
    warnings = [familiarity.warning(one.tokens)] if familiarity else []
    if words := too_long(encoder, one.tokens):
        what = counted(len(words), "word is", "words are")
        warnings.append(f"{what} longer than the model takes, and read in part ({shorten(words[0])}).")
    if asked.far:
        names = "; ".join(" – ".join(one.post.words(one.entities[end])[:NAME] for end in pair) for pair in asked.first)
        more = "; …" if asked.far > len(asked.first) else ""
        warnings.append(
            f"{counted(asked.far, 'pair of entities is', 'pairs of entities are')} further apart than the "
            f"{together} tokens that the model reads together, and no relation was sought between them "
            f"({names}{more})."
        )
    said = tuple(filter(None, warnings))
    return replace(one, far_pairs=asked.far, warnings=said) if said else one


def entity_types_of(finder: Predictor) -> tuple[str, ...]:
    """The types of the entities that a model finds, in alphabetical order."""
    if finder.task.name == "joint":
        return inventory_of(finder.labels).types
    return tuple(sorted({label[2:] for label in finder.labels if label.startswith("B-")}))


def pixels_of(predictor: Predictor, requests: Sequence[Request]) -> dict[int, NDArray[np.uint8]]:
    """The images at the size that the model takes, by the request's number."""
    size = predictor.config.image_size
    return {} if size is None else {row: one.pixels[size] for row, one in enumerate(requests) if one.pixels}
