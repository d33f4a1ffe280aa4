"""What the fused vectors behind an answer attended to: words, patches, and regions of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

HOT = 2.0
"""A patch belongs to a region when it holds more than so many times the mean patch's share."""
MOST_REGIONS = 3


@dataclass(frozen=True, slots=True)
class AttendedRegion:
    """A connected part of the picture that much attention goes to.

    Attributes:
        box: (x0, y0, x1, y1) in shares of the picture's width and height.
        share: Of the attention to all patches.
    """

    box: tuple[float, float, float, float]
    share: float


@dataclass(frozen=True, slots=True)
class Attention:
    """Where the vectors behind one answer looked, as mean over the fusion's layers and heads.

    Words and patches together have 1 at most: the rest is on special tokens and the picture's CLS.

    Attributes:
        words: Share of each word of the post; 0 for words that were not read.
        patches: Shares of the patches, row by row from the top; empty without a picture.
        regions: Where the patches' shares are dense, the strongest first.
    """

    words: tuple[float, ...]
    patches: tuple[tuple[float, ...], ...]
    regions: tuple[AttendedRegion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "words": list(self.words),
            "patches": [list(row) for row in self.patches],
            "regions": [{"box": list(region.box), "share": region.share} for region in self.regions],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The attention behind each answer of an extraction.

    Attributes:
        entities: One an entity, read where its words are; empty where entities were given and not found.
        relations: One a relation, read where the markers of head and tail are; by a joint model where their words are.
    """

    entities: tuple[Attention, ...]
    relations: tuple[Attention, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "entities": [attention.to_dict() for attention in self.entities],
            "relations": [attention.to_dict() for attention in self.relations],
        }


def mean_map(attentions: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Maps (B, heads, Q, M), one a layer, to their mean (B, Q, M)."""
    return torch.stack([layer.double().mean(1) for layer in attentions]).mean(0).cpu().numpy()


def attention_from(
    shares: NDArray[np.float64], pieces: int, places: Sequence[int], words: Sequence[int], count: int, picture: bool
) -> Attention:
    """What the vectors at `places` attended to.

    Args:
        shares: (Q, M) one post's map: columns of the text's pieces, then those of visual CLS and patches.
        pieces: How many columns the text has, padding included.
        places: Rows to take the mean of.
        words: The word of each piece, -1 where it is none.
        count: Words in the post.
        picture: Whether the post has a picture.
    """
    mean = shares[list(places)].mean(0)
    of_words = np.zeros(count)
    for column, word in enumerate(words):
        if word >= 0:
            of_words[word] += mean[column]
    side = math.isqrt(max(0, len(mean) - pieces - 1)) if picture else 0
    patches = mean[pieces + 1 : pieces + 1 + side * side].reshape(side, side)
    return Attention(tuple(of_words.tolist()), tuple(map(tuple, patches.tolist())), attended_regions(patches))


def attended_regions(patches: NDArray[np.float64]) -> tuple[AttendedRegion, ...]:
    """Boxes around the patches (rows, columns) that touch each other and hold more than `HOT` times the mean share."""
    rows, columns = patches.shape
    total = float(patches.sum())
    if not total:
        return ()
    left = {(int(row), int(column)) for row, column in np.argwhere(patches > HOT * patches.mean())}
    found = []
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
        found.append(AttendedRegion(box, float(sum(patches[place] for place in group)) / total))
    return tuple(sorted(found, key=lambda region: (-region.share, region.box))[:MOST_REGIONS])
