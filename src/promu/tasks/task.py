"""The tasks: how posts become batches and how a model's output becomes posts again. One line in `TASKS` each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from promu.corpora.conll import bio_tags, read_conll, write_conll
from promu.corpora.mnre import read_mnre, write_mnre
from promu.errors import InputError
from promu.evaluation.ner import NerScores, score_entities
from promu.evaluation.relation import RelationScores, score_relations
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.crf import bio_labels, span_probability
from promu.modeling.inputs import Batch, EncodedText, WordEncoder, pad_positions
from promu.progress import report
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.joint_task import JointExtraction

ImageBatches = Callable[[Sequence[str | None]], Batch]
"""File names of a batch to `pixel_values` and `image_mask`, or to nothing where there is no image."""


class Task(Protocol):
    """What fine-tuning, evaluation and extraction need to know of a task."""

    model_class: type[PromuPreTrainedModel]

    def read(self, path: Path) -> list[Post]:
        """Posts of the task's published format."""

    def write(self, path: Path, posts: Sequence[Post]) -> None:
        """Posts, predicted ones too, in that format."""

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """Label names in the order of the model's outputs."""

    def check(self, posts: Sequence[Post], known: Sequence[str], path: Path) -> dict[str, int]:
        """Refuse gold that a model with these labels cannot give (InputError), or count it by the reason."""

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Word pieces of one post."""

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """Model inputs without images; with targets where label ids are given."""

    def outputs(self, output: Any) -> Any:
        """Of what the model returned, what its answers are read from: a tensor, or tensors with their own `cpu`."""

    def decode(self, model: Any, outputs: Any, batch: Batch, posts: Sequence[Post]) -> list[Post]:
        """The posts with the answers that `outputs` hold in place of gold, not scored yet."""

    def rate(self, model: Any, outputs: Any, batch: Batch, answers: Sequence[Post]) -> list[Post]:
        """What was decoded with its scores: probabilities at the model's temperature (`score_temperature`)."""

    def score(
        self,
        gold: Sequence[Post],
        predicted: Sequence[Post],
        groups: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
    ) -> Any:
        """The task's figures; a mean over labels counts those of the model too, where it is given."""

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """The score of each answer to one post, and whether it is right."""


class EntityRecognition:
    """MNER: BIO labels over words, CRF (Eq 12, 13)."""

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

    def check(self, posts: Sequence[Post], known: Sequence[str], path: Path) -> dict[str, int]:
        """As `check_labels`."""
        check_labels(self, posts, known, path)
        return {}

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with the position of each word's first one."""
        return encoder.words(post.tokens)

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """`word_index`, `word_mask` (B, W) beside the pieces; `labels` (B, W) where ids are given."""
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

    def decode(
        self, model: PromuForTokenClassification, outputs: torch.Tensor, batch: Batch, posts: Sequence[Post]
    ) -> list[Post]:
        """Viterbi spans."""
        names = label_names(model)
        answers = []
        for post, path in zip(posts, model.crf.decode(outputs, batch["word_mask"]), strict=True):
            entities: list[Entity] = []
            start = 0
            for index, label in enumerate(path):
                if names[label].startswith("B-"):
                    start = index
                if names[label] != "O" and (index + 1 == len(path) or not names[path[index + 1]].startswith("I-")):
                    entities.append(Entity(start, index + 1, names[label][2:]))
            answers.append(replace(post, entities=tuple(entities), relations=()))
        return answers

    def rate(
        self, model: PromuForTokenClassification, outputs: torch.Tensor, batch: Batch, answers: Sequence[Post]
    ) -> list[Post]:
        """A span's score is the smallest marginal probability among its words' labels."""
        marginals = model.crf.marginals(outputs, batch["word_mask"], model.config.score_temperature).cpu()
        ids = {name: label for label, name in enumerate(label_names(model))}

        def rated(entity: Entity, of_words: torch.Tensor) -> Entity:
            labels = [ids[f"B-{entity.type}"]]
            if entity.end - entity.start > 1:
                labels += [ids[f"I-{entity.type}"]] * (entity.end - entity.start - 1)
            return replace(entity, score=span_probability(of_words, entity.start, labels))

        return [
            replace(answer, entities=tuple(rated(entity, of_words) for entity in answer.entities))
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
        return score_entities(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of each span found."""
        known = {(entity.start, entity.end, entity.type) for entity in gold.entities}
        return [(entity.score or 0.0, (entity.start, entity.end, entity.type) in known) for entity in answer.entities]


class RelationClassification:
    """MRE: one relation of one marked pair a post (Eq 14, 15)."""

    model_class: type[PromuPreTrainedModel] = PromuForRelationClassification

    def read(self, path: Path) -> list[Post]:
        """MNRE lines."""
        return read_mnre(path)

    def write(self, path: Path, posts: Sequence[Post]) -> None:
        """MNRE lines."""
        write_mnre(path, posts)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """`None` first, then the relations in alphabetical order."""
        found = {relation.type for post in posts for relation in post.relations}
        return [NO_RELATION, *sorted(found - {NO_RELATION})]

    def check(self, posts: Sequence[Post], known: Sequence[str], path: Path) -> dict[str, int]:
        """As `check_labels`."""
        check_labels(self, posts, known, path)
        return {}

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Pieces with markers around head and tail of the post's one relation."""
        relation = post.relations[0]
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        return encoder.pair(post.tokens, (head.start, head.end), (tail.start, tail.end))

    def batch(self, encoder: WordEncoder, posts: Sequence[Post], labels: Mapping[str, int] | None) -> Batch:
        """`marker_index` (B, 2) beside the pieces; `labels` (B,) where ids are given."""
        encoded = [self.encode(encoder, post) for post in posts]
        batch = {**encoder.batch(encoded), "marker_index": torch.tensor([text.positions for text in encoded])}
        if labels is not None:
            batch["labels"] = torch.tensor([labels[post.relations[0].type] for post in posts])
        return batch

    def outputs(self, output: Any) -> torch.Tensor:
        """Logits (B, N_r)."""
        return output.logits

    def decode(
        self, model: PromuForRelationClassification, outputs: torch.Tensor, batch: Batch, posts: Sequence[Post]
    ) -> list[Post]:
        """The most probable relation of each pair."""
        names = label_names(model)
        return [
            replace(post, relations=(replace(post.relations[0], type=names[label], score=None),))
            for post, label in zip(posts, outputs.argmax(-1).tolist(), strict=True)
        ]

    def rate(
        self, model: PromuForRelationClassification, outputs: torch.Tensor, batch: Batch, answers: Sequence[Post]
    ) -> list[Post]:
        """The probability of each relation."""
        best = relation_probabilities(model, outputs).amax(-1).tolist()
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
        return score_relations(gold, predicted, groups)

    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """Of the one relation chosen, `None` included."""
        return [(answer.relations[0].score or 0.0, answer.relations[0].type == gold.relations[0].type)]


TASKS: dict[str, Task] = {"ner": EntityRecognition(), "re": RelationClassification(), "joint": JointExtraction()}


def relation_probabilities(model: PromuForRelationClassification, logits: torch.Tensor) -> torch.Tensor:
    """Logits (B, N_r) to probabilities at the model's temperature, on the CPU."""
    return (logits / model.config.score_temperature).softmax(-1).cpu()


def label_names(model: PromuPreTrainedModel) -> list[str]:
    """The model's labels in the order of its outputs."""
    names: dict[Any, str] = dict(model.config.id2label or {})
    return [names[index] for index in range(len(names))]


def check_labels(task: Task, posts: Sequence[Post], known: Sequence[str], path: Path) -> None:
    """Refuse gold labels that the model cannot give.

    Raises:
        InputError: A label of `posts` is not among `known`.
    """
    unknown = sorted(set(task.labels(posts)) - set(known))
    if unknown:
        raise InputError(
            f"label {unknown[0]!r} occurs here, but the model knows only {', '.join(known)}; "
            "rename it, or train on data that has it",
            path,
        )


class Reading(NamedTuple):
    """What a model said of some posts.

    Attributes:
        rows: Which posts.
        outputs: As `Task.outputs`, on the CPU.
        batch: What the model was given, images left out.
    """

    rows: list[int]
    outputs: Any
    batch: Batch


@torch.inference_mode()
def read_out(
    task: Task,
    model: PromuPreTrainedModel,
    encoder: WordEncoder,
    posts: Sequence[Post],
    images: ImageBatches,
    batch_size: int = 64,
) -> Iterator[Reading]:
    """What the model says of each post, in batches of posts of like length.

    Args:
        task: One of `TASKS`.
        model: In evaluation mode afterwards.
        encoder: The model's tokenizer.
        posts: For relation classification each with its pair.
        images: Gives a batch's images.
        batch_size: Posts a forward pass.
    """
    model.eval()
    order = sorted(range(len(posts)), key=lambda index: len(posts[index].tokens))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        chosen = [posts[row] for row in rows]
        batch = task.batch(encoder, chosen, None)
        given = {**batch, **images([post.image for post in chosen])}
        output = model(**{name: value.to(model.device) for name, value in given.items()})
        yield Reading(rows, task.outputs(output).cpu(), batch)


def answers(
    task: Task,
    model: PromuPreTrainedModel,
    readings: Iterable[Reading],
    posts: Sequence[Post],
) -> list[Post]:
    """The posts, in their order, with the answers that were read (`read_out`).

    Args:
        task: One of `TASKS`.
        model: Whose they are.
        readings: Of all posts.
        posts: As they were read.
    """
    found: dict[int, Post] = {}
    for rows, outputs, batch in readings:
        decoded = task.decode(model, outputs, batch, [posts[row] for row in rows])
        found.update(zip(rows, task.rate(model, outputs, batch, decoded), strict=True))
        report("reading", len(found), len(posts))
    return [found[row] for row in range(len(posts))]


def predict_posts(
    task: Task,
    model: PromuPreTrainedModel,
    encoder: WordEncoder,
    posts: Sequence[Post],
    images: ImageBatches,
    batch_size: int = 64,
) -> list[Post]:
    """`read_out` and `answers` in one."""
    return answers(task, model, read_out(task, model, encoder, posts, images, batch_size), posts)


def pair_posts(post: Post, pairs: Sequence[tuple[int, int]]) -> list[Post]:
    """One post a pair of entities, as relation classification reads them."""
    return [replace(post, relations=(Relation(head, tail, NO_RELATION),)) for head, tail in pairs]
