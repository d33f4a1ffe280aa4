"""Long texts: overlapping windows over their words, and the answers of the windows as the answer of the text.

A text that a model takes whole is one window. A longer one is read in windows that overlap, each as a post of its own
with the same image and contexts. Where windows overlap, both give entities: of those that exclude each other the more
certain one stays, but one that touches the edge of its window, and may go on behind it, gives way to any that does not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from promu.modeling.inputs import WordEncoder
from promu.schema import Entity, Post, Relation
from promu.tasks.predictor import ImageBatches, Predictor, by_length

SENTENCE_ENDS = frozenset(".!?…。！？")
"""What a word that ends a sentence ends with."""


class Window(NamedTuple):
    """Words of a text that are read together, from `start` to `end`, end exclusive."""

    start: int
    end: int

    def holds(self, start: int, end: int) -> bool:
        """Whether all of these words are in it."""
        return self.start <= start and end <= self.end


def windows_over(sizes: Sequence[int], room: int, stride: float, starts: Sequence[int] | None = None) -> list[Window]:
    """Windows over a text, so that each word is in at least one.

    Args:
        sizes: Pieces of each word, at least one.
        room: Pieces that the model takes at once. A word with more is a window of its own.
        stride: How far a window begins after the one before, at most, in shares of the words of that: 0 to 1.
        starts: Where sentences begin, in order: a window begins there if that is less than a stride away, but no more
            than twice as near.

    Returns:
        By position; one where the whole text fits. Starts and ends both rise.

    Example:
        ```python
        from promu.tasks.windows import windows_over

        assert windows_over([1, 1, 2], room=4, stride=0.5) == [(0, 3)]
        assert windows_over([1] * 10, room=4, stride=0.5) == [(0, 4), (2, 6), (4, 8), (6, 10)]
        ```
    """
    before = list(accumulate(sizes, initial=0))
    count = len(sizes)
    starts = starts or ()
    found: list[Window] = []
    start = end = 0
    while True:
        reached = max(start + 1, bisect_right(before, before[start] + room) - 1)
        if reached >= count:
            # the last one is filled up with the words before it
            first = min(start, bisect_left(before, before[count] - room))
            found.append(Window(max(first, found[-1].start + 1) if found else 0, count))
            return found
        found.append(Window(start, reached))
        end = reached
        # from here on the next window reaches further than this one
        nearest = min(end, max(start + 1, bisect_left(before, before[end + 1] - room)))
        step = max(1, int(stride * (end - start)))
        furthest = max(nearest, start + step)
        place = bisect_right(starts, furthest) - 1
        if place >= 0 and starts[place] >= max(nearest, start + (step + 1) // 2):
            furthest = starts[place]
        start = furthest


def windows_of(encoder: WordEncoder, tokens: Sequence[str], stride: float) -> list[Window]:
    """The windows in which a model reads a text; where it can, one begins with a sentence."""
    sizes, room = [len(encoder.pieces(word)) for word in tokens], room_of(encoder)
    if sum(sizes) <= room:
        return [Window(0, len(tokens))]
    return windows_over(sizes, room, stride, [place + 1 for place, word in enumerate(tokens) if _ends(word)])


def _ends(word: str) -> bool:
    return word[-1:] in SENTENCE_ENDS


def room_of(encoder: WordEncoder) -> int:
    """Pieces of a text that a model takes at once, special tokens left out."""
    return max(1, encoder.max_length - 2)


def too_long(encoder: WordEncoder, tokens: Sequence[str]) -> list[str]:
    """The words that no window has room for: the model reads their first pieces."""
    room = room_of(encoder)
    return [word for word in tokens if len(word) > room and len(encoder.pieces(word)) > room]


def part_of(post: Post, window: Window) -> Post:
    """What a model reads of a post in one window: its words alone, without entities, with its image and contexts."""
    if window == (0, len(post.tokens)):
        return post
    words = post.tokens[window.start : window.end]
    return Post(post.id, words, post.image, contexts=post.contexts)


def batches_of_windows(lengths: Sequence[int], windows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Row numbers of posts in batches of `size` windows at most, or of one post; the shortest posts first.

    Args:
        lengths: Words of each post.
        windows: Its windows.
        size: Windows in a batch.
    """
    batch: list[int] = []
    full = 0
    for row in (row for one in by_length(lengths, max(1, len(lengths))) for row in one):
        if batch and full + windows[row] > size:
            yield batch
            batch, full = [], 0
        batch.append(row)
        full += windows[row]
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Found:
    """An entity as a window gives it.

    Attributes:
        entity: By the words of the text.
        cut: Whether it touches an edge of its window behind which the text goes on.
        window, number: Which window gave it, and which of the window's entities it is.
    """

    entity: Entity
    cut: bool
    window: int = 0
    number: int = 0

    def rank(self) -> tuple[bool, float, int, int, str, int, int]:
        """Lower is better: whole ones, then the more certain, then the longer, then the earlier."""
        one = self.entity
        length = one.start - one.end
        return (self.cut, -(one.score or 0.0), length, one.start, one.type or "", self.window, self.number)


def merge_entities(found: Iterable[Found]) -> list[Found]:
    """The best of what windows give, no two overlapping, by position.

    The best stays, then the best of those that do not overlap it, and so on: each that is left out overlaps a better
    one. Neither the order of `found` nor merging once more changes anything.

    Example:
        ```python
        from promu import Entity
        from promu.tasks.windows import Found, merge_entities

        part, whole = Found(Entity(3, 4, "LOC", 0.9), cut=True), Found(Entity(3, 5, "LOC", 0.8), cut=False)
        assert merge_entities([part, whole]) == [whole]
        ```
    """
    starts: list[int] = []
    kept: list[Found] = []
    for one in sorted(found, key=Found.rank):
        place = bisect_left(starts, one.entity.end)  # all before it begin before this one ends
        if place == 0 or kept[place - 1].entity.end <= one.entity.start:
            starts.insert(place, one.entity.start)
            kept.insert(place, one)
    return kept


class Merged(NamedTuple):
    """The answers of windows as one.

    Attributes:
        post: The whole post with entities and relations.
        entities, relations: Of each the window that gave it, and its number there.
    """

    post: Post
    entities: list[tuple[int, int]]
    relations: list[tuple[int, int]]


def merge_answers(post: Post, windows: Sequence[Window], answers: Sequence[Post]) -> Merged:
    """The answers of a post's windows as the answer of the post.

    Entities are merged by `merge_entities`. A relation goes with its ends: where one has given way to an entity of its
    type, it holds of that. Of two relations between the same entities the more certain one stays.

    Args:
        post: The whole post.
        windows: Its windows.
        answers: The posts of `part_of`, with answers.
    """
    if len(windows) == 1:
        (answer,) = answers
        numbers = [[(0, number) for number in range(len(of))] for of in (answer.entities, answer.relations)]
        return Merged(replace(post, entities=answer.entities, relations=answer.relations), *numbers)
    count = len(post.tokens)
    found = []
    for place, (window, answer) in enumerate(zip(windows, answers, strict=True)):
        for number, entity in enumerate(answer.entities):
            cut = entity.start == 0 < window.start or (entity.end == window.end - window.start and window.end < count)
            shifted = replace(entity, start=entity.start + window.start, end=entity.end + window.start)
            found.append(Found(shifted, cut, place, number))
    kept = merge_entities(found)
    heirs = {(one.window, one.number): _heir(one, kept) for one in found} if any(a.relations for a in answers) else {}
    best: dict[frozenset[int], tuple[float, Relation, tuple[int, int]]] = {}
    for place, answer in enumerate(answers):
        for number, relation in enumerate(answer.relations):
            head, tail = heirs[place, relation.head], heirs[place, relation.tail]
            if head is None or tail is None or head == tail:
                continue
            moved = replace(relation, head=head, tail=tail)
            given = (-(relation.score or 0.0), moved, (place, number))
            ends = frozenset((head, tail))
            if ends not in best or _order(given) < _order(best[ends]):
                best[ends] = given
    related = sorted(best.values(), key=lambda one: (one[1].head, one[1].tail))
    answer = replace(
        post, entities=tuple(one.entity for one in kept), relations=tuple(relation for _, relation, _ in related)
    )
    return Merged(answer, [(one.window, one.number) for one in kept], [source for _, _, source in related])


def _order(given: tuple[float, Relation, tuple[int, int]]) -> tuple[float, int, int, str, tuple[int, int]]:
    return given[0], given[1].head, given[1].tail, given[1].type, given[2]


def _heir(one: Found, kept: Sequence[Found]) -> int | None:
    """The number of the best entity of its type, among those that are kept, that shares a word with this one."""
    first = bisect_right(kept, one.entity.start, key=lambda other: other.entity.end)
    last = bisect_left(kept, one.entity.end, key=lambda other: other.entity.start)
    same = [number for number in range(first, last) if kept[number].entity.type == one.entity.type]
    return min(same, key=lambda number: kept[number].rank(), default=None)


def answers_in_windows(
    predictor: Predictor, posts: Sequence[Post], images: ImageBatches, batch_size: int, stride: float
) -> list[Post]:
    """What a model answers to posts, in their order, long ones read in windows: the answers of extraction.

    Where a post is one question about a pair, its text is what is nearest to the pair, and there are no windows.

    Args:
        predictor: A model for entities, for relations or for both.
        posts: Of any length.
        images: As `Predictor.predict` takes them.
        batch_size: Windows in one forward pass.
        stride: As `ExtractionConfig.stride`.
    """
    if predictor.task.asked:
        return predictor.answers(predictor.predict(posts, images, batch_size))
    windows = [windows_of(predictor.encoder, post.tokens, stride) for post in posts]
    parts = [part_of(post, window) for post, of_post in zip(posts, windows, strict=True) for window in of_post]
    answers = iter(predictor.answers(predictor.predict(parts, images, batch_size)))
    return [
        merge_answers(post, of_post, [next(answers) for _ in of_post]).post
        for post, of_post in zip(posts, windows, strict=True)
    ]


def held(post: Post, windows: Sequence[Window]) -> Post:
    """A post without the entities that no window holds, and without the relations whose two ends share none."""
    if len(windows) == 1:
        return post
    home = Home(windows, len(post.tokens))
    kept = [number for number, one in enumerate(post.entities) if home.of(one.start, one.end) is not None]
    place = {number: new for new, number in enumerate(kept)}
    relations = []
    for one in post.relations:
        if home.of(*extent(post.entities[one.head], post.entities[one.tail])) is not None:
            relations.append(replace(one, head=place[one.head], tail=place[one.tail]))
    return replace(post, entities=tuple(post.entities[number] for number in kept), relations=tuple(relations))


def extent(one: Entity, other: Entity) -> tuple[int, int]:
    """The words from the start of the first of two entities to the end of the last."""
    return min(one.start, other.start), max(one.end, other.end)


class Home:
    """Which window a pair of entities is asked about in.

    Args:
        windows: Of one text, by position.
        count: Words of the text.
    """

    def __init__(self, windows: Sequence[Window], count: int) -> None:
        self.windows, self.count = windows, count
        self._starts, self._ends = list(map(attrgetter("start"), windows)), list(map(attrgetter("end"), windows))

    def of(self, start: int, end: int) -> int | None:
        """The number of the window with most words on both sides of these; None where none holds them.

        The edge of the text is no edge: nothing is missing behind it. Of equal windows the first is taken.
        """
        first, last = bisect_left(self._ends, end), bisect_right(self._starts, start) - 1
        return max(range(first, last + 1), key=lambda number: self._margin(number, start, end), default=None)

    def _margin(self, number: int, start: int, end: int) -> int:
        window = self.windows[number]
        left = start - window.start if window.start else self.count
        return min(left, window.end - end if window.end < self.count else self.count)
