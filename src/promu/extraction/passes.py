"""The forward passes over a batch of posts: one over whole posts, and those over their pairs of entities.

A relation's label may name the types of both ends, such as `/per/org/member_of`: it holds between no others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice, permutations, product

import torch

from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.request import Request
from promu.extraction.result import Attention, Explanation, Extraction, attention_from, mean_map
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.predictor import EncodedImages, Predictor
from promu.tasks.task import pair_posts, relation_probabilities

logger = logging.getLogger(__name__)

# Twitter-2015 says OTHER where Twitter-2017 says MISC.
_SAME_TYPE = {"other": "misc"}


def label_types(label: str) -> tuple[str, str] | None:
    """The lower-case types of head and tail that a label such as `/per/org/member_of` states, or None."""
    parts = label.split("/")
    return None if len(parts) != 4 or parts[0] else (_plain(parts[1]), _plain(parts[2]))


def fitting_labels(head: Entity, tail: Entity, labels: Sequence[str]) -> list[bool]:
    """Whether each label may hold from `head` to `tail`; `None` always may, and an entity without type fits all."""
    return [_fits(head.type, tail.type, label) for label in labels]


def fitting_pairs(entities: Sequence[Entity], labels: Sequence[str]) -> list[tuple[int, int]]:
    """The ordered pairs (head, tail) of entities between which a relation other than `None` may hold."""
    relations = [label for label in labels if label != NO_RELATION]
    kinds = product({entity.type for entity in entities}, repeat=2)
    fitting = {(head, tail) for head, tail in kinds if any(_fits(head, tail, label) for label in relations)}
    return [
        (head, tail)
        for head, tail in permutations(range(len(entities)), 2)
        if (entities[head].type, entities[tail].type) in fitting
    ]


@lru_cache(maxsize=10_000)
def _fits(head: str | None, tail: str | None, label: str) -> bool:
    types = None if label == NO_RELATION else label_types(label)
    if types is None:
        return True
    return all(kind is None or _plain(kind) == stated for kind, stated in zip((head, tail), types, strict=True))


def _plain(kind: str) -> str:
    kind = kind.lower()
    return _SAME_TYPE.get(kind, kind)


def best_fitting(pair: Post, probabilities: torch.Tensor, labels: Sequence[str]) -> Relation | None:
    """The most probable relation of a pair among those that its types allow; None where that is `None`."""
    (place,) = pair.relations
    fits = fitting_labels(pair.entities[place.head], pair.entities[place.tail], labels)
    score, label = (probabilities * torch.tensor(fits)).max(-1)
    name = labels[int(label)]
    return None if name == NO_RELATION else replace(place, type=name, score=float(score))


def to_extraction(request: Request) -> Extraction:
    """A request as an answer with the entities that its post has."""
    post = request.post
    return Extraction(post.id, str(post.text), post.tokens, post.entities, (), post.offsets, request.image)


def _apply_thresholds(post: Post, config: ExtractionConfig) -> Post:
    """The post without entities and relations of lower scores, and without relations of entities left out."""
    indices = [number for number, one in enumerate(post.entities) if (one.score or 0.0) >= config.entity_threshold]
    place = {index: new for new, index in enumerate(indices)}
    relations = (
        replace(relation, head=place[relation.head], tail=place[relation.tail])
        for relation in post.relations
        if place.keys() >= {relation.head, relation.tail} and (relation.score or 0.0) >= config.relation_threshold
    )
    return replace(post, entities=tuple(post.entities[index] for index in indices), relations=tuple(relations))


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
        answer = _apply_thresholds(answer, config)
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
        found = to_extraction(replace(request, post=answer))
        read = words_read[row] if cut else None
        extractions.append(replace(found, relations=answer.relations, words_read=read, explanation=explanation))
    return extractions


def find_relations(
    predictor: Predictor,
    extractions: Sequence[Extraction],
    pairs: Sequence[Sequence[tuple[int, int]]],
    images: EncodedImages,
    config: ExtractionConfig,
    size: int,
) -> list[Extraction]:
    """The extractions with the relations of their `pairs` (head, tail): of each the direction with the higher score.

    `predictor` classifies relations; a forward pass has `size` pairs.
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
    results = []
    for one, found in zip(extractions, best, strict=True):
        kept = [item for item in found.values() if (item[0].score or 0.0) >= config.relation_threshold]
        kept.sort(key=lambda item: (item[0].head, item[0].tail))
        explanation = one.explanation
        if config.explain:
            of_entities = () if explanation is None else explanation.entities
            explanation = Explanation(of_entities, tuple(attention for _, attention in kept if attention is not None))
        results.append(replace(one, relations=tuple(relation for relation, _ in kept), explanation=explanation))
    return results
