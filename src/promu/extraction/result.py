"""What an extractor returns for one post."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from promu.schema import Entity, Relation

HOT = 2.0
"""A patch belongs to a region when it holds more than so many times the mean patch's share."""


@dataclass(frozen=True, slots=True)
class AttendedRegion:
    """A connected part of the image that much attention goes to.

    Attributes:
        box: (x0, y0, x1, y1) in shares of the image's width and height.
        share: Of the attention to all patches.
    """

    box: tuple[float, float, float, float]
    share: float


@dataclass(frozen=True, slots=True)
class Attention:
    """The attention of the vectors behind one answer: the mean over the fusion's layers and heads.

    Words and patches together have 1 at most: the rest is on special tokens and the image's CLS.

    Attributes:
        words: Share of each word of the post; 0 for words that were not read.
        patches: Shares of the patches, row by row from the top; empty without an image.
        regions: Where the patches' shares are dense, the strongest first.
    """

    words: tuple[float, ...]
    patches: tuple[tuple[float, ...], ...]
    regions: tuple[AttendedRegion, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The attention behind each answer of an extraction.

    Attributes:
        entities: One for each entity, read at its words; empty where the entities were given.
        relations: One for each relation, read at the markers of head and tail; with a joint model at their words.
    """

    entities: tuple[Attention, ...]
    relations: tuple[Attention, ...]


def mean_map(attentions: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Maps (B, heads, Q, M), one a layer, to their mean (B, Q, M)."""
    return torch.stack([layer.double().mean(1) for layer in attentions]).mean(0).cpu().numpy()


def attention_from(
    shares: NDArray[np.float64], tokens: int, places: Sequence[int], words: Sequence[int], count: int, image: bool
) -> Attention:
    """What the vectors at `places` attended to.

    Args:
        shares: (Q, M) one post's map: columns of the text's tokens, then those of visual CLS and patches.
        tokens: How many columns the text has, padding included.
        places: Rows to take the mean of.
        words: The word of each token, -1 where it is none.
        count: Words in the post.
        image: Whether the post has an image.
    """
    mean = shares[list(places)].mean(0)
    of_words = np.zeros(count)
    for column, word in enumerate(words):
        if word >= 0:
            of_words[word] += mean[column]
    side = math.isqrt(max(0, len(mean) - tokens - 1)) if image else 0
    patches = mean[tokens + 1 : tokens + 1 + side * side].reshape(side, side)
    return Attention(tuple(of_words.tolist()), tuple(map(tuple, patches.tolist())), attended_regions(patches))


def attended_regions(patches: NDArray[np.float64]) -> tuple[AttendedRegion, ...]:
    """Boxes around patches (rows, columns) that touch each other and hold more than `HOT` times the mean share.

    These are three at most, the strongest first.
    """
    rows, columns = patches.shape
    total = float(patches.sum())
    if not total:
        return ()
    left = {(int(row), int(column)) for row, column in np.argwhere(patches > HOT * patches.mean())}
    regions = []
    while left:
        group, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            group.add((row, column))
            near = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)} & left
            left -= near
            edge.extend(near)
        tops, sides = [row for row, _ in group], [column for _, column in group]
        box = (min(sides) / columns, min(tops) / rows, (max(sides) + 1) / columns, (max(tops) + 1) / rows)
        regions.append(AttendedRegion(box, float(sum(patches[place] for place in group)) / total))
    return tuple(sorted(regions, key=lambda region: (-region.share, region.box))[:3])


ImageUse = Literal["used", "none", "missing", "unread"]
"""`used`: read with its image; `none`: the post names no image; `missing`: it could not be opened and the post was
read as text; `unread`: the models read text alone."""


class Triple(NamedTuple):
    """A relation in words: the head's, the label, the tail's."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """Entities and relations found in one post.

    Example:
        ```python
        from promu import Extractor

        extraction = Extractor.from_pretrained("runs/demo/model")("Zorva and Kelmo tonight")
        for entity in extraction.entities:
            print(extraction.tokens[entity.start : entity.end], entity.type, entity.score)
        print(extraction.triples(), extraction.to_dict())
        ```

    Attributes:
        text, tokens: What was read, and its words.
        entities: By position; `score` is the smallest marginal probability among the span's labels.
        relations: `head` and `tail` index `entities`; `score` is the relation's probability.
        offsets: Where each token lies in `text`, in Unicode code points, end exclusive.
        image: Whether the post's image was read, see `ImageUse`.
        words_read: How many words, from the first, the model that finds entities had room for; None for all.
        explanation: What the model attended to, with the option `explain`.
    """

    id: str
    text: str
    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    offsets: tuple[tuple[int, int], ...]
    image: ImageUse
    words_read: int | None = None
    explanation: Explanation | None = None

    def characters(self, entity: Entity) -> tuple[int, int]:
        """Where `entity` lies in `text`, end exclusive."""
        return self.offsets[entity.start][0], self.offsets[entity.end - 1][1]

    def words(self, entity: Entity) -> str:
        """The part of `text` that `entity` covers."""
        start, end = self.characters(entity)
        return self.text[start:end]

    def triples(self) -> list[Triple]:
        """The relations in words."""
        return [
            Triple(self.words(self.entities[relation.head]), relation.type, self.words(self.entities[relation.tail]))
            for relation in self.relations
        ]

    def to_dict(self) -> dict[str, Any]:
        """As `promu extract` writes it: `id`, `tokens`, `entities`, `relations`, ready for JSON.

        A score is null where the entity was given; `explanation` is there only with the option `explain`.
        """
        entities = []
        for entity in self.entities:
            start, end = self.characters(entity)
            words = {"start": entity.start, "end": entity.end, "text": self.text[start:end], "type": entity.type}
            entities.append({**words, "score": entity.score, "char_start": start, "char_end": end})
        relations = [asdict(relation) for relation in self.relations]
        record = {"id": self.id, "tokens": list(self.tokens), "entities": entities, "relations": relations}
        return record if self.explanation is None else {**record, "explanation": asdict(self.explanation)}
