"""What a drawn world is made of: kinds of things and their silhouettes, settings, relations, words; and random choice.

A `World` is plain data. A second domain is a second `World` (and the backgrounds of its settings, in `drawing`);
nothing else in this package knows a kind, a relation or a template by name.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from promu.schema import NO_RELATION

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""


class Shape(NamedTuple):
    """One shape of a silhouette, in the unit square of the thing's box: x to the right, y down.

    Attributes:
        form: `poly` (a filled polygon), `rect` and `oval` (filled, between two corners), `hoop` (the outline of an
            oval), or `line`.
        colour: A colour, or `main` (of the kind, jittered), `skin`, `hair`, `white`, `dark`.
        shade: What a named colour is multiplied by.
        width: Of `hoop` and `line`, as a share of the box's shorter side.
        points: (x, y) of corners.
    """

    form: str
    colour: Colour | str
    shade: float
    width: float
    points: tuple[tuple[float, float], ...]


def listed(text: str) -> tuple[str, ...]:
    """The items of a text that has `|` between them."""
    return tuple(" ".join(item.split()) for item in text.split("|"))


def read_silhouettes(world: str) -> dict[str, tuple[Shape, ...]]:
    """A world's silhouettes by kind, from paragraphs `KIND: FORM COLOUR X,Y X,Y ...; FORM ...`, drawn in that order.

    COLOUR is a name, `NAME*SHADE`, or `#rrggbb`; FORM is `hoop:WIDTH` and `line:WIDTH` where there is a width. Shapes
    are few and large, because an image may be no more than 48 pixels wide.
    """
    kinds: dict[str, list[str]] = {}
    path = Path(__file__).parent / "data" / f"silhouettes_{world}.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        name, colon, rest = line.partition(": ")
        if colon:
            kinds[name] = shapes = []
        shapes += [piece for piece in (rest if colon else line).split(";") if piece.strip()]
    return {kind: tuple(map(_shape, shapes)) for kind, shapes in kinds.items()}


def _shape(text: str) -> Shape:
    head, name, *pairs = text.split()
    form, _, width = head.partition(":")
    name, _, factor = name.partition("*")
    colour: Colour | str = name
    if name.startswith("#"):
        red, green, blue = bytes.fromhex(name[1:])
        colour = (red, green, blue)
    points = tuple((float(x), float(y)) for x, _, y in (pair.partition(",") for pair in pairs))
    return Shape(form, colour, float(factor or 1), float(width or 0), points)


@dataclass(frozen=True)
class Kind:
    """A kind of thing that can be drawn.

    Attributes:
        name: The word used in region files, and the key of its silhouette.
        type: Entity type of a name that belongs to such a thing (PER, LOC, ORG or MISC).
        nouns: Its synonyms, one word each; no two kinds share one.
        colour: The typical colour, jittered at every drawing.
        aspect: Width over height of its box.
    """

    name: str
    type: str
    nouns: tuple[str, ...]
    colour: Colour
    aspect: float


@dataclass(frozen=True)
class Setting:
    """A background: `name` is its key in `drawing.BACKGROUNDS`, `phrases` name it (place or time of day)."""

    name: str
    nouns: tuple[str, ...]
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Arrangement:
    """How two things stand: `name` is its key in `placing.ARRANGEMENTS`, `phrases` say it between head and tail."""

    name: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class RelationKind:
    """A relation, what shows it in an image and what states it in a text.

    An image shows the relation where one of `heads` and one of `tails` stand in one of `arrangements`. The same two
    kinds in another arrangement show another relation, or none.

    Attributes:
        label: MNRE-style label, "/head type/tail type/name".
        heads, tails: Kinds that can be so related, the `typical` ones first.
        arrangements: Names of arrangements.
        phrases: Wordings between head and tail in captions.
        posts: Templates of posts that decide the relation; `{H}` and `{T}` are the names of head and tail.
        typical: How many of `heads` and of `tails` are so related more often than the others.
    """

    label: str
    heads: tuple[str, ...]
    tails: tuple[str, ...]
    arrangements: tuple[str, ...]
    phrases: tuple[str, ...]
    posts: tuple[str, ...]
    typical: tuple[int, int]

    def shown_by(self, head: str, tail: str, arrangement: str) -> bool:
        """Whether an image of these two kinds in this arrangement shows the relation."""
        return head in self.heads and tail in self.tails and arrangement in self.arrangements


@dataclass(frozen=True)
class World:
    """Everything that a drawn corpus can show and say.

    Attributes:
        arrangements: How two things can stand in this world.
        unrelated: (head kinds, tail kinds, arrangements) of scenes of two things without a relation.
        candidates: Relation candidates for prompts: a broad list of names of properties, few of which say what a label
            says.
        distractors: Nouns of the captions that name nothing drawn.
        extras: Caption clauses that say nothing about the drawn things.
        caption_frames: Caption templates: `{S}` what happens, `{P}` the setting, `{X}` an extra clause.
        type_posts: For each entity type, templates of posts that decide it; `{X}` the name, `{N}` a noun.
        unrelated_posts: Templates of posts that decide that head `{H}` and tail `{T}` have no relation.
        open_solo, open_pair: Templates of posts that decide nothing, of one name `{X}` or two, `{X}` and `{Y}`.
        prefixes, suffixes: What may surround any post.
        silhouettes: The shapes of each kind.
        name: Of the world, in `promu.newsreel.country.WORLDS`.
    """

    kinds: tuple[Kind, ...]
    settings: tuple[Setting, ...]
    relations: tuple[RelationKind, ...]
    arrangements: tuple[Arrangement, ...]
    unrelated: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...]
    candidates: tuple[str, ...]
    distractors: tuple[str, ...]
    extras: tuple[str, ...]
    caption_frames: tuple[str, ...]
    type_posts: dict[str, tuple[str, ...]]
    unrelated_posts: tuple[str, ...]
    open_solo: tuple[str, ...]
    open_pair: tuple[str, ...]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    silhouettes: dict[str, tuple[Shape, ...]]
    name: str

    @cached_property
    def kind(self) -> dict[str, Kind]:
        """Kinds by name."""
        return {kind.name: kind for kind in self.kinds}

    @cached_property
    def setting(self) -> dict[str, Setting]:
        """Settings by name."""
        return {setting.name: setting for setting in self.settings}

    @cached_property
    def relation(self) -> dict[str, RelationKind]:
        """Relations by label."""
        return {relation.label: relation for relation in self.relations}

    @cached_property
    def arrangement(self) -> dict[str, Arrangement]:
        """Arrangements by name."""
        return {arrangement.name: arrangement for arrangement in self.arrangements}

    @property
    def pair_phrases(self) -> tuple[str, ...]:
        """Every wording between head and tail in captions, of relations and of arrangements."""
        stated = [one.phrases for one in self.relations] + [one.phrases for one in self.arrangements]
        return tuple(phrase for phrases in stated for phrase in phrases)

    def shown(self, head: str, tail: str, arrangement: str) -> str:
        """The label of the relation that an image of these kinds in this arrangement shows, or `None`."""
        found = (one.label for one in self.relations if one.shown_by(head, tail, arrangement))
        return next(found, NO_RELATION)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Entity types in the order in which the two names of an ambiguous post are mentioned."""
        return tuple(dict.fromkeys(kind.type for kind in self.kinds))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Relation labels, `None` last."""
        return (*(relation.label for relation in self.relations), NO_RELATION)

    def nouns(self) -> list[str]:
        """Every noun of the caption language, sorted."""
        nouns = {noun for kind in self.kinds for noun in kind.nouns}
        return sorted(nouns.union(self.distractors, *(setting.nouns for setting in self.settings)))

    def words(self) -> set[str]:
        """Every lower-case word of the captions and posts, names apart."""
        texts = [*self.nouns(), *self.candidates, *self.extras, *self.caption_frames, *self.unrelated_posts]
        texts += [*self.open_solo, *self.open_pair, *self.prefixes, *self.suffixes]
        texts += [*self.pair_phrases, *(phrase for setting in self.settings for phrase in setting.phrases)]
        texts += [text for relation in self.relations for text in relation.posts]
        texts += [text for templates in self.type_posts.values() for text in templates]
        return {word.lower() for text in texts for word in text.split()}


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
    bounds = list(accumulate(weights))
    return items[bisect_right(bounds, rng.random() * bounds[-1])]


def shuffled(rng: np.random.Generator, items: Sequence[Item]) -> list[Item]:
    """`items` in random order."""
    return [items[index] for index in rng.permutation(len(items))]
