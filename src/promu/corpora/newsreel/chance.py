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


def long_tail(count: int, exponent: float) -> list[float]:
    """How much weight each of `count` labels has, the first most: 1 / rank ** exponent (Zipf), with a mean of 1."""
    weights = [(rank + 1) ** -exponent for rank in range(count)]
    mean = sum(weights) / count
    return [weight / mean for weight in weights]


def weighted_pick(rng: np.random.Generator, items: Sequence[Item], weights: Sequence[float]) -> Item:
    """One of `items` by weights, from one number of `rng`; weights of 1 give what `pick` gives."""
    bounds = np.cumsum(weights)
    return items[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]


def shuffled(rng: np.random.Generator, items: Sequence[Item]) -> list[Item]:
    """`items` in random order."""
    return [items[index] for index in rng.permutation(len(items))]
