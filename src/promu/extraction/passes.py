"""The forward passes over a batch of posts: one over whole posts, and those over their pairs of entities."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.relation_types import best_fitting
from promu.extraction.request import Request
from promu.extraction.result import Attention, Explanation, Extraction, attention_from, mean_map
from promu.schema import Entity, Post, Relation
from promu.tasks.predictor import EncodedImages, Predictor
from promu.tasks.task import pair_posts, relation_probabilities

logger = logging.getLogger(__name__)


def to_extraction(
    request: Request,
    entities: tuple[Entity, ...],
    relations: tuple[Relation, ...] = (),
    words_read: int | None = None,
    explanation: Explanation | None = None,
) -> Extraction:
    """The answer to a request."""
    post, image = request.post, request.image
    return Extraction(
        post.id, str(post.text), post.tokens, entities, relations, post.offsets, image, words_read, explanation
    )


def apply_thresholds(post: Post, entity_threshold: float, relation_threshold: float) -> Post:
    """The post without entities and relations of lower scores, and without relations of entities left out."""
    kept = [index for index, entity in enumerate(post.entities) if (entity.score or 0.0) >= entity_threshold]
    number = {index: new for new, index in enumerate(kept)}
    return replace(
        post,
        entities=tuple(post.entities[index] for index in kept),
        relations=tuple(
            replace(relation, head=number[relation.head], tail=number[relation.tail])
            for relation in post.relations
            if relation.head in number and relation.tail in number and (relation.score or 0.0) >= relation_threshold
        ),
    )


def find_entities(
    predictor: Predictor, requests: Sequence[Request], images: EncodedImages, config: ExtractionConfig
) -> list[Extraction]:
    """The answers of a model that reads whole posts: entities, and relations too if it is a joint one."""
    posts = [request.post for request in requests]
    predictions = predictor.predict_batch(posts, images.inputs(range(len(posts))), config.explain)
    width = predictions.batch["input_ids"].shape[1]
    words_read = predictions.batch["word_mask"].sum(1).tolist()
    shares = None if predictions.attentions is None else mean_map(predictions.attentions)
    extractions = []
    for row, (request, answer) in enumerate(zip(requests, predictor.answer(predictions), strict=True)):
        answer = apply_thresholds(answer, config.entity_threshold, config.relation_threshold)
        count = len(answer.tokens)
        if cut := words_read[row] < count:
            logger.warning(
                "post %r has %d words, of which the first %d were read: the model takes %d input tokens",
                answer.id,
                count,
                words_read[row],
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
        extractions.append(
            to_extraction(request, answer.entities, answer.relations, words_read[row] if cut else None, explanation)
        )
    return extractions


def find_relations(
    predictor: Predictor,
    extractions: Sequence[Extraction],
    pairs: Sequence[Sequence[tuple[int, int]]],
    images: EncodedImages,
    config: ExtractionConfig,
    size: int,
) -> list[Extraction]:
    """The extractions with the relations of their pairs: of each pair the direction with the higher score.

    Args:
        predictor: A model of relation classification.
        extractions: With their entities.
        pairs: For each the ordered pairs (head, tail) of entities to classify.
        images: Those of the extractions.
        config: The options.
        size: Pairs in one forward pass.
    """
    best: list[dict[frozenset[int], tuple[Relation, Attention | None]]] = [{} for _ in extractions]
    rows = (
        (number, pair)
        for number, one in enumerate(extractions)
        for pair in pair_posts(Post(one.id, one.tokens, None, one.entities), pairs[number])
    )
    while chunk := list(islice(rows, size)):
        inputs = images.inputs([number for number, _ in chunk])
        predictions = predictor.predict_batch([pair for _, pair in chunk], inputs, config.explain)
        probabilities = relation_probabilities(predictor, predictions.outputs)
        width = predictions.batch["input_ids"].shape[1]
        shares = None if predictions.attentions is None else mean_map(predictions.attentions)
        for row, (number, pair) in enumerate(chunk):
            relation = best_fitting(pair, probabilities[row], predictor.labels)
            if relation is None:
                continue
            ends = frozenset((relation.head, relation.tail))
            if ends in best[number] and (best[number][ends][0].score or 0.0) >= (relation.score or 0.0):
                continue
            attention = None
            if shares is not None:
                text = predictor.task.encode(predictor.encoder, pair)
                image = number in images.rows
                attention = attention_from(shares[row], width, text.positions, text.words, len(pair.tokens), image)
            best[number][ends] = relation, attention
    return [_with_relations(one, of_pairs.values(), config) for one, of_pairs in zip(extractions, best, strict=True)]


def _with_relations(
    extraction: Extraction, relations: Iterable[tuple[Relation, Attention | None]], config: ExtractionConfig
) -> Extraction:
    """With the relations above the threshold, in the order of their ends."""
    kept = [item for item in relations if (item[0].score or 0.0) >= config.relation_threshold]
    kept.sort(key=lambda item: (item[0].head, item[0].tail))
    explanation = extraction.explanation
    if config.explain:
        of_entities = () if explanation is None else explanation.entities
        explanation = Explanation(of_entities, tuple(attention for _, attention in kept if attention is not None))
    return replace(extraction, relations=tuple(relation for relation, _ in kept), explanation=explanation)
