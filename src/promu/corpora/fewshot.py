"""Few-shot sets for joint extraction, drawn to the relation distribution of a whole set (METHOD: KECPM, step 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promu.corpora.folders import new_folder
from promu.corpora.jmere import write_jmere
from promu.corpora.joint import JointSet
from promu.errors import InputError
from promu.schema import Post

CHOICE = 24
"""Posts drawn by chance at each step, of which the one that fits best is taken."""

SPLITS = ("train", "val")
"""The sets that are drawn, by the names of the published files."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a drawn set's relations are distributed as those of the whole set.

    Attributes:
        posts: Posts drawn.
        relations: How often each relation occurs in them.
        whole: How often it occurs in the whole set.
        divergence: Jensen-Shannon divergence of the two distributions in bits, 0 (equal) to 1.
    """

    posts: int
    relations: dict[str, int]
    whole: dict[str, int]
    divergence: float

    @property
    def absent(self) -> list[str]:
        """Relations of the whole set that the drawn one lacks."""
        return [name for name in self.whole if not self.relations.get(name)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "posts": self.posts,
            "relations": self.relations,
            "whole": self.whole,
            "divergence": self.divergence,
            "absent": self.absent,
        }


@dataclass(frozen=True, slots=True)
class FewShotSets:
    """Rows of the whole set's posts in each drawn set, and how each fits.

    `repeats` counts posts that could not be drawn since their text had been drawn already, in either set.
    """

    rows: dict[str, list[int]]
    fits: dict[str, Fit]
    repeats: int


def sample_few_shot(
    posts: Sequence[Post], train: int, dev: int, seed: int, relations: Sequence[str] | None = None
) -> FewShotSets:
    """Draw a training and a dev set without a text in common, each with the whole set's distribution of relations.

    The rarest relations come first, so that each is there at least once; then, again and again, the best fitting of a
    few posts drawn by chance is taken (least chi-square distance to the whole set's shares). A relation that a single
    text has can be in the training set alone; the fit then names it as absent from dev.

    Args:
        posts: The whole set.
        train: Posts of the training set.
        dev: Posts of the dev set; 0 draws none.
        seed: Of the choice.
        relations: Relations that must be there; None takes those that the posts have.

    Raises:
        InputError: A size is smaller than the number of relations, or there are not enough posts; a relation has none.
    """
    whole = _frequency(posts)
    names = list(whole) if relations is None else list(dict.fromkeys(relations))
    lacking = [name for name in names if name not in whole]
    if lacking:
        raise InputError(
            f"relation {lacking[0]!r} must be present, but no post has it; the posts have {', '.join(whole)}"
        )
    sizes = {name: size for name, size in zip(SPLITS, (train, dev), strict=True) if size}
    for name, size in (("train", train), ("dev", dev)):
        if size < len(names) and not (size == 0 and name == "dev"):
            raise InputError(
                f"{size} {name} posts cannot hold each of {len(names)} relations; ask for at least {len(names)}"
                + (", or for 0" if name == "dev" else "")
            )
    texts = len({post.tokens for post in posts})
    if train + dev > texts:
        raise InputError(
            f"{train} train and {dev} dev posts were asked for, but there are {texts} posts of different text; "
            "ask for fewer"
        )
    drawer = _Drawer(posts, list(whole), np.random.default_rng(seed))
    rows: dict[str, list[int]] = {name: [] for name in sizes}
    for split in sizes:
        for name in reversed(names):  # rarest first
            drawer.cover(rows[split], name)
    for split, size in sizes.items():
        drawer.fill(rows[split], size)
    drawn = sum(map(len, rows.values()))
    fits = {split: _fit([posts[row] for row in chosen], whole) for split, chosen in rows.items()}
    return FewShotSets(
        {split: sorted(chosen) for split, chosen in rows.items()}, fits, len(posts) - drawn - int(drawer.free.sum())
    )


def write_few_shot(folder: Path, joint: JointSet, sets: FewShotSets) -> dict[str, Path]:
    """Write the drawn sets as JMERE files, captions and knowledge included; all of them or none.

    Args:
        folder: To be made.
        joint: The whole set.
        sets: What was drawn from it.

    Returns:
        The file of each set.

    Raises:
        InputError: The folder is there already and not empty, or a post is one that the format cannot hold.
    """
    with new_folder(folder) as building:
        for split, rows in sets.rows.items():
            posts, background = [joint.posts[row] for row in rows], [joint.background[row] for row in rows]
            write_jmere(building / f"{split}.json", posts, background)
    return {split: folder / f"{split}.json" for split in sets.rows}


def js_divergence(first: Sequence[float], second: Sequence[float]) -> float:
    """Jensen-Shannon divergence in bits of two vectors of counts, 0 to 1; each must have a positive sum."""
    p, q = (np.asarray(counts, dtype=float) / sum(counts) for counts in (first, second))
    middle = (p + q) / 2
    return float(sum(0.5 * (part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum() for part in (p, q)))


class _Drawer:
    """Posts that are still free, and their relations as counts."""

    def __init__(self, posts: Sequence[Post], names: Sequence[str], rng: np.random.Generator) -> None:
        self.rng = rng
        self.names = {name: column for column, name in enumerate(names)}
        self.counts = np.zeros((len(posts), len(names)))
        for row, post in enumerate(posts):
            for relation in post.relations:
                self.counts[row, self.names[relation.type]] += 1
        self.share = self.counts.sum(0) / self.counts.sum()
        self.free = np.ones(len(posts), dtype=bool)
        same: dict[tuple[str, ...], list[int]] = {}
        for row, post in enumerate(posts):
            same.setdefault(post.tokens, []).append(row)
        self.twins = [same[post.tokens] for post in posts]

    def cover(self, rows: list[int], name: str) -> None:
        """Add a post with this relation where none of `rows` has it and one is left."""
        column = self.counts[:, self.names[name]]
        if column[rows].any():
            return
        left = np.flatnonzero(self.free & (column > 0))
        if len(left):
            self._take(rows, self._best(rows, left))

    def fill(self, rows: list[int], size: int) -> None:
        """Add the posts that fit best until there are `size`."""
        while len(rows) < size:
            self._take(rows, self._best(rows, np.flatnonzero(self.free)))

    def _best(self, rows: list[int], left: np.ndarray) -> int:
        some = self.rng.choice(left, size=min(CHOICE, len(left)), replace=False)
        sums = self.counts[rows].sum(0) + self.counts[some]
        expected = sums.sum(1, keepdims=True) * self.share
        return int(some[(((sums - expected) ** 2) / self.share).sum(1).argmin()])

    def _take(self, rows: list[int], row: int) -> None:
        rows.append(row)
        self.free[self.twins[row]] = False


def _frequency(posts: Sequence[Post]) -> dict[str, int]:
    counts = Counter(relation.type for post in posts for relation in post.relations)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _fit(posts: Sequence[Post], whole: dict[str, int]) -> Fit:
    found = _frequency(posts)
    return Fit(
        len(posts),
        found,
        whole,
        max(0.0, js_divergence([found.get(name, 0) for name in whole], list(whole.values()))),
    )
