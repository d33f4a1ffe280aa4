"""The joint task: entities and relations of a post at once, out of one model (JMERE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError
from promu.modeling.chain import span_probability
from promu.modeling.inputs import Batch, EncodedText, WordEncoder
from promu.modeling.inventory import Inventory, inventory_of, triple_label
from promu.modeling.joint_decoding import decode
from promu.modeling.span_candidates import LONGEST, Candidates, touching_gains
from promu.schema import Entity, Post, Quintuple, Relation, quintuples, with_quintuples
from promu.tasks.predictor import NOT_READ, UNKNOWN, Groups, Posts, Predictions, Predictor, Task

if TYPE_CHECKING:  # imported when something is scored
    from promu.evaluation.joint_scores import JointScores


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
    beyond: Counter[str]


class JointExtraction(Task):
    """JMERE: typed spans and the relations between them, decoded together.

    Only entities that are in a relation count, since JMERE files name no others.
    """

    name, format, output = "joint", "jmere", "candidates"
    model = "promu.modeling.joint_model.PromuForJointExtraction"
    threshold = "relation_threshold"
    answers, some = "quintuples", "a relation"

    def write(self, path: Path, posts: Posts, format: str | None = None) -> None:
        """The same, entities in no relation left out."""
        super().write(path, [with_quintuples(post, quintuples(post)) for post in posts], format)

    def labels(self, posts: Posts) -> list[str]:
        """The triples of head type, relation and tail type, in alphabetical order.

        Raises:
            InputError: There is none, or a type has a slash in its name.
        """
        if not any(quintuples(post) for post in posts):
            raise InputError("no post has a relation; joint extraction learns from posts that have some")
        return sorted(triple_label(*triple) for triple in Inventory.of(posts).triples)

    def count(self, post: Post) -> int:
        return len(quintuples(post))

    def classes(self, posts: Posts) -> Counter[str]:
        """Of triples, as `labels` names them."""
        found = (one for post in posts for one in quintuples(post))
        return Counter(triple_label(str(one.head_type), one.relation, str(one.tail_type)) for one in found)

    def readable(self, post: Post, text: EncodedText) -> Post:
        """Quintuples whose words are all read."""
        words = len(text.positions)
        return with_quintuples(post, [one for one in quintuples(post) if max(one.head[1], one.tail[1]) <= words])

    def beyond(self, post: Post, text: EncodedText, labels: Sequence[str]) -> Counter[str]:
        return targets(post, inventory_of(labels), len(text.positions)).beyond

    def batch(self, encoder: WordEncoder, posts: Posts, labels: Mapping[str, int] | None) -> Batch:
        """`word_index`, `word_mask` (B, W) beside the input ids; gold (B, E, 3), (B, F, 3) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = encoder.word_batch(encoded)
        if labels is not None:
            inventory = inventory_of(labels)
            gold = [targets(post, inventory, len(text.positions)) for post, text in zip(posts, encoded, strict=True)]
            batch["gold_entities"] = _padded([one.entities for one in gold])
            batch["gold_relations"] = _padded([one.relations for one in gold])
        return batch

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """The best legal answer of each post, entities by position."""
        assert predictor.crf is not None
        inventory, touching = inventory_of(predictor.labels), touching_gains(predictor.crf)
        found = zip(predictions.posts, _rows(predictions.outputs), strict=True)
        return [_decoded(post, candidates, touching, inventory) for post, candidates in found]

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Posts) -> list[Post]:
        """Probabilities of entities and of whole quintuples.

        An entity's score is the smallest marginal probability among its words' labels, as in MNER; a relation's is that
        of the whole quintuple: the probabilities of its two ends and of the relation, multiplied.
        """
        assert predictor.crf is not None
        inventory = inventory_of(predictor.labels)
        temperature = float(predictor.config.score_temperature)
        outputs: Candidates = predictions.outputs
        marginals = predictor.crf.marginals(outputs.emissions, predictions.batch["word_mask"], temperature)
        return [
            _scored(answer, candidates, of_words, inventory, temperature)
            for answer, candidates, of_words in zip(answers, _rows(outputs), marginals, strict=True)
        ]

    def score(self, gold: Posts, predicted: Posts, groups: Groups = None, labels: Sequence[str] = ()) -> JointScores:
        """Quintuples by spans, types, relation and direction; macro F1 also over the relations of the labels."""
        from promu.evaluation.joint_scores import score_joint

        relations = inventory_of(labels).relations if labels else ()
        return score_joint(gold, predicted, relations, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of each predicted quintuple."""
        right = set(quintuples(gold))
        predicted = zip(answer.relations, quintuples(answer), strict=True)
        return [(relation.score or 0.0, quintuple in right) for relation, quintuple in predicted]

    def positives(self, gold: Post, answer: Post) -> tuple[list[tuple[float, bool]], int]:
        """Quintuples."""
        return self.judge(gold, answer), len(set(quintuples(gold)))

    def above(self, answer: Post, threshold: float) -> Post:
        """Relations whose quintuples have a score from `threshold` on; the entities stay."""
        return replace(answer, relations=tuple(one for one in answer.relations if (one.score or 0.0) >= threshold))


def targets(post: Post, inventory: Inventory, words: int) -> Targets:
    """What can be learned of a post's quintuples under the rules of an answer.

    Of quintuples that exclude each other (overlapping names, a span of two types, two relations of a pair) the first in
    the post's order counts. The model knows `inventory` and reads so many `words`.
    """
    places: dict[tuple[int, int, int], int] = {}
    relations: dict[frozenset[int], tuple[int, int, int]] = {}
    beyond: Counter[str] = Counter()
    for item in quintuples(post):
        if reason := _reason(item, inventory, words):
            beyond[reason] += 1
            continue
        kinds = ((item.head, item.head_type), (item.tail, item.tail_type))
        ends = [(*span, inventory.types.index(str(kind))) for span, kind in kinds]
        others = (*places, *ends)
        if any(end != other and end[0] < other[1] and other[0] < end[1] for end in ends for other in others):
            beyond["whose names overlap others or have two types"] += 1
            continue
        head, tail = (places.setdefault(end, len(places)) for end in ends)
        relation = (head, tail, inventory.relations.index(item.relation))
        if relations.setdefault(frozenset((head, tail)), relation) is not relation:
            beyond["of a pair that has another relation"] += 1
    return Targets(list(places), list(relations.values()), beyond)


def _reason(item: Quintuple, inventory: Inventory, words: int) -> str | None:
    """Why no answer can hold a quintuple, whatever else is in its post; None if one can."""
    if (str(item.head_type), item.relation, str(item.tail_type)) not in inventory.triples:
        return UNKNOWN[1]
    if any(end - start > LONGEST for start, end in (item.head, item.tail)):
        return f"with a name of more than {LONGEST} words"
    return NOT_READ if max(item.head[1], item.tail[1]) > words else None


def _padded(rows: Sequence[Sequence[tuple[int, int, int]]]) -> NDArray[np.int64]:
    """(B, longest, 3), -1 where a row has ended; one at least."""
    longest = max(1, *map(len, rows))
    return np.array([[*row, *[(-1, -1, -1)] * (longest - len(row))] for row in rows])


def _rows(candidates: Candidates) -> Iterator[Candidates]:
    """The candidates of each post, without batch axis and padding."""
    for row, count in enumerate(candidates.mask.sum(1).tolist()):
        spans, mask, gains, relations, emissions = (values[row] for values in candidates)
        yield Candidates(spans[:count], mask[:count], gains[:count], relations[:count, :count], emissions)


def _decoded(post: Post, candidates: Candidates, touching: NDArray[np.float64], inventory: Inventory) -> Post:
    """The post with the best answer."""
    spans = [(start, end) for start, end in candidates.spans.tolist()]
    relations = candidates.relations.astype(np.float64)
    best = decode(spans, candidates.gains, touching, relations - relations.max(-1, keepdims=True), inventory)
    found = sorted(best.entities, key=lambda entity: spans[entity[0]])
    place = {candidate: number for number, (candidate, _) in enumerate(found)}
    entities = tuple(Entity(*spans[candidate], inventory.types[kind]) for candidate, kind in found)
    related = [Relation(place[head], place[tail], inventory.relations[name]) for head, tail, name in best.relations]
    return replace(post, entities=entities, relations=tuple(sorted(related, key=attrgetter("head", "tail"))))


def _scored(
    answer: Post, candidates: Candidates, marginals: NDArray[Any], inventory: Inventory, temperature: float
) -> Post:
    """A decoded post with scores; `marginals` (W, 1 + 2 T) are the probabilities of its words' labels."""
    scores: list[float] = []
    for entity in answer.entities:
        kind = inventory.types.index(str(entity.type))
        labels = [2 * kind + 1] + [2 * kind + 2] * (entity.end - entity.start - 1)
        scores.append(span_probability(marginals, entity.start, labels))
    number = {(start, end): candidate for candidate, (start, end) in enumerate(candidates.spans.tolist())}
    ends = [number[entity.start, entity.end] for entity in answer.entities]
    probabilities = softmax(candidates.relations / temperature)
    relations = []
    for relation in answer.relations:
        head, tail = relation.head, relation.tail
        probability = float(probabilities[ends[head], ends[tail], 1 + inventory.relations.index(relation.type)])
        relations.append(replace(relation, score=scores[head] * scores[tail] * probability))
    entities = tuple(replace(entity, score=score) for entity, score in zip(answer.entities, scores, strict=True))
    return replace(answer, entities=entities, relations=tuple(relations))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits to probabilities that sum to 1 over the last axis."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
