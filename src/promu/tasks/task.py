"""The tasks: how posts become a model's inputs, and its outputs posts again. One line in `TASKS` each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promu.corpora.tag_schemes import bio_tags
from promu.extensions import Choices
from promu.modeling.chain import bio_labels, span_probability
from promu.modeling.inputs import Batch, EncodedText, WordEncoder, levitate, pad_positions
from promu.schema import NO_RELATION, Entity, Post, Relation, apart
from promu.tasks.joint_task import JointExtraction, softmax
from promu.tasks.predictor import NOT_READ, UNKNOWN, Groups, Posts, Predictions, Predictor, Task

if TYPE_CHECKING:  # the scorers are imported when something is scored, so that extracting loads none
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores


class EntityRecognition(Task):
    """MNER: BIO labels over words, CRF (Eq 12, 13)."""

    name, format, output = "ner", "conll", "emissions"
    model = "promu.modeling.classification.PromuForTokenClassification"
    threshold = "entity_threshold"
    answers, some = "entities", "an entity"

    def labels(self, posts: Posts) -> list[str]:
        """O, then B and I of each entity type in alphabetical order."""
        return bio_labels(sorted({entity.type for post in posts for entity in post.entities if entity.type}))

    def unusable(self, posts: Posts) -> str | None:
        """An entity without type."""
        untyped = next((post for post in posts if any(entity.type is None for entity in post.entities)), None)
        return f"post {untyped.id!r} has an entity without a type; give it one, or leave it out" if untyped else None

    def count(self, post: Post) -> int:
        return len(post.entities)

    def classes(self, posts: Posts) -> Counter[str]:
        return Counter(entity.type for post in posts for entity in post.entities if entity.type)

    def label_classes(self, labels: Sequence[str]) -> set[str]:
        return {name[2:] for name in labels if name != "O"}

    def labels_of(self, names: Sequence[str]) -> list[str]:
        return bio_labels(names)

    def only(self, post: Post, names: Collection[str]) -> Post:
        return replace(post, entities=tuple(one for one in post.entities if one.type in names))

    def readable(self, post: Post, text: EncodedText) -> Post:
        """Entities whose words are all read."""
        read = tuple(one for one in post.entities if one.end <= len(text.positions))
        return replace(post, entities=read, relations=())

    def beyond(self, post: Post, text: EncodedText, labels: Sequence[str]) -> Counter[str]:
        """Of entities that overlap another the first in the post can be given."""
        known, words, alone = self.label_classes(labels), len(text.positions), apart(post.entities)
        found: Counter[str] = Counter()
        for one in post.entities:
            if one.type not in known:
                found[UNKNOWN[0]] += 1
            elif one.end > words:
                found[NOT_READ] += 1
            elif one not in alone:
                found["that overlap another"] += 1
        return found

    def batch(self, encoder: WordEncoder, posts: Posts, labels: Mapping[str, int] | None) -> Batch:
        """`word_index`, `word_mask` (B, W) beside the input ids; `labels` (B, W) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = encoder.word_batch(encoded)
        if labels is not None:
            flat = (replace(post, entities=tuple(apart(post.entities)), relations=()) for post in posts)
            words = zip(map(bio_tags, flat), encoded, strict=True)
            tags = [[labels[tag] for tag in of_post[: len(text.positions)]] for of_post, text in words]
            batch["labels"] = pad_positions(tags)[0]
        return batch

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """Viterbi spans."""
        assert predictor.crf is not None
        answers = []
        paths = predictor.crf.decode(predictions.outputs, predictions.batch["word_mask"])
        for post, path in zip(predictions.posts, paths, strict=True):
            entities = []
            start = 0
            for index, (name, following) in enumerate(pairwise([*(predictor.labels[label] for label in path), "O"])):
                if name.startswith("B-"):
                    start = index
                if name != "O" and not following.startswith("I-"):
                    entities.append(Entity(start, index + 1, name[2:]))
            answers.append(replace(post, entities=tuple(entities), relations=()))
        return answers

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Posts) -> list[Post]:
        """A span's score is the smallest marginal probability among its words' labels."""
        assert predictor.crf is not None
        word_mask, temperature = predictions.batch["word_mask"], predictor.config.score_temperature
        marginals = predictor.crf.marginals(predictions.outputs, word_mask, temperature)
        ids = {name: label for label, name in enumerate(predictor.labels)}

        def scored(entity: Entity, of_words: NDArray[np.float32]) -> Entity:
            names = [f"B-{entity.type}", *[f"I-{entity.type}"] * (entity.end - entity.start - 1)]
            return replace(entity, score=span_probability(of_words, entity.start, [ids[name] for name in names]))

        return [
            replace(answer, entities=tuple(scored(entity, of_words) for entity in answer.entities))
            for answer, of_words in zip(answers, marginals, strict=True)
        ]

    def score(self, gold: Posts, predicted: Posts, groups: Groups = None, labels: Sequence[str] = ()) -> NerScores:
        """Entity-level micro precision, recall, F1."""
        from promu.evaluation.ner import score_entities

        return score_entities(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of each predicted span."""
        right = {(entity.start, entity.end, entity.type) for entity in gold.entities}
        return [(entity.score or 0.0, (entity.start, entity.end, entity.type) in right) for entity in answer.entities]

    def positives(self, gold: Post, answer: Post) -> tuple[list[tuple[float, bool]], int]:
        """Spans."""
        return self.judge(gold, answer), len({(entity.start, entity.end, entity.type) for entity in gold.entities})

    def above(self, answer: Post, threshold: float) -> Post:
        """Spans with a score from `threshold` on."""
        return replace(answer, entities=tuple(one for one in answer.entities if (one.score or 0.0) >= threshold))


class RelationClassification(Task):
    """MRE: the relation of one pair of entities a post (Eq 14, 15); with heads that take several, of any number."""

    name, format, output = "re", "mnre", "logits"
    model = "promu.modeling.classification.PromuForRelationClassification"
    threshold = "relation_threshold"
    answers, some, asked = "pairs", f"a relation other than {NO_RELATION}", True

    def labels(self, posts: Posts) -> list[str]:
        """`None` first, then the relations in alphabetical order."""
        types = {relation.type for post in posts for relation in post.relations}
        return [NO_RELATION, *sorted(types - {NO_RELATION})]

    def count(self, post: Post) -> int:
        return len(post.relations)

    def classes(self, posts: Posts) -> Counter[str]:
        found = Counter(relation.type for post in posts for relation in post.relations)
        del found[NO_RELATION]
        return found

    def labels_of(self, names: Sequence[str]) -> list[str]:
        return [NO_RELATION, *names]

    def only(self, post: Post, names: Collection[str]) -> Post:
        """Pairs of other relations have none."""
        kept = (one if one.type in names else replace(one, type=NO_RELATION, score=None) for one in post.relations)
        return replace(post, relations=tuple(kept))

    def readable(self, post: Post, text: EncodedText) -> Post:
        """No pair at all, unless all words of its two entities are read."""
        words = set(text.words)
        ends = [post.entities[number] for one in post.relations for number in (one.head, one.tail)]
        whole = all(word in words for end in ends for word in range(end.start, end.end))
        return post if whole else replace(post, relations=())

    def beyond(self, post: Post, text: EncodedText, labels: Sequence[str]) -> Counter[str]:
        """A pair whose words are cut still has an answer."""
        return Counter(UNKNOWN[0] for relation in post.relations if relation.type not in labels)

    def one_sided(self, posts: Posts) -> list[str]:
        found = Counter(relation.type for post in posts for relation in post.relations)
        if len(found) == 1:
            return [f"every pair is {next(iter(found))}, and a model of it can learn to say nothing else"]
        if NO_RELATION not in found:
            return [f"no pair is {NO_RELATION}, and a model of it cannot learn that two entities are not related"]
        return []

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with markers around head and tail of the post's one relation, or the ends of all heads and tails."""
        spans = [post.entities[number] for relation in post.relations for number in (relation.head, relation.tail)]
        ends = [(entity.start, entity.end) for entity in spans]
        if encoder.relation_head == "markers":
            text = encoder.pair(post.tokens, *ends)
        else:
            text = encoder.spans(post.tokens, ends)
        return encoder.with_contexts(text, post.tokens, post.contexts)

    def batch(self, encoder: WordEncoder, posts: Posts, labels: Mapping[str, int] | None) -> Batch:
        """`marker_index` (B, 2) or `pairs` (P, 5) beside the input ids; `labels` (P,) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = encoder.batch(encoded)
        if encoder.relation_head == "markers":
            batch["marker_index"] = np.array([text.positions for text in encoded])
        else:
            ends = [[row, *four] for row, text in enumerate(encoded) for four in _in_parts(text.positions, 4)]
            batch["pairs"] = np.array(ends)
            if encoder.relation_head == "levitated":
                batch = levitate(batch, batch["pairs"], encoder.markers())
        if labels is not None:
            batch["labels"] = np.array([labels[one.type] for post in posts for one in post.relations])
        return batch

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """The most probable relation of each pair."""
        best = (predictor.labels[label] for label in predictions.outputs.argmax(-1).tolist())
        return [
            replace(post, relations=tuple(replace(one, type=next(best), score=None) for one in post.relations))
            for post in predictions.posts
        ]

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Posts) -> list[Post]:
        """The probability of each relation."""
        best = iter(relation_probabilities(predictor, predictions.outputs).max(-1).tolist())
        return [
            replace(answer, relations=tuple(replace(one, score=next(best)) for one in answer.relations))
            for answer in answers
        ]

    def score(self, gold: Posts, predicted: Posts, groups: Groups = None, labels: Sequence[str] = ()) -> RelationScores:
        """Micro precision, recall, F1 with `None` left out."""
        from promu.evaluation.relation import score_relations

        return score_relations(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of the one predicted relation, `None` included."""
        return [(answer.relations[0].score or 0.0, answer.relations[0].type == gold.relations[0].type)]

    def positives(self, gold: Post, answer: Post) -> tuple[list[tuple[float, bool]], int]:
        """Relations other than `None`."""
        given = [] if answer.relations[0].type == NO_RELATION else self.judge(gold, answer)
        return given, int(gold.relations[0].type != NO_RELATION)

    def above(self, answer: Post, threshold: float) -> Post:
        """A relation with a lower score becomes `None`, without a score."""
        (relation,) = answer.relations
        if relation.type == NO_RELATION or (relation.score or 0.0) >= threshold:
            return answer
        return replace(answer, relations=(replace(relation, type=NO_RELATION, score=None),))


PAIRS_A_ROW = {"markers": 1, "spans": 256, "levitated": 32}
"""Pairs that share a row of a batch at most, by the head that reads them."""

TASKS: Choices[Task] = Choices(
    "promu.tasks",
    {"ner": EntityRecognition(), "re": RelationClassification(), "joint": JointExtraction()},
    lambda choice: isinstance(choice, Task),
    "a Task",
)
"""Task name -> task; packages add theirs as entry points of `promu.tasks`."""


def relation_probabilities(predictor: Predictor, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (B, N_r) to probabilities at the model's temperature."""
    return softmax(logits / predictor.config.score_temperature)


def pair_posts(post: Post, pairs: Sequence[tuple[int, int]]) -> list[Post]:
    """One post a pair of entities, as relation classification with markers reads them."""
    return [replace(post, relations=(Relation(head, tail, NO_RELATION),)) for head, tail in pairs]


def packed_posts(encoder: WordEncoder, post: Post, pairs: Sequence[tuple[int, int]]) -> list[Post]:
    """As few posts as hold all pairs, each one row of a batch. The model takes the post whole (`promu.tasks.windows`).

    Args:
        encoder: Of the model.
        post: With its entities.
        pairs: Head and tail, by their numbers.
    """
    return [
        replace(post, relations=tuple(Relation(head, tail, NO_RELATION) for head, tail in of_row))
        for of_row in _in_parts(pairs, PAIRS_A_ROW[encoder.relation_head])
    ]


def _in_parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def pair_places(batch: Batch, number: int) -> list[int]:
    """The tokens of a batch that speak for the pair of this number: its markers, or all of both spans."""
    if "marker_index" in batch:
        return batch["marker_index"][number].tolist()
    _, *places = batch["pairs"][number].tolist()
    if "position_ids" in batch:  # of levitated markers
        return places
    return [*range(*places[:2]), *range(*places[2:])]
