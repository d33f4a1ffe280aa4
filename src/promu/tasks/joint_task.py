"""The joint task: entities and relations of a post at once, out of one model (JMERE)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from promu.corpora.formats import read_posts, write_posts
from promu.errors import InputError
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.crf import span_probability
from promu.modeling.inputs import Batch, EncodedText, WordEncoder
from promu.modeling.inventory import Inventory
from promu.modeling.joint_decoding import decode
from promu.modeling.joint_model import (
    LONGEST,
    Candidates,
    PromuForJointExtraction,
    inventory_of,
    touching_gains,
    triple_label,
)
from promu.schema import Entity, Post, Quintuple, Relation, quintuples, with_quintuples
from promu.tasks.predictor import Predictions, Predictor

if TYPE_CHECKING:  # imported when something is scored
    from promu.evaluation.joint_scores import JointScores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a model can learn of a post's quintuples.

    Attributes:
        entities: (start, end, type id), no two overlapping.
        relations: (head, tail, relation id), at most one a pair; head and tail are numbers of `entities`.
        beyond: Quintuples that no answer can hold, by the reason.
    """

    entities: list[tuple[int, int, int]]
    relations: list[tuple[int, int, int]]
    beyond: dict[str, int]


class JointExtraction:
    """JMERE: typed spans and the relations between them, decoded together.

    Sets are JMERE files or, where the name ends in .jsonl, posts as JSON lines. Only entities that are in a relation
    count, since JMERE files name no others.
    """

    name = "joint"
    model_class: type[PromuPreTrainedModel] = PromuForJointExtraction

    def read(self, path: Path) -> list[Post]:
        """JMERE, or posts as JSON lines."""
        return read_posts(path, _format(path))

    def write(self, path: Path, posts: Sequence[Post]) -> None:
        """The same, entities in no relation left out."""
        write_posts(path, [with_quintuples(post, quintuples(post)) for post in posts], _format(path))

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """The triples of head type, relation and tail type, in alphabetical order.

        Raises:
            InputError: There is none, or a type has a slash in its name.
        """
        if not any(quintuples(post) for post in posts):
            raise InputError("no post has a relation; joint extraction learns from posts that have some")
        return sorted(triple_label(*triple) for triple in Inventory.of(posts).triples)

    def check(self, posts: Sequence[Post], labels: Sequence[str], path: Path) -> dict[str, int]:
        """Count the quintuples that no answer of the model can hold, and say so; none is refused."""
        inventory = inventory_of(labels)
        counts: dict[str, int] = {}
        for post in posts:
            for reason, count in targets(post, inventory, len(post.tokens)).beyond.items():
                counts[reason] = counts.get(reason, 0) + count
        if counts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
            logger.warning("%s: no answer can hold %d quintuples (%s)", path, sum(counts.values()), reasons)
        return counts

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with the position of each word's first one."""
        return encoder.words(post.tokens)

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """`word_index`, `word_mask` (B, W) beside the input ids; gold (B, E, 3), (B, F, 3) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = encoder.word_batch(encoded)
        if labels is not None:
            inventory = inventory_of(labels)
            gold = [targets(post, inventory, len(text.positions)) for post, text in zip(posts, encoded, strict=True)]
            batch["gold_entities"] = _padded([one.entities for one in gold])
            batch["gold_relations"] = _padded([one.relations for one in gold])
        return batch

    def outputs(self, output: Any) -> Candidates:
        """The candidates."""
        candidates: Candidates = output.candidates
        return candidates

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """The best legal answer of each post, entities by position."""
        inventory = inventory_of(predictor.labels)
        touching = _doubles(touching_gains(predictor.crf))
        return [
            _decoded(post, candidates, touching, inventory)
            for post, candidates in zip(predictions.posts, _rows(predictions.outputs), strict=True)
        ]

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Sequence[Post]) -> list[Post]:
        """Probabilities of entities and of whole quintuples.

        An entity's score is the smallest marginal probability among its words' labels, as in MNER; a relation's is that
        of the whole quintuple: the probabilities of its two ends and of the relation, multiplied.
        """
        inventory = inventory_of(predictor.labels)
        temperature = float(predictor.config.score_temperature)
        outputs: Candidates = predictions.outputs
        marginals = predictor.crf.marginals(outputs.emissions, predictions.batch["word_mask"], temperature)
        return [
            _scored(answer, candidates, of_words, inventory, temperature)
            for answer, candidates, of_words in zip(answers, _rows(outputs), marginals, strict=True)
        ]

    def score(
        self,
        gold: Sequence[Post],
        predicted: Sequence[Post],
        groups: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
    ) -> JointScores:
        """Quintuples by spans, types, relation and direction; macro F1 also over the relations of the labels."""
        from promu.evaluation.joint_scores import score_joint

        relations = inventory_of(labels).relations if labels else ()
        return score_joint(gold, predicted, relations, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of each predicted quintuple."""
        right = set(quintuples(gold))
        predicted = zip(answer.relations, quintuples(answer), strict=True)
        return [(relation.score or 0.0, quintuple in right) for relation, quintuple in predicted]


def targets(post: Post, inventory: Inventory, words: int) -> Targets:
    """What can be learned of a post's quintuples under the rules of an answer.

    Of quintuples that exclude each other (overlapping names, a span of two types, two relations of a pair) the first in
    the post's order counts.

    Args:
        post: With gold.
        inventory: What the model knows.
        words: How many of its words the model reads.
    """
    types = {name: number for number, name in enumerate(inventory.types)}
    names = {name: number for number, name in enumerate(inventory.relations)}
    places: dict[tuple[int, int, int], int] = {}
    relations: dict[frozenset[int], tuple[int, int, int]] = {}
    beyond: dict[str, int] = {}
    for item in quintuples(post):
        reason = _reason(item, inventory, words)
        if reason is None:
            ends = [(*span, types[str(kind)]) for span, kind in _ends(item)]
            if any(_clash(end, place) for end in ends for place in (*places, *ends)):
                reason = "whose names overlap others or have two types"
        if reason is None:
            head, tail = (places.setdefault(end, len(places)) for end in ends)
            pair = frozenset((head, tail))
            if pair in relations:
                reason = "of a pair that has another relation"
            else:
                relations[pair] = head, tail, names[item.relation]
        if reason is not None:
            beyond[reason] = beyond.get(reason, 0) + 1
    return Targets(list(places), list(relations.values()), beyond)


def _reason(item: Quintuple, inventory: Inventory, words: int) -> str | None:
    """Why no answer can hold a quintuple, whatever else is in its post; None if one can."""
    if (str(item.head_type), item.relation, str(item.tail_type)) not in inventory.triples:
        return "of types and a relation that do not go together in training"
    if any(end - start > LONGEST for start, end in (item.head, item.tail)):
        return f"with a name of more than {LONGEST} words"
    if any(end > words for _, end in (item.head, item.tail)):
        return "past the last word that is read"
    return None


def _ends(item: Quintuple) -> tuple[tuple[tuple[int, int], str | None], tuple[tuple[int, int], str | None]]:
    return (item.head, item.head_type), (item.tail, item.tail_type)


def _clash(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Whether two entities (start, end, type) cannot be in one answer."""
    return one != other and one[0] < other[1] and other[0] < one[1]


def _padded(rows: Sequence[Sequence[tuple[int, int, int]]]) -> torch.Tensor:
    """(B, longest, 3), -1 where a row has ended; one at least."""
    longest = max(1, *map(len, rows))
    filled = [[*row, *[(-1, -1, -1)] * (longest - len(row))] for row in rows]
    return torch.tensor(filled)


def _rows(candidates: Candidates) -> Iterator[Candidates]:
    """The candidates of each post, without batch axis and padding."""
    for row, count in enumerate(candidates.mask.sum(1).tolist()):
        spans, mask, gains, relations, emissions = (values[row] for values in candidates)
        yield Candidates(spans[:count], mask[:count], gains[:count], relations[:count, :count], emissions)


def _decoded(post: Post, candidates: Candidates, touching: npt.NDArray[np.float64], inventory: Inventory) -> Post:
    """The post with the best answer."""
    spans = [(start, end) for start, end in candidates.spans.tolist()]
    relation_scores = _doubles(candidates.relations - candidates.relations.amax(-1, keepdim=True))
    best = decode(spans, _doubles(candidates.gains), touching, relation_scores, inventory)
    entities: list[Entity] = []
    place: dict[int, int] = {}
    for candidate, kind in sorted(best.entities, key=lambda entity: spans[entity[0]]):
        place[candidate] = len(entities)
        entities.append(Entity(*spans[candidate], inventory.types[kind]))
    relations = [Relation(place[head], place[tail], inventory.relations[name]) for head, tail, name in best.relations]
    relations.sort(key=lambda relation: (relation.head, relation.tail))
    return replace(post, entities=tuple(entities), relations=tuple(relations))


def _scored(
    answer: Post, candidates: Candidates, marginals: torch.Tensor, inventory: Inventory, temperature: float
) -> Post:
    """A decoded post with scores; `marginals` (W, 1 + 2 T) are the probabilities of its words' labels."""
    scores: list[float] = []
    for entity in answer.entities:
        kind = inventory.types.index(str(entity.type))
        labels = [2 * kind + 1] + [2 * kind + 2] * (entity.end - entity.start - 1)
        scores.append(span_probability(marginals, entity.start, labels))
    number = {(start, end): candidate for candidate, (start, end) in enumerate(candidates.spans.tolist())}
    ends = [number[entity.start, entity.end] for entity in answer.entities]
    probabilities = (candidates.relations / temperature).softmax(-1)
    relations = []
    for relation in answer.relations:
        head, tail = relation.head, relation.tail
        probability = float(probabilities[ends[head], ends[tail], 1 + inventory.relations.index(relation.type)])
        relations.append(replace(relation, score=scores[head] * scores[tail] * probability))
    entities = tuple(replace(entity, score=score) for entity, score in zip(answer.entities, scores, strict=True))
    return replace(answer, entities=entities, relations=tuple(relations))


def _doubles(values: torch.Tensor) -> npt.NDArray[np.float64]:
    doubles: npt.NDArray[np.float64] = values.detach().cpu().double().numpy()
    return doubles


def _format(path: Path) -> str:
    return "posts" if path.suffix == ".jsonl" else "jmere"
