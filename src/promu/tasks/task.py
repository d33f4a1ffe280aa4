"""The tasks: how posts become a model's inputs, and its outputs posts again. One line in `TASKS` each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from promu.corpora.conll import bio_tags, read_conll, write_conll
from promu.corpora.mnre import read_mnre, write_mnre
from promu.errors import InputError
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.crf import bio_labels, span_probability
from promu.modeling.inputs import Batch, EncodedText, WordEncoder, pad_positions
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.joint_task import JointExtraction
from promu.tasks.predictor import Predictions, Predictor, Task

if TYPE_CHECKING:  # the scorers are imported when something is scored, so that extracting loads none
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores


class EntityRecognition:
    """MNER: BIO labels over words, CRF (Eq 12, 13)."""

    name = "ner"
    model_class: type[PromuPreTrainedModel] = PromuForTokenClassification

    def read(self, path: Path) -> list[Post]:
        """CoNLL with IMGID."""
        return read_conll(path)

    def write(self, path: Path, posts: Sequence[Post]) -> None:
        """CoNLL with IMGID."""
        write_conll(path, posts)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """O, then B and I of each entity type in alphabetical order."""
        return bio_labels(sorted({entity.type for post in posts for entity in post.entities if entity.type}))

    def check(self, posts: Sequence[Post], labels: Sequence[str], path: Path) -> dict[str, int]:
        """As `check_labels`."""
        check_labels(self, posts, labels, path)
        return {}

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with the position of each word's first one."""
        return encoder.words(post.tokens)

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """`word_index`, `word_mask` (B, W) beside the input ids; `labels` (B, W) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = encoder.word_batch(encoded)
        if labels is not None:
            tags = [
                [labels[tag] for tag in bio_tags(post)[: len(text.positions)]]
                for post, text in zip(posts, encoded, strict=True)
            ]
            batch["labels"] = pad_positions(tags)[0]
        return batch

    def outputs(self, output: Any) -> torch.Tensor:
        """Emissions (B, W, C)."""
        return output.emissions

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """Viterbi spans."""
        names = predictor.labels
        answers = []
        paths = predictor.crf.decode(predictions.outputs, predictions.batch["word_mask"])
        for post, path in zip(predictions.posts, paths, strict=True):
            entities: list[Entity] = []
            start = 0
            for index, label in enumerate(path):
                if names[label].startswith("B-"):
                    start = index
                if names[label] != "O" and (index + 1 == len(path) or not names[path[index + 1]].startswith("I-")):
                    entities.append(Entity(start, index + 1, names[label][2:]))
            answers.append(replace(post, entities=tuple(entities), relations=()))
        return answers

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Sequence[Post]) -> list[Post]:
        """A span's score is the smallest marginal probability among its words' labels."""
        word_mask, temperature = predictions.batch["word_mask"], predictor.config.score_temperature
        marginals = predictor.crf.marginals(predictions.outputs, word_mask, temperature)
        ids = {name: label for label, name in enumerate(predictor.labels)}

        def scored(entity: Entity, of_words: torch.Tensor) -> Entity:
            labels = [ids[f"B-{entity.type}"]]
            if entity.end - entity.start > 1:
                labels += [ids[f"I-{entity.type}"]] * (entity.end - entity.start - 1)
            return replace(entity, score=span_probability(of_words, entity.start, labels))

        return [
            replace(answer, entities=tuple(scored(entity, of_words) for entity in answer.entities))
            for answer, of_words in zip(answers, marginals, strict=True)
        ]

    def score(
        self,
        gold: Sequence[Post],
        predicted: Sequence[Post],
        groups: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
    ) -> NerScores:
        """Entity-level micro precision, recall, F1."""
        from promu.evaluation.ner import score_entities

        return score_entities(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of each predicted span."""
        right = {(entity.start, entity.end, entity.type) for entity in gold.entities}
        return [(entity.score or 0.0, (entity.start, entity.end, entity.type) in right) for entity in answer.entities]


class RelationClassification:
    """MRE: one relation of one marked pair a post (Eq 14, 15)."""

    name = "re"
    model_class: type[PromuPreTrainedModel] = PromuForRelationClassification

    def read(self, path: Path) -> list[Post]:
        """MNRE lines."""
        return read_mnre(path)

    def write(self, path: Path, posts: Sequence[Post]) -> None:
        """MNRE lines."""
        write_mnre(path, posts)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """`None` first, then the relations in alphabetical order."""
        types = {relation.type for post in posts for relation in post.relations}
        return [NO_RELATION, *sorted(types - {NO_RELATION})]

    def check(self, posts: Sequence[Post], labels: Sequence[str], path: Path) -> dict[str, int]:
        """As `check_labels`."""
        check_labels(self, posts, labels, path)
        return {}

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with markers around head and tail of the post's one relation."""
        relation = post.relations[0]
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        return encoder.pair(post.tokens, (head.start, head.end), (tail.start, tail.end))

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """`marker_index` (B, 2) beside the input ids; `labels` (B,) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = {**encoder.batch(encoded), "marker_index": torch.tensor([text.positions for text in encoded])}
        if labels is not None:
            batch["labels"] = torch.tensor([labels[post.relations[0].type] for post in posts])
        return batch

    def outputs(self, output: Any) -> torch.Tensor:
        """Logits (B, N_r)."""
        return output.logits

    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """The most probable relation of each pair."""
        best = predictions.outputs.argmax(-1).tolist()
        return [
            replace(post, relations=(replace(post.relations[0], type=predictor.labels[label], score=None),))
            for post, label in zip(predictions.posts, best, strict=True)
        ]

    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Sequence[Post]) -> list[Post]:
        """The probability of each relation."""
        best = relation_probabilities(predictor, predictions.outputs).amax(-1).tolist()
        return [
            replace(answer, relations=(replace(answer.relations[0], score=score),))
            for answer, score in zip(answers, best, strict=True)
        ]

    def score(
        self,
        gold: Sequence[Post],
        predicted: Sequence[Post],
        groups: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
    ) -> RelationScores:
        """Micro precision, recall, F1 with `None` left out."""
        from promu.evaluation.relation import score_relations

        return score_relations(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of the one predicted relation, `None` included."""
        return [(answer.relations[0].score or 0.0, answer.relations[0].type == gold.relations[0].type)]


TASKS: dict[str, Task] = {"ner": EntityRecognition(), "re": RelationClassification(), "joint": JointExtraction()}


def relation_probabilities(predictor: Predictor, logits: torch.Tensor) -> torch.Tensor:
    """Logits (B, N_r) to probabilities at the model's temperature."""
    return (logits / predictor.config.score_temperature).softmax(-1)


def check_labels(task: Task, posts: Sequence[Post], labels: Sequence[str], path: Path) -> None:
    """Refuse gold labels that the model cannot give.

    Raises:
        InputError: A label of `posts` is not among `labels`.
    """
    unknown = sorted(set(task.labels(posts)) - set(labels))
    if unknown:
        raise InputError(
            f"label {unknown[0]!r} occurs here, but the model knows only {', '.join(labels)}; "
            "rename it, or train on data that has it",
            path,
        )


def pair_posts(post: Post, pairs: Sequence[tuple[int, int]]) -> list[Post]:
    """One post a pair of entities, as relation classification reads them."""
    return [replace(post, relations=(Relation(head, tail, NO_RELATION),)) for head, tail in pairs]
