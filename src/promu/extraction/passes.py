"""The forward passes over a batch of posts: one that reads whole posts, and those that read pairs of entities."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from promu.extraction.asked import Asked
from promu.extraction.backends import Backend, TorchBackend
from promu.extraction.draft import Draft
from promu.extraction.explanation import attention_from, mean_map
from promu.extraction.fit import fitting_labels
from promu.extraction.reading import ReadyPost
from promu.extraction.seen import Seen
from promu.extraction.sure import sure_enough
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder
from promu.schema import NO_RELATION, Post, Relation
from promu.training.tasks import TASKS, pair_posts, relation_probabilities

logger = logging.getLogger(__name__)

PAIRS_ALONE = 32
"""Pairs a pass where a post is read alone: there the answer must not hang on the batch size."""


@dataclass(frozen=True, slots=True)
class Part:
    """One model with its tokenizer: `task` is a name in `TASKS`, `labels` the model's, in the order of its outputs."""

    task: str
    backend: Any
    encoder: WordEncoder
    labels: tuple[str, ...]

    def run(self, batch: Mapping[str, torch.Tensor], pictures: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """The model's output for a task's batch and the pictures that go with it."""
        moved = {name: value.to(self.backend.device) for name, value in batch.items()}
        return self.backend({**moved, **pictures}, explain)

    def pixels(self, posts: Sequence[ReadyPost]) -> dict[int, torch.Tensor]:
        """The pictures at the size that the model takes, by the post's place."""
        size = self.backend.config.image_size
        if size is None:
            return {}
        return {place: post.pixels[size] for place, post in enumerate(posts) if post.pixels}


def to_part(task: str, model: PromuPreTrainedModel | Backend, encoder: WordEncoder) -> Part:
    """A model, in PyTorch or on whatever backend, as a part."""
    # The tokenizer sets up its padding on first use; after this no thread finds it doing so.
    encoder.pieces("a")
    backend = TorchBackend(model) if isinstance(model, PromuPreTrainedModel) else model
    names: Any = backend.config.id2label
    return Part(task, backend, encoder, tuple(names[index] for index in range(len(names))))


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows in batches of `size`, the shortest first."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def read_posts(part: Part, seen: Seen, drafts: Sequence[Draft], asked: Asked) -> None:
    """Find what a model of whole posts finds: entities, and if it is a joint one relations too."""
    task = TASKS[part.task]
    posts = [draft.post for draft in drafts]
    batch = task.batch(part.encoder, posts, None)
    output = part.run(batch, seen.of(range(len(posts))), asked.explain)
    outputs = task.outputs(output)
    found = task.rate(part.backend, outputs, batch, task.decode(part.backend, outputs, batch, posts))
    shares = mean_map(output.attentions) if asked.explain else None
    words_read = batch["word_mask"].sum(1).tolist()
    for row, (draft, answer) in enumerate(zip(drafts, found, strict=True)):
        draft.post = sure_enough(answer, asked.entity_threshold, asked.relation_threshold)
        if words_read[row] < len(answer.tokens):
            draft.words_read = words_read[row]
            logger.warning(
                "post %r has %d words, of which the first %d were read: the model takes %d word pieces",
                answer.id,
                len(answer.tokens),
                words_read[row],
                part.encoder.max_length,
            )
        if shares is not None:
            text = task.encode(part.encoder, answer)
            draft.attend(shares[row], batch["input_ids"].shape[1], text, row in seen.rows)


def read_pairs(part: Part, seen: Seen, drafts: Sequence[Draft], asked: Asked, size: int) -> None:
    """Find the relations of the drafts' pairs: of each pair the surest of both directions.

    Args:
        part: A model of relations.
        seen: The drafts' pictures.
        drafts: With their pairs.
        asked: What is wanted of each post.
        size: Pairs a pass.
    """
    task = TASKS[part.task]
    rows = ((place, pair) for place, draft in enumerate(drafts) for pair in pair_posts(draft.post, draft.pairs))
    while chunk := list(islice(rows, size)):
        batch = task.batch(part.encoder, [pair for _, pair in chunk], None)
        output = part.run(batch, seen.of([place for place, _ in chunk]), asked.explain)
        probabilities = relation_probabilities(part.backend, task.outputs(output))
        shares = mean_map(output.attentions) if asked.explain else None
        for row, (place, pair) in enumerate(chunk):
            relation = best_fitting(pair, probabilities[row], part.labels)
            if relation is None or not drafts[place].improves(relation):
                continue
            attention = None
            if shares is not None:
                text = task.encode(part.encoder, pair)
                width = batch["input_ids"].shape[1]
                attention = attention_from(
                    shares[row], width, text.positions, text.words, len(pair.tokens), place in seen.rows
                )
            drafts[place].keep(relation, attention)
    for draft in drafts:
        draft.relate(asked.relation_threshold)


def best_fitting(pair: Post, probabilities: torch.Tensor, labels: Sequence[str]) -> Relation | None:
    """The most probable relation of a pair among those that its types allow; None where that is `None`."""
    (place,) = pair.relations
    fits = fitting_labels(pair.entities[place.head], pair.entities[place.tail], labels)
    score, label = (probabilities * torch.tensor(fits)).max(-1)
    name = labels[int(label)]
    return None if name == NO_RELATION else Relation(place.head, place.tail, name, float(score))
