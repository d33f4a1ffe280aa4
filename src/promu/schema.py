"""The words of the field as plain data: posts, entities, relations, caption pairs, regions.

Everything here is immutable and checks itself on creation, so that a `Post` that exists is a legal one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from promu.errors import InputError, counted

NO_RELATION = "None"
"""The label of a pair of entities without a relation, as MNRE writes it."""

MissingPostImage = Literal["raise", "text-only"]
"""What a post's missing or broken image does: stop with an error, or have the post read as text, which is counted."""
MissingPairImage = Literal["raise", "skip"]
"""What a missing or broken image of captions or boxes does: stop with an error, or be left out, which is counted."""

Scheme = Literal["auto", "iob2", "iob1", "bioes"]
"""How tags mark entities.

`iob2`: the first word has B-, the others I-. `iob1`: B- only where an entity follows another of its type; an I- that
continues nothing begins an entity, so that mixtures with IOB2 are read too. `bioes`: the last word has E- (or L-), a
single one S- (or U-); a file without such tags is read as IOB2, which promu writes. `auto` takes what the file's tags
are consistent with, IOB2 in doubt.
"""


@dataclass(frozen=True, slots=True)
class Entity:
    """A typed span of word tokens, end exclusive.

    `type` is None where a data set marks the span but not its type (MNRE pairs without a relation);
    `score` is None for gold entities. `regions` are the boxes of the post's image that show it, in the image's own
    pixels: empty where the image does not show it, None where nobody has said.

    Example:
        ```python
        from promu import Entity, Region

        Entity(2, 4, "LOC")  # "New York" in ("Ann", "in", "New", "York")
        Entity(0, 1, "PER", regions=(Region((10.0, 20.0, 110.0, 80.0)),))
        ```
    """

    start: int
    end: int
    type: str | None
    score: float | None = None
    regions: tuple[Region, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise InputError(
                f"entity span ({self.start}, {self.end}) is empty or negative; spans are word indices, end exclusive"
            )

    @property
    def region(self) -> Region | None:
        """The one of its regions with the highest score, the first of equal ones; None without any."""
        return max(self.regions, key=lambda region: region.score) if self.regions else None


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed, typed link between two entities of one post; `head` and `tail` index `Post.entities`.

    Example:
        ```python
        from promu import Relation

        Relation(head=0, tail=1, type="/per/loc/place_of_residence")
        ```
    """

    head: int
    tail: int
    type: str
    score: float | None = None

    def __post_init__(self) -> None:
        if self.head == self.tail:
            raise InputError(f"relation {self.type!r} links entity {self.head} to itself")


@dataclass(frozen=True, slots=True)
class Post:
    """One text with (maybe) one image, its entities and its relations.

    Attributes:
        id: Unique within its set.
        tokens: The words.
        image: The image's file name, resolved against a folder of images by whoever opens it; None for no image.
        entities: Spans of words.
        relations: Links between them.
        text: The running text that the words come from; None where only the words are known. Not compared.
        offsets: Where each word lies in `text`, in Unicode code points, end exclusive; empty without a text.
        contexts: Further texts about the post, such as a description of its image, by name; what they say is read, and
            never labelled. Not compared.
        extra: What else came with the post, by key: carried through to what is written about it. Not compared.
        image_size: Width and height of the image that the regions of the entities count pixels of, where a data set
            says it. Not compared.
        line: Where its file has it, from 1; None for a post from elsewhere. Not compared.

    Example:
        ```python
        from promu import Entity, Post, Relation

        post = Post(
            id="1",
            tokens=("Ann", "in", "New", "York"),
            image="1.jpg",
            entities=(Entity(0, 1, "PER"), Entity(2, 4, "LOC")),
            relations=(Relation(0, 1, "/per/loc/place_of_residence"),),
        )
        assert post.words(post.entities[1]) == "New York"
        ```
    """

    id: str
    tokens: tuple[str, ...]
    image: str | None = None
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    text: str | None = field(default=None, compare=False)
    offsets: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    contexts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    image_size: tuple[int, int] | None = field(default=None, compare=False, repr=False)
    line: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.offsets and tuple(str(self.text)[start:end] for start, end in self.offsets) != self.tokens:
            raise InputError(f"post {self.id!r}: offsets do not give its words in its text; leave them out")
        for entity in self.entities:
            if entity.end > len(self.tokens):
                raise InputError(
                    f"post {self.id!r}: entity span ({entity.start}, {entity.end}) ends past "
                    f"the last of {counted(len(self.tokens), 'token')}"
                )
        for relation in self.relations:
            for index in (relation.head, relation.tail):
                if not 0 <= index < len(self.entities):
                    raise InputError(
                        f"post {self.id!r}: relation {relation.type!r} points to entity {index}, "
                        f"but the post has {len(self.entities)}"
                    )

    def words(self, entity: Entity) -> str:
        """The words of `entity`, joined by blanks."""
        return " ".join(self.tokens[entity.start : entity.end])


class Quintuple(NamedTuple):
    """One relation in canonical form: spans are word indices (start, end), end exclusive."""

    head: tuple[int, int]
    head_type: str | None
    tail: tuple[int, int]
    tail_type: str | None
    relation: str


def quintuples(post: Post) -> list[Quintuple]:
    """The post's quintuples in its order, pairs without a relation left out."""
    found = []
    for relation in post.relations:
        if relation.type != NO_RELATION:
            head, tail = post.entities[relation.head], post.entities[relation.tail]
            found.append(Quintuple((head.start, head.end), head.type, (tail.start, tail.end), tail.type, relation.type))
    return found


def with_quintuples(post: Post, found: Iterable[Quintuple]) -> Post:
    """The post with these quintuples as its labels: entities in order of first mention, each once."""
    entities: dict[Entity, int] = {}
    relations = []
    for item in found:
        ends = (Entity(*item.head, item.head_type), Entity(*item.tail, item.tail_type))
        head, tail = (entities.setdefault(entity, len(entities)) for entity in ends)
        relations.append(Relation(head, tail, item.relation))
    return Post(post.id, post.tokens, post.image, tuple(entities), tuple(relations))


def apart(entities: Sequence[Entity]) -> list[Entity]:
    """The entities that a tag for each word can hold, by position: of two that overlap, the first given stays."""
    kept: list[Entity] = []
    for entity in entities:
        if all(entity.end <= other.start or other.end <= entity.start for other in kept):
            kept.append(entity)
    return sorted(kept, key=lambda entity: entity.start)


@dataclass(frozen=True, slots=True)
class CaptionPair:
    """One image and one caption; `matched` says whether the caption belongs to the image.

    Example:
        ```python
        from promu import CaptionPair

        CaptionPair("1.jpg", "a dog on a beach", matched=False)
        ```
    """

    image: str
    caption: str
    matched: bool = True


@dataclass(frozen=True, slots=True)
class Region:
    """A box in pixel coordinates (x0, y0, x1, y1): of a detector with a label and a score, of gold without.

    Example:
        ```python
        from promu import Region

        Region(box=(10.0, 20.0, 110.0, 80.0), label="dog", score=0.9)
        ```
    """

    box: tuple[float, float, float, float]
    label: str = ""
    score: float = 1.0

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not all(math.isfinite(value) for value in self.box) or x1 <= x0 or y1 <= y0:
            raise InputError(
                f"region {self.label!r} has no area: box {self.box}; "
                "boxes are (x0, y0, x1, y1) in pixels, x1 > x0, y1 > y0"
            )

    def within(self, size: tuple[int, int]) -> Region:
        """The part of it that lies inside an image of this width and height, in pixels.

        Raises:
            InputError: None of it does.
        """
        x0, y0, x1, y1 = self.box
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1])))
        if box == self.box:
            return self
        if box[0] >= box[2] or box[1] >= box[3]:
            of = f"{size[0]} x {size[1]} pixels"
            raise InputError(f"the box {list(self.box)} lies outside its image of {of}; correct box or size")
        return replace(self, box=box)

    def iou(self, other: Region) -> float:
        """The area that both boxes cover as a share of the area that either covers, 0 to 1.

        >>> Region((0, 0, 10, 10)).iou(Region((0, 0, 10, 5)))
        0.5
        """
        ours, theirs = self.box, other.box
        width = min(ours[2], theirs[2]) - max(ours[0], theirs[0])
        height = min(ours[3], theirs[3]) - max(ours[1], theirs[1])
        if width <= 0 or height <= 0:
            return 0.0
        areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (ours, theirs))
        return width * height / (areas - width * height)
