"""The forward passes over a batch of posts: one that reads whole posts, and those that read pairs of entities."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, permutations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from promu.errors import InputError
from promu.extraction.backends import Backend, TorchBackend
from promu.extraction.request import Asked, ReadyPost
from promu.extraction.result import Attention, Explanation, Extraction, attention_from, mean_map
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import EncodedText, WordEncoder
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.task import TASKS, pair_posts, relation_probabilities


@dataclass(frozen=True, slots=True)
class Seen:
    """Encoded images of some posts.

    Attributes:
        tokens: (P, K+1, d_v), or one axis more where several levels are read; None where no post has an image.
        rows: Row in `tokens` by the post's place in the batch.
    """

    tokens: torch.Tensor | None
    rows: Mapping[int, int]

    def of(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        """`visual` and `image_mask` for posts by their places, which may repeat; nothing where none has an image."""
        if self.tokens is None or not any(place in self.rows for place in places):
            return {}
        device = self.tokens.device
        # what stands in the row of a post without an image is masked out
        rows = torch.tensor([self.rows.get(place, 0) for place in places], device=device)
        mask = torch.tensor([int(place in self.rows) for place in places], device=device)
        return {"visual": self.tokens.index_select(0, rows), "image_mask": mask}


def look(backend: Backend, pixels: Mapping[int, torch.Tensor]) -> Seen:
    """Encode images.

    Args:
        backend: What encodes them.
        pixels: Bytes (3, S, S) by the post's place in the batch.
    """
    if not pixels:
        return Seen(None, {})
    stack = torch.stack(list(pixels.values())).to(backend.device)
    return Seen(backend.encode(stack), {place: row for row, place in enumerate(pixels)})


def sure_enough(post: Post, entity_threshold: float, relation_threshold: float) -> Post:
    """The post without entities and relations of lower scores, and without relations of entities left out."""
    kept = [index for index, entity in enumerate(post.entities) if (entity.score or 0.0) >= entity_threshold]
    place = {index: number for number, index in enumerate(kept)}
    return replace(
        post,
        entities=tuple(post.entities[index] for index in kept),
        relations=tuple(
            replace(relation, head=place[relation.head], tail=place[relation.tail])
            for relation in post.relations
            if relation.head in place and relation.tail in place and (relation.score or 0.0) >= relation_threshold
        ),
    )


# Twitter-2015 says OTHER where Twitter-2017 says MISC.
_SAME_TYPE = {"other": "misc"}


def label_types(label: str) -> tuple[str, str] | None:
    """The lower-case types of head and tail that a label states, or None where it states none."""
    parts = label.split("/")
    if len(parts) != 4 or parts[0]:
        return None
    return _plain(parts[1]), _plain(parts[2])


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
    return all(found is None or _plain(found) == stated for found, stated in zip((head, tail), types, strict=True))


def _plain(kind: str) -> str:
    kind = kind.lower()
    return _SAME_TYPE.get(kind, kind)


class Draft:
    """An extraction in the making.

    Attributes:
        post: With the entities found, or given, and in the end the relations.
        pairs: Ordered pairs (head, tail) of entities between which a relation may hold.
        words_read: As `Extraction.words_read`.
    """

    def __init__(self, ready: ReadyPost) -> None:
        self._line, self._image = ready.line, ready.image
        self.post = replace(ready.line.post, relations=())
        self.pairs: list[tuple[int, int]] = []
        self.words_read: int | None = None
        self._best: dict[tuple[int, int], tuple[Relation, Attention | None]] = {}
        self._of_entities: tuple[Attention, ...] = ()
        self._of_relations: tuple[Attention, ...] = ()
        self._crowd = 0

    def attend(self, shares: NDArray[np.float64], width: int, text: EncodedText, seen: bool) -> None:
        """Keep what the words of each entity attended to, and those of both ends of each relation."""
        words = [text.positions[entity.start : entity.end] for entity in self.post.entities]
        ends = [words[relation.head] + words[relation.tail] for relation in self.post.relations]
        self._of_entities, self._of_relations = (
            tuple(attention_from(shares, width, one, text.words, len(self.post.tokens), seen) for one in places)
            for places in (words, ends)
        )

    def pair(self, labels: Sequence[str], most: int | None) -> None:
        """Pair the entities whose types a relation of `labels` fits; more than `most` pairs make the post refused."""
        self.pairs = fitting_pairs(self.post.entities, labels)
        if most is not None and len(self.pairs) > most:
            self._crowd, self.pairs = len(self.pairs), []

    def improves(self, relation: Relation) -> bool:
        """Whether nothing surer is known of the pair, in either direction."""
        before = self._best.get(_ends(relation))
        return before is None or (before[0].score or 0.0) < (relation.score or 0.0)

    def keep(self, relation: Relation, attention: Attention | None) -> None:
        """Take this for what is known of the pair."""
        self._best[_ends(relation)] = relation, attention

    def relate(self, threshold: float) -> None:
        """Put the relations that are sure enough into the post, in the order of their ends."""
        best = [found for found in self._best.values() if (found[0].score or 0.0) >= threshold]
        best.sort(key=lambda found: (found[0].head, found[0].tail))
        self.post = replace(self.post, relations=tuple(relation for relation, _ in best))
        self._of_relations = tuple(attention for _, attention in best if attention is not None)

    def answer(self, asked: Asked) -> Extraction | InputError:
        """What is handed out: the extraction, or why there is none."""
        if self._crowd:
            return InputError(
                f"the text has {self._crowd:,} pairs of entities that may be related, at most {asked.max_pairs:,} are "
                "looked at; shorten it"
            )
        return Extraction(
            id=self.post.id,
            text=self._line.text,
            tokens=self.post.tokens,
            entities=self.post.entities,
            relations=self.post.relations,
            offsets=self._line.offsets,
            image=self._image,
            words_read=self.words_read,
            explanation=Explanation(self._of_entities, self._of_relations) if asked.explain else None,
        )


def _ends(relation: Relation) -> tuple[int, int]:
    return min(relation.head, relation.tail), max(relation.head, relation.tail)


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

    def run(self, batch: Mapping[str, torch.Tensor], images: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """The model's output for a task's batch and the images that go with it."""
        moved = {name: value.to(self.backend.device) for name, value in batch.items()}
        return self.backend({**moved, **images}, explain)

    def pixels(self, posts: Sequence[ReadyPost]) -> dict[int, torch.Tensor]:
        """The images at the size that the model takes, by the post's place."""
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
        seen: The drafts' images.
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
