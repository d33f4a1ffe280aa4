"""What an extractor returns for one post."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promu.corpora.posts import region_record, with_extra, with_text
from promu.errors import InputError
from promu.extraction.request import ImageSource
from promu.schema import Entity, Post

if TYPE_CHECKING:
    import pandas

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
        words: Share of each word that was read together, which is all of a post unless it is long.
        patches: Shares of the patches, row by row from the top; empty without an image.
        regions: Where the patches' shares are dense, the strongest first.
        start: The number of the first of the words in the post.
    """

    words: tuple[float, ...]
    patches: tuple[tuple[float, ...], ...]
    regions: tuple[AttendedRegion, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The attention behind each answer of an extraction.

    Attributes:
        entities: One for each entity, read at its words; empty where the entities were given.
        relations: One for each relation, read at the markers of head and tail; with a joint model at their words.
    """

    entities: tuple[Attention, ...]
    relations: tuple[Attention, ...]


def mean_map(attentions: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Maps (B, heads, Q, M), one a layer, to their mean (B, Q, M)."""
    mean: NDArray[np.float64] = np.mean([layer.astype(np.float64).mean(1) for layer in attentions], axis=0)
    return mean


def attention_from(
    shares: NDArray[np.float64],
    tokens: int,
    places: Sequence[int],
    words: Sequence[int],
    count: int,
    image: bool,
    start: int = 0,
) -> Attention:
    """What the vectors at `places` attended to.

    Args:
        shares: (Q, M) one post's map: columns of the text's tokens, then those of visual CLS and patches.
        tokens: How many columns the text has, padding included.
        places: Rows to take the mean of.
        words: The word of each token, -1 where it is none.
        count: Words that were read.
        image: Whether the post has an image.
        start: The number of the first of them in the post.
    """
    mean = shares[list(places)].mean(0)
    of_words = np.zeros(count)
    for column, word in enumerate(words):
        if word >= 0:
            of_words[word] += mean[column]
    side = math.isqrt(max(0, len(mean) - tokens - 1)) if image else 0
    patches = mean[tokens + 1 : tokens + 1 + side * side].reshape(side, side)
    return Attention(tuple(of_words.tolist()), tuple(map(tuple, patches.tolist())), attended_regions(patches), start)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEntity(Entity):
    """An entity with its place in the text of its post.

    Attributes:
        text: The part of the post's text that it covers.
        start_char, end_char: Where that lies, in Unicode code points, end exclusive.
        score: The smallest marginal probability among the span's labels; None where the entity was given.
    """

    text: str
    start_char: int
    end_char: int

    @property
    def label(self) -> str | None:
        """Its type, by the name that other tools have for it."""
        return self.type


@dataclass(frozen=True, slots=True)
class FoundRelation:
    """A directed, typed link between two entities of a post; `score` is its probability.

    With a joint model `score` is that of the whole quintuple.
    """

    head: FoundEntity
    tail: FoundEntity
    type: str
    score: float | None = None

    @property
    def label(self) -> str:
        """Its type, by the name that other tools have for it."""
        return self.type


class Triple(NamedTuple):
    """A relation in words: the head's, the label, the tail's."""

    head: str
    relation: str
    tail: str


class Below(NamedTuple):
    """How many entities and relations of a post have scores below the thresholds."""

    entities: int
    relations: int


NOTHING_BELOW = Below(0, 0)


@dataclass(frozen=True, slots=True)
class Extraction:
    """Entities and relations found in one post.

    Example:
        ```python
        from promu import Extractor

        extraction = Extractor.from_pretrained("runs/demo/model")("Zorva and Kelmo tonight")
        for entity in extraction.entities:
            print(entity.text, entity.type, entity.score, entity.start_char, entity.end_char)
        for relation in extraction.relations:
            print(relation.head.text, relation.type, relation.tail.text, relation.score)
        print(extraction.triples(), extraction.to_dict())
        ```

    Attributes:
        post: What was read, with the answers as spans of words and as indices of entities.
        image_reason: Why no image was read: `no image`, `text-only model`, or, where the post was read as text because
            its image could not be, `missing image`, `broken image`, `image too large` and the like. None: it was read.
        far_pairs: How many pairs of its entities, of types that a relation may hold between, were not asked about: they
            are further apart than the words that the model reads together. `warnings` names the first of them.
        explanation: What the model attended to, with the option `explain`.
        source: The image as it was given, for those who want to show it.
        below: How many answers were left out, because their scores lie below the thresholds.
        warnings: Why not to trust the answers, a sentence each: the text is unlike those that the model has learned
            from (`promu.tasks.familiarity`), a word is longer than the model takes, pairs were not asked about.
        entities: By position.
        relations: By the place of head and tail in `entities`.
    """

    post: Post
    image_reason: str | None
    far_pairs: int = 0
    explanation: Explanation | None = None
    source: ImageSource | None = field(default=None, compare=False, repr=False)
    below: Below = NOTHING_BELOW
    warnings: tuple[str, ...] = ()
    entities: tuple[FoundEntity, ...] = field(init=False)
    relations: tuple[FoundRelation, ...] = field(init=False)

    def __post_init__(self) -> None:
        post = with_text(self.post)
        entities = []
        for one in post.entities:
            start, end = post.offsets[one.start][0], post.offsets[one.end - 1][1]
            place: dict[str, Any] = {"text": str(post.text)[start:end], "start_char": start, "end_char": end}
            entities.append(FoundEntity(one.start, one.end, one.type, one.score, one.regions, **place))
        relations = (
            FoundRelation(entities[one.head], entities[one.tail], one.type, one.score) for one in post.relations
        )
        for name, value in (("post", post), ("entities", tuple(entities)), ("relations", tuple(relations))):
            object.__setattr__(self, name, value)  # how a frozen dataclass computes a field of its own

    @property
    def id(self) -> str:
        """Of the post."""
        return self.post.id

    @property
    def text(self) -> str:
        """What was read."""
        return str(self.post.text)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Its words."""
        return self.post.tokens

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Where each word lies in `text`, in Unicode code points, end exclusive."""
        return self.post.offsets

    @property
    def image_read(self) -> bool:
        """Whether an image was read with the text."""
        return self.image_reason is None

    def triples(self) -> list[Triple]:
        """The relations in words."""
        return [Triple(one.head.text, one.type, one.tail.text) for one in self.relations]

    def to_dict(self) -> dict[str, Any]:
        """As `promu extract` writes it, ready for JSON.

        Keys are `id`, `text`, `tokens`, `image` (the file, given or named), `entities`, `relations`, `far_pairs`,
        `image_read` and `image_reason`, `warnings`, `image_size` and `contexts` where there are any, `explanation` with
        the option `explain`, and what else the post brought. A score is null where the entity was given; `regions` are
        there where an entity has some or is known to have none.
        """
        post = self.post
        entities = [
            {
                "start": one.start,
                "end": one.end,
                "text": one.text,
                "type": one.type,
                "score": one.score,
                "char_start": one.start_char,
                "char_end": one.end_char,
                **({} if one.regions is None else {"regions": [region_record(region) for region in one.regions]}),
            }
            for one in self.entities
        ]
        record: dict[str, Any] = {"id": post.id, "text": post.text, "tokens": list(post.tokens), "image": post.image}
        record |= {"entities": entities, "relations": [asdict(one) for one in post.relations]}
        record |= {"far_pairs": self.far_pairs, "image_read": self.image_read, "image_reason": self.image_reason}
        record["warnings"] = list(self.warnings)
        if post.image_size is not None:
            record["image_size"] = list(post.image_size)
        if post.contexts:
            record["contexts"] = dict(post.contexts)
        if self.explanation is not None:
            record["explanation"] = asdict(self.explanation)
        return with_extra(record, post.extra)

    def __str__(self) -> str:
        """The text, and a line for each entity, relation and warning."""
        entities = (f"{one.text} ({one.type}){_scored(one.score)}" for one in self.entities)
        relations = (f"{one.head.text} - {one.type} -> {one.tail.text}{_scored(one.score)}" for one in self.relations)
        return "\n  ".join((self.text, *entities, *relations, *self.warnings))

    def to_pandas(self, of: Table = "entities") -> pandas.DataFrame:
        """As `Extractions.to_pandas`."""
        return Extractions([self]).to_pandas(of)

    def _repr_html_(self) -> str:
        """As a notebook shows it: entities marked, triples, and the image with the regions that were attended to."""
        return Extractions([self])._repr_html_()


def _scored(score: float | None) -> str:
    return "" if score is None else f" {score:.2f}"


Table = Literal["entities", "relations", "posts"]


class Extractions(list[Extraction]):
    """The answers to a list of posts, in their order."""

    def to_pandas(self, of: Table = "entities") -> pandas.DataFrame:
        """The answers as a table, each row with the `id` of its post.

        Args:
            of: A row an entity (`text`, `type`, `score`, words and characters from and to), a row a relation (`head`,
                `relation`, `tail` in words, `score`, the types of both ends), or a row a post (what `to_dict` has).

        Raises:
            InputError: pandas is not installed, or there is no such table.

        Example:
            ```python
            from promu import Extractor

            extractor = Extractor.from_pretrained("runs/demo/model")
            table = extractor(["Zorva and Kelmo tonight", "look at Zorva !"]).to_pandas("relations")
            ```
        """
        try:
            import pandas
        except ImportError:
            raise InputError("to_pandas needs pandas, which promu does without; pip install pandas") from None
        if of == "entities":
            columns = ["id", "text", "type", "score", "start", "end", "start_char", "end_char"]
            rows = [
                [one.id, *(getattr(entity, name) for name in columns[1:])] for one in self for entity in one.entities
            ]
        elif of == "relations":
            columns = ["id", "head", "relation", "tail", "score", "head_type", "tail_type"]
            rows = [
                [one.id, found.head.text, found.type, found.tail.text, found.score, found.head.type, found.tail.type]
                for one in self
                for found in one.relations
            ]
        elif of == "posts":
            return pandas.DataFrame([one.to_dict() for one in self])
        else:
            raise InputError(f"there is no table of {of!r}; there are entities, relations, posts")
        return pandas.DataFrame(rows, columns=columns)

    def _repr_html_(self) -> str:
        """As `Extraction`'s, one after the other."""
        from promu.extraction.notebook import results_html

        return results_html(self)
