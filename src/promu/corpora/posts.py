"""Posts as JSON lines: what `promu extract` reads, and what it writes.

A line to extract from is `{"text"}` or `{"tokens"}`, with optional `id` (the line number by default) and `image`. A
labelled line adds `entities` (`start`, `end` in words, `type`, optional `score`) and `relations` (`head`, `tail` as
indices of entities, `type`, optional `score`). What we write also says each entity's `text` and its `char_start` and
`char_end` in the line's `text`, and `explanation` where one was asked for, which is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.corpora.fields import require_keys, require_score, require_span, require_text, require_tokens
from promu.corpora.tokenize import tokenize
from promu.errors import InputError
from promu.files import is_blank, locate_records, parse_json_object, read_lines, shorten, write_lines
from promu.schema import Entity, Post, Relation

_OPTIONAL = ("id", "text", "tokens", "image", "entities", "relations", "explanation")


@dataclass(frozen=True, slots=True)
class PostLine:
    """A post with the text it was read from; `offsets[i]` is where token i lies in `text`, end exclusive."""

    post: Post
    text: str
    offsets: tuple[tuple[int, int], ...]


def read_posts_jsonl(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """The posts of `read_post_lines`."""
    return [line.post for line in read_post_lines(path, problems)]


def read_post_lines(path: str | Path, problems: list[InputError] | None = None) -> list[PostLine]:
    """Read posts from JSON lines, labelled or not.

    A line with `text` alone is split by `tokenize`. With `tokens`, those are the words, and `text`, if given too, must
    hold them in order.

    Args:
        path: The file.
        problems: Where malformed lines go; None raises the first.

    Raises:
        InputError: the file is missing, empty or holds no post; without `problems` also any malformed line.
    """
    path = Path(path)
    numbered = (
        (number, None if line is None else (number, line))
        for number, line in read_lines(path, problems)
        if line is None or not is_blank(line)
    )
    return locate_records(path, problems, numbered, lambda item: _parse(parse_json_object(item[1]), item[0]), "posts")


def from_text(text: str, id: str = "1", image: str | None = None) -> PostLine:
    """One unlabelled post from running text.

    Raises:
        InputError: the text has no words.
    """
    pieces = tokenize(require_text(text, "text"))
    if not pieces:
        raise InputError(f"text has no words: {shorten(text)}")
    post = Post(id, tuple(token for token, _, _ in pieces), image)
    return PostLine(post, text, tuple((start, end) for _, start, end in pieces))


def from_tokens(tokens: Sequence[str], id: str = "1", image: str | None = None) -> PostLine:
    """One unlabelled post from words; its text is the words joined by blanks.

    Raises:
        InputError: no words, or an empty one.
    """
    words = require_tokens(list(tokens), "tokens")
    text = " ".join(words)
    return PostLine(Post(id, words, image), text, _align(words, text))


def post_record(line: PostLine) -> dict[str, Any]:
    """The JSON object we write for a post; keys whose value is None are left out.

    Offsets are Python string indices, that is Unicode code points.
    """
    post = line.post
    record: dict[str, Any] = {"id": post.id, "text": line.text, "tokens": list(post.tokens)}
    if post.image is not None:
        record["image"] = post.image
    record["entities"] = []
    for entity in post.entities:
        start, end = line.offsets[entity.start][0], line.offsets[entity.end - 1][1]
        record["entities"].append(
            _without_none(
                start=entity.start,
                end=entity.end,
                text=line.text[start:end],
                type=entity.type,
                char_start=start,
                char_end=end,
                score=entity.score,
            )
        )
    record["relations"] = [
        _without_none(head=relation.head, tail=relation.tail, type=relation.type, score=relation.score)
        for relation in post.relations
    ]
    return record


def write_posts_jsonl(path: str | Path, posts: Iterable[Post | PostLine]) -> None:
    """Write posts so that `read_posts_jsonl` gives them back, scores included; atomic."""
    lines = []
    for post in posts:
        line = post if isinstance(post, PostLine) else _with_text(post)
        lines.append(json.dumps(post_record(line), ensure_ascii=False))
    write_lines(path, lines)


def _with_text(post: Post) -> PostLine:
    plain = from_tokens(post.tokens, post.id, post.image)
    return PostLine(post, plain.text, plain.offsets)


def _without_none(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def from_record(record: dict[str, Any]) -> PostLine:
    """A post from what a JSON line holds: `text` or `tokens`, and optional `id`, `image`, `entities`, `relations`.

    Raises:
        InputError: A key is unknown or a value is not legal.
    """
    return _parse(record, 1)


def _parse(raw: dict[str, Any], number: int) -> PostLine:
    record = require_keys(raw, (), _OPTIONAL, "the post")
    if "text" not in record and "tokens" not in record:
        raise InputError(f"the post has neither text nor tokens; its keys are: {', '.join(record) or 'none'}")
    id = record.get("id", number)
    id = str(id) if type(id) is int else require_text(id, "id")
    image = record.get("image")
    image = None if image is None else require_text(image, "image")
    if "tokens" in record:
        line = from_tokens(require_tokens(record["tokens"], "tokens"), id, image)
        if "text" in record:
            text = require_text(record["text"], "text")
            line = PostLine(line.post, text, _align(line.post.tokens, text))
    else:
        line = from_text(record["text"], id, image)
    entities = tuple(
        _entity(value, line.post.tokens, f"entity {index}") for index, value in enumerate(_list(record, "entities"))
    )
    relations = tuple(
        _relation(value, len(entities), f"relation {index}") for index, value in enumerate(_list(record, "relations"))
    )
    return PostLine(Post(id, line.post.tokens, image, entities, relations), line.text, line.offsets)


def _list(record: Any, key: str) -> list[object]:
    value = record.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{key} must be a list, found {shorten(value)}")
    return value


def _entity(value: object, tokens: tuple[str, ...], what: str) -> Entity:
    record = require_keys(value, ("start", "end"), ("text", "type", "score", "char_start", "char_end"), what)
    start, end = require_span([record["start"], record["end"]], tokens, f"span of {what}")
    type_ = record.get("type")
    return Entity(start, end, None if type_ is None else require_text(type_, f"type of {what}"), _score(record, what))


def _relation(value: object, entities: int, what: str) -> Relation:
    record = require_keys(value, ("head", "tail", "type"), ("score",), what)
    for key in ("head", "tail"):
        if type(record[key]) is not int or not 0 <= record[key] < entities:
            raise InputError(f"{key} of {what} is {shorten(record[key])}, but the post has {entities} entities, from 0")
    return Relation(
        record["head"], record["tail"], require_text(record["type"], f"type of {what}"), _score(record, what)
    )


def _score(record: Any, what: str) -> float | None:
    value = record.get("score")
    return None if value is None else require_score(value, f"score of {what}")


def _align(tokens: tuple[str, ...], text: str) -> tuple[tuple[int, int], ...]:
    offsets = []
    position = 0
    for token in tokens:
        start = text.find(token, position)
        if start < 0:
            raise InputError(
                f"token {shorten(token)} is not in the text after position {position}; drop text or tokens"
            )
        position = start + len(token)
        offsets.append((start, position))
    return tuple(offsets)
