"""Made-up proper names whose letters say nothing about what they name."""

from __future__ import annotations

import numpy as np

from promu.corpora.newsreel.chance import generator, pick

ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "dr", "kr", "st")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ei")
CODAS = ("", "", "", "n", "l", "r", "s", "k", "m")

POOL_WORDS = {"train": 2400, "dev": 700, "test": 1600}
"""Name words of each split; the captions and the training posts share the pool "train"."""

TWO_WORDS = 0.4
"""Share of names of two words, the same for every type, so that their length tells nothing."""


def name_pools(seed: int, taken: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
    """Name words for training, dev and test, no word in two pools.

    Args:
        seed: The corpus seed; nothing else changes the pools.
        taken: Lower-case words of the language, which are no names.
    """
    rng = generator(seed, "names")
    seen: set[str] = set(taken)
    pools = {}
    for split, count in POOL_WORDS.items():
        words: list[str] = []
        while len(words) < count:
            word = _word(rng)
            if word not in seen:
                seen.add(word)
                words.append(word.capitalize())
        pools[split] = tuple(words)
    return pools


def _word(rng: np.random.Generator) -> str:
    body = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(2))
    return body + pick(rng, CODAS)


def draw_names(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> list[str]:
    """`count` names of one or two words, no word twice."""
    words = [pool[index] for index in rng.choice(len(pool), size=2 * count, replace=False, shuffle=True)]
    return [
        f"{words[2 * index]} {words[2 * index + 1]}" if rng.random() < TWO_WORDS else words[2 * index]
        for index in range(count)
    ]
