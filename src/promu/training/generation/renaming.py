"""Training posts whose names have changed places, so that few posts do not teach a small model its answers by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from promu.corpora.jmere import Background
from promu.training.generation.examples import Described


def renamed(described: Described, seed: int) -> Described:
    """The posts with the words of their names passed around among them, in text, captions and knowledge alike.

    A word is exchanged wherever it stands, always for the same other one; words that also stand outside of names are
    left alone. Labels stay what they are, so names must say nothing about them (beyond the paper).

    Args:
        described: Labelled posts.
        seed: Of the exchange.
    """
    inside: set[str] = set()
    outside: set[str] = set()
    for post in described.posts:
        named = {place for entity in post.entities for place in range(entity.start, entity.end)}
        for place, word in enumerate(post.tokens):
            (inside if place in named else outside).add(word)
    names = sorted(inside - outside)
    changed = dict(zip(names, np.random.default_rng(seed).permutation(names).tolist(), strict=True))

    def text(sentence: str) -> str:
        return " ".join(_changed(word, changed) for word in sentence.split())

    posts = [replace(post, tokens=tuple(changed.get(word, word) for word in post.tokens)) for post in described.posts]
    background = [
        Background(tuple(map(text, known.captions)), tuple(map(text, known.knowledge)))
        for known in described.background
    ]
    return Described(posts, background)


def _changed(word: str, changed: dict[str, str]) -> str:
    """A word of a sentence, which may end in a mark."""
    bare = word.rstrip(".,;:!?")
    return changed.get(bare, bare) + word[len(bare) :]
