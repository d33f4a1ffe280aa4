"""Posts as JSON lines: what `promu extract` reads, and what it writes.

A line to extract from is `{"text"}` or `{"tokens"}`, with optional `id` (the line number by default) and `image`. A
labelled line adds `entities` (`start`, `end` in words, `type`, optional `score`) and `relations` (`head`, `tail` as
indices of entities, `type`, optional `score`). What we write also says each entity's `text` and its `char_start` and
`char_end` in the line's `text`, and `explanation` where one was asked for, which is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Strict, StrictInt

from promu.corpora.fields import TEXT, TOKENS, Id, Record, Score, Text, Tokens, check_field, check_span, read_record
from promu.corpora.tokenize import tokenize
from promu.errors import InputError
from promu.files import filled_lines, parse_json_object, read_records, shorten, write_lines
from promu.schema import Entity, Post, Relation


def read_posts_jsonl(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read posts from JSON lines, labelled or not.

    A line with `text` alone is split by `tokenize`. With `tokens`, those are the words, and `text`, if given too, must
    hold them in order. Problems and errors as of every reader (`promu.corpora`).
    """
    numbered = ((number, line and (number, line)) for number, line in filled_lines(Path(path), problems))
    return read_records(path, problems, lambda item: _parse(parse_json_object(item[1]), item[0]), "posts", numbered)


def from_text(text: str, id: str = "1", image: str | None = None) -> Post:
    """One unlabelled post from running text.

    Raises:
        InputError: the text has no words.
    """
    tokens = tokenize(check_field(TEXT, text, "text"))
    if not tokens:
        raise InputError(f"text has no words: {shorten(text)}")
    offsets = tuple((start, end) for _, start, end in tokens)
    return Post(id, tuple(token for token, _, _ in tokens), image, text=text, offsets=offsets)


def from_tokens(tokens: Sequence[str], id: str = "1", image: str | None = None) -> Post:
    """One unlabelled post from words; its text is the words joined by blanks.

    Raises:
        InputError: no words, or an empty one.
    """
    return with_text(Post(id, check_field(TOKENS, list(tokens), "tokens"), image))


def with_text(post: Post) -> Post:
    """The post with a text: its own, or its words joined by blanks."""
    if post.text is not None:
        return post
    text = " ".join(post.tokens)
    return replace(post, text=text, offsets=_align(post.tokens, text))


def post_record(post: Post) -> dict[str, Any]:
    """The JSON object we write for a post; keys whose value is None are left out.

    Offsets are Python string indices, that is Unicode code points.
    """
    post = with_text(post)
    entities = []
    for one in post.entities:
        start, end = post.offsets[one.start][0], post.offsets[one.end - 1][1]
        entity = {"start": one.start, "end": one.end, "text": str(post.text)[start:end], "type": one.type}
        entities.append({**entity, "char_start": start, "char_end": end, "score": one.score})
    relations = [{"head": one.head, "tail": one.tail, "type": one.type, "score": one.score} for one in post.relations]
    record = {"id": post.id, "text": post.text, "tokens": list(post.tokens), "image": post.image}
    return _without_none(
        {**record, "entities": list(map(_without_none, entities)), "relations": list(map(_without_none, relations))}
    )


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}


def write_posts_jsonl(path: str | Path, posts: Iterable[Post]) -> None:
    """Write posts so that `read_posts_jsonl` gives them back, scores included; atomic."""
    write_lines(path, [json.dumps(post_record(post), ensure_ascii=False) for post in posts])


def from_record(record: dict[str, Any]) -> Post:
    """A post from what a JSON line holds: `text` or `tokens`, and optional `id`, `image`, `entities`, `relations`.

    Raises:
        InputError: A key is unknown or a value is not legal.
    """
    return _parse(record, 1)


class _EntityRecord(Record):
    start: StrictInt
    end: StrictInt
    type: Text | None = None
    score: Score | None = None
    text: Any = None
    char_start: Any = None
    char_end: Any = None


class _RelationRecord(Record):
    head: StrictInt
    tail: StrictInt
    type: Text
    score: Score | None = None


class _PostRecord(Record):
    id: Id = ""
    text: Text = ""
    tokens: Tokens = ()
    image: Text | None = None
    entities: Annotated[list[_EntityRecord], Strict()] = []
    relations: Annotated[list[_RelationRecord], Strict()] = []
    explanation: Any = None


def _parse(raw: dict[str, Any], number: int) -> Post:
    record = read_record(_PostRecord, raw, "the post")
    if not record.text and not record.tokens:
        raise InputError(f"the post has neither text nor tokens; its keys are: {', '.join(raw) or 'none'}")
    id = record.id or str(number)
    if record.tokens:
        text = record.text or " ".join(record.tokens)
        post = Post(id, record.tokens, record.image, text=text, offsets=_align(record.tokens, text))
    else:
        post = from_text(record.text, id, record.image)
    entities = []
    for index, entity in enumerate(record.entities):
        span = check_span((entity.start, entity.end), post.tokens, f"span of entities[{index}]")
        entities.append(Entity(*span, entity.type, entity.score))
    relations = []
    for index, relation in enumerate(record.relations):
        for name, end in (("head", relation.head), ("tail", relation.tail)):
            if not 0 <= end < len(entities):
                what = f"relations[{index}].{name} is {shorten(end)}"
                raise InputError(f"{what}, but the post has {len(entities)} entities, from 0")
        relations.append(Relation(relation.head, relation.tail, relation.type, relation.score))
    return replace(post, entities=tuple(entities), relations=tuple(relations))


def _align(tokens: tuple[str, ...], text: str) -> tuple[tuple[int, int], ...]:
    offsets = []
    position = 0
    for token in tokens:
        start = text.find(token, position)
        if start < 0:
            reason = f"is not in the text after position {position}; drop text or tokens"
            raise InputError(f"token {shorten(token)} {reason}")
        position = start + len(token)
        offsets.append((start, position))
    return tuple(offsets)
