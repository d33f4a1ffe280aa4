"""The forward passes over a batch of posts: one over whole posts, and those over their pairs of entities."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.request import Request
from promu.extraction.result import Attention, Below, Explanation, Extraction, attention_from, mean_map
from promu.extraction.type_rules import TypeRules
from promu.modeling.inputs import WordEncoder
from promu.modeling.joint_model import inventory_of
from promu.schema import NO_RELATION, Post, Relation
from promu.tasks.predictor import EncodedImages, Predictor
from promu.tasks.task import packed_posts, pair_places, relation_probabilities

logger = logging.getLogger(__name__)

MOST_PAIRS = 1024
"""Pairs a pass at most, but for those of the last row: a bound on memory where texts have many entities."""


def best_fitting(posts: Sequence[Post], probabilities: torch.Tensor, rules: TypeRules) -> list[Relation | None]:
    """Of each pair of the posts the most probable relation that its types allow; None where it does not beat `None`.

    `probabilities` (P, R) are those of the posts' relations, which ask about pairs, one post after the other.
    """
    asked = [(post, pair) for post in posts for pair in post.relations]
    fits = [rules.fits(post.entities[pair.head].type, post.entities[pair.tail].type) for post, pair in asked]
    none = rules.labels.index(NO_RELATION)
    allowed = torch.tensor(fits)
    allowed[:, none] = False
    scores, labels = (probabilities * allowed).max(-1)
    beats, choices = (scores > probabilities[:, none]).tolist(), zip(scores.tolist(), labels.tolist(), strict=True)
    return [
        replace(pair, type=rules.labels[label], score=score) if beat else None
        for (_, pair), beat, (score, label) in zip(asked, beats, choices, strict=True)
    ]


def to_extraction(request: Request) -> Extraction:
    """A request as an answer with the entities that its post has."""
    return Extraction(replace(request.post, relations=()), request.image_reason, source=request.source)


def _apply_thresholds(post: Post, entities: float, relations: float) -> Post:
    """The post without entities and relations of lower scores, and without relations of entities left out."""
    indices = [number for number, one in enumerate(post.entities) if (one.score or 0.0) >= entities]
    place = {index: new for new, index in enumerate(indices)}
    kept = (
        replace(relation, head=place[relation.head], tail=place[relation.tail])
        for relation in post.relations
        if place.keys() >= {relation.head, relation.tail} and (relation.score or 0.0) >= relations
    )
    return replace(post, entities=tuple(post.entities[index] for index in indices), relations=tuple(kept))


def thresholds(predictor: Predictor, config: ExtractionConfig) -> tuple[float, float]:
    """The lowest scores of entities and of relations: those of the call, or else the model's own."""
    given = ((config.entity_threshold, "entity_threshold"), (config.relation_threshold, "relation_threshold"))
    entities, relations = (getattr(predictor.config, name) if one is None else one for one, name in given)
    return float(entities), float(relations)


def _words_cut(encoder: WordEncoder, tokens: Sequence[str], starts: Sequence[int]) -> int:
    """How many words, at the end, were not read whole; `starts` are the places of the words that were."""
    last = starts[-1] + len(encoder.pieces(tokens[len(starts) - 1])) if starts else 0
    return len(tokens) - len(starts) + (last > encoder.max_length - 1)


def find_entities(
    predictor: Predictor,
    requests: Sequence[Request],
    images: EncodedImages,
    config: ExtractionConfig,
    keep: bool = False,
) -> tuple[list[Extraction], torch.Tensor | None]:
    """The answers of a model that reads whole posts: entities, and relations too if it is a joint one.

    With `keep`, the fused vectors (B, N, d) of the posts' texts too.
    """
    posts = [request.post for request in requests]
    predictions = predictor.predict_batch(posts, images.inputs(range(len(posts))), config.explain, keep=keep)
    width = predictions.batch["input_ids"].shape[1]
    places, read = predictions.batch["word_index"], predictions.batch["word_mask"].bool()
    starts = [row[mask].tolist() for row, mask in zip(places, read, strict=True)]
    shares = None if predictions.attentions is None else mean_map(predictions.attentions)
    lowest = thresholds(predictor, config)
    extractions = []
    for row, (request, answer) in enumerate(zip(requests, predictor.answer(predictions), strict=True)):
        every = answer
        answer = _apply_thresholds(every, *lowest)
        below = Below(len(every.entities) - len(answer.entities), len(every.relations) - len(answer.relations))
        count = len(answer.tokens)
        if cut := _words_cut(predictor.encoder, answer.tokens, starts[row]):
            logger.warning(
                "post %r has %d words, of which the first %d were read: the model takes %d input tokens",
                answer.id,
                count,
                count - cut,
                predictor.encoder.max_length,
            )
        explanation = None
        if shares is not None:
            text = predictor.task.encode(predictor.encoder, answer)
            words = [text.positions[entity.start : entity.end] for entity in answer.entities]
            ends = [words[relation.head] + words[relation.tail] for relation in answer.relations]
            explanation = Explanation(
                *(
                    tuple(attention_from(shares[row], width, one, text.words, count, row in images.rows) for one in of)
                    for of in (words, ends)
                )
            )
        extractions.append(Extraction(answer, request.image_reason, cut, explanation, request.source, below))
    return extractions, predictions.fused


def find_relations(
    predictor: Predictor,
    extractions: Sequence[Extraction],
    pairs: Sequence[Sequence[tuple[int, int]]],
    images: EncodedImages,
    config: ExtractionConfig,
    rules: TypeRules,
    size: int,
    fused: torch.Tensor | None = None,
) -> list[Extraction]:
    """The extractions with the relations of their `pairs` (head, tail): of each the direction with the higher score.

    `predictor` classifies relations, and `rules` are those of its labels; a forward pass has `size` rows. Where another
    model has read the texts already, `fused` are their vectors (B, N, d), and there is no forward pass.
    """
    best: list[dict[frozenset[int], tuple[Relation, Attention | None]]] = [{} for _ in extractions]
    rows = (
        (number, packed)
        for number, one in enumerate(extractions)
        for packed in packed_posts(predictor.encoder, one.post, pairs[number])
    )
    for chunk in _chunks(rows, size):
        numbers = [number for number, _ in chunk]
        vectors = None if fused is None else fused[numbers]
        inputs = images.inputs(numbers) if vectors is None else {}
        predictions = predictor.predict_batch([post for _, post in chunk], inputs, config.explain, fused=vectors)
        probabilities = relation_probabilities(predictor, predictions.outputs)
        width = predictions.batch["input_ids"].shape[1]
        shares = None if predictions.attentions is None else mean_map(predictions.attentions)
        rows_of_pairs = [row for row, (_, post) in enumerate(chunk) for _ in post.relations]
        chosen = best_fitting([post for _, post in chunk], probabilities, rules)
        for place, (row, relation) in enumerate(zip(rows_of_pairs, chosen, strict=True)):
            number, post = chunk[row]
            if relation is None:
                continue
            ends = frozenset((relation.head, relation.tail))
            if ends in best[number] and (best[number][ends][0].score or 0.0) >= (relation.score or 0.0):
                continue
            attention = None
            if shares is not None:
                text = predictor.task.encode(predictor.encoder, post)
                image = number in images.rows
                queries = pair_places(predictions.batch, place)
                attention = attention_from(shares[row], width, queries, text.words, len(post.tokens), image)
            best[number][ends] = relation, attention
    _, lowest = thresholds(predictor, config)
    results = []
    for one, found in zip(extractions, best, strict=True):
        kept = [item for item in found.values() if (item[0].score or 0.0) >= lowest]
        kept.sort(key=lambda item: (item[0].head, item[0].tail))
        explanation = one.explanation
        if config.explain:
            of_entities = () if explanation is None else explanation.entities
            explanation = Explanation(of_entities, tuple(attention for _, attention in kept if attention is not None))
        post = replace(one.post, relations=tuple(relation for relation, _ in kept))
        below = one.below._replace(relations=len(found) - len(kept))
        results.append(replace(one, post=post, explanation=explanation, below=below))
    return results


def _chunks(rows: Iterable[tuple[int, Post]], size: int) -> Iterator[list[tuple[int, Post]]]:
    """Rows in parts of `size`, or of fewer with many pairs: one that reaches `MOST_PAIRS` is not added to."""
    chunk: list[tuple[int, Post]] = []
    pairs = 0
    for row in rows:
        chunk.append(row)
        pairs += len(row[1].relations)
        if len(chunk) == size or pairs >= MOST_PAIRS:
            yield chunk
            chunk, pairs = [], 0
    if chunk:
        yield chunk


def words_unread(predictor: Predictor, one: Extraction, pairs: Sequence[tuple[int, int]]) -> int:
    """How many words of a post no text of its pairs has room for; 0 where there are no pairs."""
    packed = packed_posts(predictor.encoder, one.post, pairs)
    texts = (predictor.task.encode(predictor.encoder, post) for post in packed)
    read = {word for text in texts for word in text.words if word >= 0}
    return len(one.tokens) - len(read) if pairs else 0


def entity_types_of(finder: Predictor) -> tuple[str, ...]:
    """The types of the entities that a model finds, in alphabetical order."""
    if finder.task.name == "joint":
        return inventory_of(finder.labels).types
    return tuple(sorted({label[2:] for label in finder.labels if label.startswith("B-")}))


def pixels_of(predictor: Predictor, requests: Sequence[Request]) -> dict[int, torch.Tensor]:
    """The images at the size that the model takes, by the request's number."""
    size = predictor.config.image_size
    return {} if size is None else {row: one.pixels[size] for row, one in enumerate(requests) if one.pixels}
