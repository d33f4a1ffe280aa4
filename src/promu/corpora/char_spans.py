"""Spans of characters, as annotation tools mark them, to spans of words and back; and what was left out on the way.

A tool marks any characters of a text; promu labels words. A span that ends inside a word is left out and named, or the
word is split or taken whole, as the caller says. Nothing is left out in silence: each reason is an `InputError` with
file, line and a `kind` in `LEFT_OUT`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from promu.corpora.fields import TEXT, check_field
from promu.corpora.posts import from_text, with_text, words_of
from promu.corpora.tokenize import same_words, tokenize, visible
from promu.errors import InputError, counted
from promu.files import fault, filled_lines, parse_json_object, shorten
from promu.schema import Entity, Post, Relation

InsideWord = Literal["leave-out", "widen", "split"]
"""What becomes of a span that begins or ends inside a word: left out, widened to the word, or the word is split."""

LEFT_OUT = frozenset(
    [
        *("inside a word", "discontinuous", "overlapping", "relation", "entity without relation", "no type", "type"),
        *("text", "words", "image", "id", "score", "answer", "label of another kind", "further key"),
    ]
)
"""Kinds of what a format cannot carry, by which it is counted."""


class LeaveOut(Protocol):
    """Takes what is left out: its kind, in `LEFT_OUT`, the sentence, and the line where that is another."""

    def __call__(self, kind: str, reason: str, line: int | None = None, /) -> None: ...


class CharSpan(NamedTuple):
    """A span of characters: code points of the text, end exclusive.

    Attributes:
        type: None where the tool names none.
        key: What relations name it by.
        text: What the tool says is there; None where it does not say.
        line: Where the file says it, if not in the line of its post.
    """

    start: int
    end: int
    type: str | None
    key: Hashable = None
    text: str | None = None
    line: int | None = None


class CharRelation(NamedTuple):
    """A relation between two spans, by their keys."""

    head: Hashable
    tail: Hashable
    type: str
    line: int | None = None


@dataclass(slots=True)
class Marked:
    """A text with marked characters, as a tool saves it.

    Attributes:
        words: Where the tool's own words lie in the text; None where it has none, and promu's tokenizer splits it.
        extra: Further keys, carried through as `Post.extra`.
    """

    id: str
    text: str
    spans: list[CharSpan] = field(default_factory=list)
    relations: list[CharRelation] = field(default_factory=list)
    image: str | None = None
    words: Sequence[tuple[int, int]] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def to_post(marked: Marked, leave_out: LeaveOut, inside_word: InsideWord = "leave-out") -> Post:
    """The post of a marked text, spans in their order; what cannot be carried goes to `leave_out`.

    Raises:
        InputError: The text has no words, the tool's words are not all of it, a span is not in it or says another text,
            or a relation names a span that is there twice.

    Example:
        ```python
        from promu.corpora.char_spans import CharSpan, Marked, to_post

        post = to_post(Marked("1", "Ann in Rome", [CharSpan(7, 11, "LOC")]), print)
        assert post.words(post.entities[0]) == "Rome"
        ```
    """
    text = check_field(TEXT, marked.text, "text")
    spans = _in_code_points(text, marked.spans)
    post = from_text(text, marked.id, marked.image)
    if marked.words is not None:
        post = _with_words(post, [span for span in marked.words if visible(text[slice(*span)])])
    if inside_word == "split":
        post = _split(post, [edge for span in spans for edge in (span.start, span.end)])
    entities: list[Entity] = []
    place: dict[Hashable, int] = {}
    for span in spans:
        try:
            entity = Entity(*_words(post, span, inside_word), span.type)
        except InputError as error:
            if error.kind is None:
                raise error.at(None, span.line) from None
            leave_out(error.kind, error.reason, span.line)
            continue
        place[span.key] = len(entities)
        entities.append(entity)
    relations = []
    keys = Counter(key for key, _, _ in {(span.key, span.start, span.end) for span in spans})
    for relation in marked.relations:
        for key in (relation.head, relation.tail):
            if keys[key] > 1:
                reason = f"relation {relation.type!r} names {shorten(key)}, which {keys[key]} spans are called"
                raise InputError(f"{reason}; give each an id of its own", line=relation.line)
        if relation.head not in place or relation.tail not in place:
            leave_out(
                "relation", f"relation {relation.type!r}: an end of it is not there, or was left out", relation.line
            )
        elif relation.head == relation.tail:
            leave_out("relation", f"relation {relation.type!r} links an entity to itself", relation.line)
        else:
            relations.append(Relation(place[relation.head], place[relation.tail], relation.type))
    return replace(post, entities=tuple(entities), relations=tuple(relations), extra=marked.extra)


def from_post(post: Post) -> Marked:
    """The post as characters of its text; entities have their numbers as keys."""
    post = with_text(post)
    text = str(post.text)
    spans = []
    for number, entity in enumerate(post.entities):
        start, end = post.offsets[entity.start][0], post.offsets[entity.end - 1][1]
        spans.append(CharSpan(start, end, entity.type, number, text[start:end]))
    relations = [CharRelation(one.head, one.tail, one.type) for one in post.relations]
    return Marked(post.id, text, spans, relations, post.image, post.offsets, post.extra)


def read_marked(
    path: Path,
    problems: list[InputError] | None,
    records: Iterable[tuple[int, Any]],
    parse: Callable[[Any, int, LeaveOut], Marked | None],
    inside_word: InsideWord,
) -> list[Post]:
    """Posts of raw records by their line; what is malformed or left out goes to `problems` with file and line.

    `parse` raises `InputError` for a malformed record and returns None for one that it has left out.

    Raises:
        InputError: Without `problems`, the first of them; there is no record.
    """
    posts: list[Post] = []
    seen = False
    for line, raw in records:
        seen = True
        if raw is None:
            continue

        def leave_out(kind: str, reason: str, where: int | None = None, /, line: int = line) -> None:
            fault(problems, InputError(reason, path, where or line, kind))

        try:
            marked = parse(raw, line, leave_out)
            if marked is not None:
                posts.append(replace(to_post(marked, leave_out, inside_word), line=line))
        except InputError as error:
            if error.path is not None:  # left out, and there is no list to put it into
                raise
            fault(problems, error.at(path, error.line or line))
    if not seen:
        raise InputError("the file holds no posts; is this the right file?", path)
    return posts


def json_objects(path: Path, problems: list[InputError] | None) -> Iterable[tuple[int, Any]]:
    """(line number, object) of a file of JSON lines, None in place of what is none."""
    for number, line in filled_lines(path, problems):
        value = None
        if line is not None:
            try:
                value = parse_json_object(line)
            except InputError as error:
                fault(problems, error.at(path, number))
        yield number, value


def lost_words(post: Post) -> bool:
    """Whether a format without words loses the post's: promu's tokenizer splits its text into others."""
    post = with_text(post)
    return [(start, end) for _, start, end in tokenize(str(post.text))] != list(post.offsets)


def _in_code_points(text: str, spans: Sequence[CharSpan]) -> list[CharSpan]:
    """The spans, if all that say their text agree with it; else, where they then do, read as UTF-16 units.

    JavaScript counts a character beyond U+FFFF, such as most emoji, as two.
    """
    if all(_agrees(text, span) for span in spans) or text.isascii():
        return list(spans)
    units = [0]
    for character in text:
        units.append(units[-1] + (2 if ord(character) > 0xFFFF else 1))
    edges = {span.start for span in spans} | {span.end for span in spans}
    if not edges <= set(units):
        return list(spans)
    moved = [span._replace(start=bisect_left(units, span.start), end=bisect_left(units, span.end)) for span in spans]
    return moved if all(_agrees(text, span) for span in moved) else list(spans)


def _agrees(text: str, span: CharSpan) -> bool:
    return span.text is None or same_words(text[span.start : span.end], span.text)


def _words(post: Post, span: CharSpan, inside_word: InsideWord) -> tuple[int, int]:
    """The words of a span; raises with a kind where it is left out, without where it is wrong."""
    text = str(post.text)
    what = f"the span {shorten(span.text or text[max(0, span.start) : span.end])}"
    if not 0 <= span.start < span.end <= len(text):
        reason = f"[{span.start}, {span.end}] of {what} is no span of the text of {counted(len(text), 'character')}"
        raise InputError(f"{reason}; correct its offsets")
    if not _agrees(text, span):
        there = shorten(text[span.start : span.end])
        reason = f"{what} is said to be at [{span.start}, {span.end}], where the text is {there}"
        raise InputError(f"{reason}; correct one of them")
    if inside_word == "widen":
        touched = [row for row, (start, end) in enumerate(post.offsets) if start < span.end and end > span.start]
        if touched:
            return touched[0], touched[-1] + 1
    try:
        return words_of(post, (span.start, span.end), what)
    except InputError as error:
        raise InputError(error.reason, kind="inside a word") from None


def _with_words(post: Post, words: Sequence[tuple[int, int]]) -> Post:
    """The post with other words of its text."""
    text = str(post.text)
    for start, end in words:
        if not 0 <= start < end <= len(text):
            raise InputError(f"word [{start}, {end}] is not in the text of {counted(len(text), 'character')}")
    if any(first[1] > second[0] for first, second in pairwise(words)):
        raise InputError("its words overlap or are not in order; correct them, or leave them out")
    if not words:
        raise InputError("the post has no words")
    edges = [0, *(edge for word in words for edge in word), len(text)]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if visible(text[start:end]):
            reason = f"its words leave out {shorten(text[start:end].strip())} of the text at [{start}, {end}]"
            raise InputError(f"{reason}; give all words, or none")
    return replace(post, tokens=tuple(text[start:end] for start, end in words), offsets=tuple(words))


def _split(post: Post, edges: Sequence[int]) -> Post:
    """The post with its words cut at these characters."""
    cuts = sorted(set(edges))
    words: list[tuple[int, int]] = []
    for start, end in post.offsets:
        inner = [edge for edge in cuts if start < edge < end]
        words += pairwise((start, *inner, end))
    return _with_words(post, words)
