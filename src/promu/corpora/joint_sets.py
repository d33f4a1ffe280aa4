"""Joint sets: posts with all their entities and typed, directed relations, out of any set of labelled posts.

A relation with the spans and types of its two ends is a quintuple (head, head type, tail, tail type, relation); the
quintuples of a post are what joint extraction has to find. MNRE-style files hold one pair of entities a line, so their
lines are grouped into posts here. From joint sets others are made: the two sets of a pipeline (`write_pipeline_sets`),
and few-shot sets with the same distribution of relations (`sample_few_shot`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from promu.corpora.conll import write_conll
from promu.corpora.formats import find_format, read_with_background
from promu.corpora.jmere import Background, write_jmere
from promu.corpora.mnre import relation_types, write_mnre
from promu.errors import InputError, counted
from promu.files import atomic
from promu.schema import NO_RELATION, Post, Quintuple, Relation, apart, quintuples, with_quintuples

FILES = {
    "train": ("ner/train.txt", "re/mnre_train.txt"),
    "valid": ("ner/valid.txt", "re/mnre_val.txt"),
    "test": ("ner/test.txt", "re/mnre_test.txt"),
}
"""Files of a pipeline's two sets, CoNLL and MNRE, by split."""

CHOICE = 24
"""Posts that are drawn at random at each step; the one that fits best is taken."""

SPLITS = ("train", "val")
"""The sets that are drawn, by the names of the published files."""


@dataclass(frozen=True, slots=True)
class JointSet:
    """Posts with quintuples, what they came with, and what was left out on the way.

    Attributes:
        posts: Each with one quintuple or more; entities that are in none are left out.
        background: Captions and knowledge of each post; empty ones where the file has none.
        left_out: What a reader should know, by what it is: how many pairs, posts and quintuples were left out, and how
            many spans have two types, and pairs several relations; those are kept.
    """

    posts: list[Post]
    background: list[Background]
    left_out: Counter[str] = field(default_factory=Counter)


def read_joint(path: str | Path, format: str = "jmere") -> JointSet:
    """Read a labelled set as a joint one.

    Its format is one with relations: jmere, posts, or mnre, whose lines are grouped into posts; a relation's name is
    then the last part of its label, whose types go to the entities.

    Raises:
        InputError: the file cannot be read, or no post has a relation.
    """
    path = Path(path)
    entry = find_format(format, "posts")
    posts, background = read_with_background(path, format)
    if entry.pair_per_post:
        posts = group_pairs(posts)
        background = [Background((), ())] * len(posts)
    joint = _cleaned(posts, background)
    if not joint.posts:
        raise InputError(f"no post has a relation, of {counted(len(posts), 'post')}; is this a joint set?", path)
    return joint


def group_pairs(posts: Sequence[Post]) -> list[Post]:
    """MNRE's pairs grouped into posts by id and words, in order of first mention; `None` pairs stay among them."""
    groups: dict[tuple[str, tuple[str, ...]], tuple[Post, list[Quintuple]]] = {}
    for post in posts:
        _, items = groups.setdefault((post.id, post.tokens), (post, []))
        for relation in post.relations:
            head, tail = post.entities[relation.head], post.entities[relation.tail]
            head_type, tail_type = relation_types(relation.type)
            name = relation.type if head_type is None else relation.type.rpartition("/")[2]
            items.append(Quintuple((head.start, head.end), head_type, (tail.start, tail.end), tail_type, name))
    return [with_quintuples(post, items) for post, items in groups.values()]


def _cleaned(posts: Sequence[Post], background: Sequence[Background]) -> JointSet:
    joint = JointSet([], [])
    for post, beside in zip(posts, background, strict=True):
        every = quintuples(post)
        distinct = list(dict.fromkeys(every))
        typed = {end for item in distinct for end in ((item.head, item.head_type), (item.tail, item.tail_type))}
        pairs = {(item.head, item.tail) for item in distinct}
        for name, count in (
            ("pairs without a relation, left out", len(post.relations) - len(every)),
            ("posts without any relation, left out", int(not distinct)),
            ("repeated quintuples, left out", len(every) - len(distinct)),
            ("spans with two types, kept", len(typed) - len({span for span, _ in typed})),
            ("pairs with several relations, kept", len(distinct) - len(pairs)),
        ):
            if count:
                joint.left_out[name] += count
        if distinct:
            joint.posts.append(with_quintuples(post, distinct))
            joint.background.append(beside)
    return joint


def write_pipeline_sets(files: Mapping[str, Path], out: Path) -> dict[str, dict[str, int]]:
    """Write JMERE files as CoNLL under `out/ner` and as MNRE under `out/re`; all are there or none.

    Entities are those of the quintuples; of two that overlap, which CoNLL cannot hold, the first in the post's order
    stays. MNRE gets each quintuple under `/head type/tail type/relation`, and `None` for every other ordered pair of
    the post's entities. Splits are named as in `FILES`.

    Returns:
        By split: `posts`, `entities`, `relations`, `none_pairs`, `overlapping_entities` (left out of CoNLL alone).

    Raises:
        InputError: A file cannot be read, holds what a format cannot, or `out` is there already and not empty.
    """
    counts = {}
    with atomic(out, folder=True) as building:
        for task in ("ner", "re"):
            (building / task).mkdir()
        for split, path in files.items():
            posts = read_joint(path).posts
            entities, pairs = [entity_post(post) for post in posts], [pair_post(post) for post in posts]
            for_entities, for_relations = FILES[split]
            try:
                write_conll(building / for_entities, entities)
                write_mnre(building / for_relations, pairs)
            except InputError as error:
                raise error.at(path) from None
            counts[split] = {
                "posts": len(posts),
                "entities": _entities(entities),
                "relations": sum(len(post.relations) for post in posts),
                "none_pairs": sum(relation.type == NO_RELATION for post in pairs for relation in post.relations),
                "overlapping_entities": _entities(posts) - _entities(entities),
            }
    return counts


def entity_post(post: Post) -> Post:
    """The post with its entities by position, none that overlaps an earlier one, and no relations."""
    return replace(post, entities=tuple(apart(post.entities)), relations=())


def pair_post(post: Post) -> Post:
    """The post with a relation in MNRE's form for every ordered pair of its entities, `None` where there is none."""
    types = [entity.type for entity in post.entities]
    named = [replace(one, type=f"/{types[one.head]}/{types[one.tail]}/{one.type}") for one in post.relations]
    related = {(relation.head, relation.tail) for relation in named}
    spans = [(entity.start, entity.end) for entity in post.entities]
    pairs = [
        Relation(head, tail, NO_RELATION)
        for head, tail in permutations(range(len(spans)), 2)
        if (head, tail) not in related and spans[head] != spans[tail]
    ]
    return replace(post, relations=(*named, *pairs))


def _entities(posts: Sequence[Post]) -> int:
    return sum(len(post.entities) for post in posts)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a drawn set's relations are distributed as those of the whole set.

    `relations` is how often each occurs in the drawn `posts`, `whole` how often in the whole set; `divergence` is the
    Jensen-Shannon divergence of the two distributions in bits, 0 (equal) to 1.
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
        return {**asdict(self), "absent": self.absent}


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

    The rarest relations come first, so that each is there at least once. Then, again and again, a few posts are drawn
    at random and the one that fits best is taken (least chi-square distance to the whole set's shares). A relation that
    a single text has can be in the training set alone; the fit then names it as absent from dev.

    Args:
        posts: The whole set.
        train, dev: Posts of the two sets; 0 for dev draws none.
        seed: Of the choice.
        relations: Relations that must be there; None takes those that the posts have.

    Raises:
        InputError: A size is smaller than the number of relations, or there are not enough posts; a relation has none.
    """
    whole = _frequency(posts)
    names = list(whole) if relations is None else list(dict.fromkeys(relations))
    lacking = [name for name in names if name not in whole]
    if lacking:
        reason = f"must be present, but no post has it; the posts have {', '.join(whole)}"
        raise InputError(f"relation {lacking[0]!r} {reason}")
    for name, size in (("train", train), ("dev", dev)):
        if size < len(names) and not (size == 0 and name == "dev"):
            remedy = f"ask for at least {len(names)}" + (", or for 0" if name == "dev" else "")
            raise InputError(
                f"{counted(size, f'{name} post')} cannot hold each of {counted(len(names), 'relation')}; {remedy}"
            )
    texts = len({post.tokens for post in posts})
    if train + dev > texts:
        reason = f"{train} train and {dev} dev posts were asked for, but there are {counted(texts, 'different text')}"
        raise InputError(f"{reason}; ask for fewer")
    sampler = _Sampler(posts, list(whole), np.random.default_rng(seed))
    sizes = {name: size for name, size in zip(SPLITS, (train, dev), strict=True) if size}
    rows: dict[str, list[int]] = {name: [] for name in sizes}
    for chosen in rows.values():
        for name in reversed(names):  # rarest first
            sampler.cover(chosen, name)
    for split, size in sizes.items():
        sampler.fill(rows[split], size)
    fits = {split: _fit([posts[row] for row in chosen], whole) for split, chosen in rows.items()}
    repeats = len(posts) - sum(map(len, rows.values())) - int(sampler.free.sum())
    return FewShotSets({split: sorted(chosen) for split, chosen in rows.items()}, fits, repeats)


def write_few_shot(folder: Path, joint: JointSet, sets: FewShotSets) -> dict[str, Path]:
    """Write the sets drawn from `joint` as JMERE files, captions and knowledge included; all of them or none.

    Returns:
        The file of each set.

    Raises:
        InputError: The folder is there already and not empty, or a post is one that the format cannot hold.
    """
    with atomic(folder, folder=True) as building:
        for split, rows in sets.rows.items():
            posts, background = [joint.posts[row] for row in rows], [joint.background[row] for row in rows]
            write_jmere(building / f"{split}.json", posts, background)
    return {split: folder / f"{split}.json" for split in sets.rows}


def js_divergence(first: Sequence[float], second: Sequence[float]) -> float:
    """Jensen-Shannon divergence in bits of two vectors of counts, 0 to 1; each must have a positive sum."""
    p, q = (np.asarray(counts, dtype=float) / sum(counts) for counts in (first, second))
    middle = (p + q) / 2
    return float(sum(0.5 * (part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum() for part in (p, q)))


class _Sampler:
    """Posts that are still free, and their relations as counts."""

    def __init__(self, posts: Sequence[Post], names: Sequence[str], rng: np.random.Generator) -> None:
        self.rng = rng
        self.names = {name: column for column, name in enumerate(names)}
        self.counts = np.zeros((len(posts), len(names)))
        self.free = np.ones(len(posts), dtype=bool)
        same: dict[tuple[str, ...], list[int]] = {}
        for row, post in enumerate(posts):
            same.setdefault(post.tokens, []).append(row)
            for relation in post.relations:
                self.counts[row, self.names[relation.type]] += 1
        self.share = self.counts.sum(0) / self.counts.sum()
        self.twins = [same[post.tokens] for post in posts]

    def cover(self, rows: list[int], name: str) -> None:
        """Add a post with this relation where none of `rows` has it and one is left."""
        column = self.counts[:, self.names[name]]
        left = np.flatnonzero(self.free & (column > 0))
        if len(left) and not column[rows].any():
            self._take(rows, left)

    def fill(self, rows: list[int], size: int) -> None:
        """Add the posts that fit best until there are `size`."""
        while len(rows) < size:
            self._take(rows, np.flatnonzero(self.free))

    def _take(self, rows: list[int], left: np.ndarray) -> None:
        """Add the best of a few posts drawn from `left`."""
        some = self.rng.choice(left, size=min(CHOICE, len(left)), replace=False)
        sums = self.counts[rows].sum(0) + self.counts[some]
        expected = sums.sum(1, keepdims=True) * self.share
        row = int(some[(((sums - expected) ** 2) / self.share).sum(1).argmin()])
        rows.append(row)
        self.free[self.twins[row]] = False


def _frequency(posts: Sequence[Post]) -> dict[str, int]:
    counts = Counter(relation.type for post in posts for relation in post.relations)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _fit(posts: Sequence[Post], whole: dict[str, int]) -> Fit:
    found = _frequency(posts)
    divergence = js_divergence([found.get(name, 0) for name in whole], list(whole.values()))
    return Fit(len(posts), found, whole, max(0.0, divergence))
