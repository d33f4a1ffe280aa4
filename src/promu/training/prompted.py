"""Labels as prompts in training: which a batch is asked for, which are held out, and what is found of those.

A model whose labels are prompts learns from posts of several sets with different labels. A batch is asked for the
labels of its posts and for some that none of them has. Of a post counts what its own set looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from promu.errors import InputError
from promu.evaluation.thresholds import best_threshold
from promu.modeling.backbone import vectors_at
from promu.modeling.inputs import Batch, tensors
from promu.modeling.label_prompts import LabelPrompt, prompt_batch, prompt_of
from promu.schema import NO_RELATION, Post
from promu.tasks.predictor import Predictor, Task
from promu.tasks.torch_predictor import TorchPredictor
from promu.tasks.windows import extent
from promu.training.recipe import PromptSettings

ENOUGH = 10
"""Answers of a label in the gold of dev, from which on it has a threshold of its own."""


class Asked(NamedTuple):
    """What a batch is asked for.

    Attributes:
        names: Of the labels.
        mask: (B, T), 0 where the set of a post does not look for a label.
    """

    names: list[str]
    mask: NDArray[np.int64]


class HeldOut(NamedTuple):
    """Labels that training never sees, and the test posts with their answers alone."""

    names: list[str]
    test: list[Post]


class Prompted:
    """The labels of one task as prompts.

    Args:
        task: `ner` or `re`.
        settings: Of the recipe.
    """

    def __init__(self, task: Task, settings: PromptSettings) -> None:
        self.task, self.settings = task, settings
        self.template = settings.entity_template if task.name == "ner" else settings.relation_template

    @property
    def fields(self) -> dict[str, Any]:
        """What of it the configuration of a model has."""
        return {"label_template": self.template, "label_texts": dict(self.settings.texts)}

    def inventories(self, splits: Mapping[str, Sequence[Sequence[Post]]]) -> dict[str, list[list[str]]]:
        """The labels that each file of each split looks for.

        Where all splits have as many files, those of one number are a set, and look for what any of them has.
        """
        found = {split: [set(self.task.classes(posts)) for posts in files] for split, files in splits.items()}
        if len({len(files) for files in found.values()}) == 1:
            together = zip(*found.values(), strict=True)
            sets = [{name for names in of_set for name in names} for of_set in together]
            found = dict.fromkeys(found, sets)
        return {split: [sorted(names) for names in files] for split, files in found.items()}

    def hold_out(self, names: Sequence[str], seed: int) -> list[str]:
        """The labels that are held out of training.

        Raises:
            InputError: One is none of the labels, or none would be left.
        """
        wanted = self.settings.held_out
        if isinstance(wanted, list):
            if unknown := sorted(set(wanted) - set(names)):
                raise InputError(f"prompts.held_out names {unknown[0]!r}, and the labels are {', '.join(names)}")
            held = sorted(wanted)
        else:
            order = np.random.default_rng([seed, len(names)]).permutation(len(names))
            held = sorted(names[place] for place in order[: round(wanted * len(names))])
        if len(held) == len(names):
            raise InputError("prompts.held_out has all labels, and none is left to learn; name fewer")
        return held

    def without(self, posts: Sequence[Post], held: Sequence[str]) -> list[Post]:
        """The posts that have no answer of these labels."""
        away = set(held)
        return [post for post in posts if not away & set(self.task.classes([post]))]

    def draw(self, posts: Sequence[Post], known: Sequence[Sequence[str]], rng: np.random.Generator) -> Asked:
        """What a batch is asked for.

        Args:
            posts: With gold.
            known: The labels that the set of each looks for.
            rng: What decides which labels are left out, and which come without an answer.
        """
        inside = sorted(self.task.classes(posts))
        kept = [name for name in inside if rng.random() >= self.settings.dropped]
        others = sorted({name for names in known for name in names} - set(inside))
        more = rng.permutation(len(others))[: self.settings.negatives]
        names = kept + [others[place] for place in sorted(more)] or inside or others
        mask = np.array([[int(name in set(of_post)) for name in names] for of_post in known])
        return Asked(names, mask)

    def batch(self, predictor: Predictor, posts: Sequence[Post], asked: Asked) -> Batch:
        """The inputs of a batch with targets: the prompts too, and the mask where it hides something."""
        kept = [self.task.only(post, asked.names) for post in posts]
        ids = {label: row for row, label in enumerate(self.task.labels_of(asked.names))}
        batch = self.task.batch(predictor.encoder, kept, ids)
        texts = [prompt_of(LabelPrompt(name), self.template, self.settings.texts) for name in asked.names]
        batch |= prompt_batch(predictor.encoder, texts)
        return batch if asked.mask.all() else {**batch, "label_mask": asked.mask}


def asking(predictor: TorchPredictor, names: Sequence[str]) -> TorchPredictor:
    """A predictor that is asked for labels by their names."""
    return predictor.asking([LabelPrompt(name) for name in names])


def fit_type_thresholds(predictor: Predictor, gold: Sequence[Post], answers: Sequence[Post]) -> dict[str, float]:
    """Set `config.type_thresholds` to what gives the best F1 of each label on dev; few answers leave that of all.

    Args:
        predictor: Its configuration is changed.
        gold: The posts of dev.
        answers: The same with scored answers.
    """
    task = predictor.task
    found = {}
    for name, count in sorted(task.classes(gold).items()):
        if count >= ENOUGH:
            given = [task.only(post, [name]) for post in answers]
            found[name] = best_threshold(task.curve([task.only(post, [name]) for post in gold], given))
    predictor.config.type_thresholds = found
    return found


@torch.inference_mode()
def nearest_names(plain: TorchPredictor, answers: Sequence[Post], names: Sequence[str]) -> list[Post]:
    """The same spans or pairs with the label whose vector is nearest to theirs, in a model that was not trained.

    The vector of a span is the mean of its words'; that of a pair is the mean of all words from the first of one entity
    to the last of the other.

    Args:
        plain: The model as it is before training.
        answers: Of a trained model; pairs without a relation stay so.
        names: Of the labels.
    """
    read = asking(plain, names).label_vectors
    assert read is not None
    vectors = functional.normalize(read, dim=-1)
    found = []
    for post in answers:
        batch = tensors(plain.encoder.word_batch([plain.encoder.words(post.tokens)]), plain.device)
        fused = plain.model.promu(batch["input_ids"], batch["attention_mask"]).fused_text
        words = vectors_at(fused, batch["word_index"])[0].float()

        def nearest(start: int, end: int, words: torch.Tensor = words) -> str:
            of_span = words[min(start, len(words) - 1) : end].mean(0)
            return names[int((vectors @ functional.normalize(of_span, dim=-1)).argmax())]

        if plain.task.name == "ner":
            entities = (replace(one, type=nearest(one.start, one.end)) for one in post.entities)
            found.append(replace(post, entities=tuple(entities)))
        else:
            ends = [extent(post.entities[one.head], post.entities[one.tail]) for one in post.relations]
            pairs = zip(post.relations, ends, strict=True)
            related = (one if one.type == NO_RELATION else replace(one, type=nearest(*end)) for one, end in pairs)
            found.append(replace(post, relations=tuple(related)))
    return found
