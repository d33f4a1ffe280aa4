"""Reproducible chance: one independent generator for each part of a corpus."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def generator(seed: int, *part: str) -> np.random.Generator:
    """The generator of one part, so that the length of one part never changes another.

    Args:
        seed: The corpus seed.
        part: Words naming the part, such as "ner", "train", "text".
    """
    return np.random.default_rng([seed, zlib.crc32("/".join(part).encode())])


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of `items`, each as likely (ten times as fast as `rng.choice`)."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: np.random.Generator, items: Sequence[Item]) -> list[Item]:
    """`items` in random order."""
    return [items[index] for index in rng.permutation(len(items))]
