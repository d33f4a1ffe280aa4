"""The pool of worked exemplars: posts with captions, relations and the reasoning behind them, one JSON line each.

A pool is made from training posts, or written by hand: `{"text", "caption", "quintuples": [{"head", "head_type",
"tail", "tail_type", "relation"}], "reasoning"}`, with an optional "id".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import parse_json_object, read_line_records, shorten, write_lines
from promu.schema import Post

_KEYS = "text, caption, quintuples, reasoning"
_PARTS = ("head", "head_type", "tail", "tail_type", "relation")


@dataclass(frozen=True, slots=True)
class Quintuple:
    """A relation in words, with the types of both entities."""

    head: str
    head_type: str
    tail: str
    tail_type: str
    relation: str

    def __str__(self) -> str:
        return f'"{self.head}" ({self.head_type}) and "{self.tail}" ({self.tail_type}): {self.relation}'


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A post worked out."""

    id: str
    text: str
    caption: str
    quintuples: tuple[Quintuple, ...]
    reasoning: str


def make_pool(posts: Sequence[Post], backgrounds: Sequence[Background]) -> list[Exemplar]:
    """Exemplars of labelled training posts.

    The reasoning is the knowledge recorded with a post; where there is none, a sentence that says its relations.

    Args:
        posts: Training posts, and no others.
        backgrounds: One for each post.

    Raises:
        InputError: An entity of a relation has no type.
    """
    return [_exemplar(post, background) for post, background in zip(posts, backgrounds, strict=True)]


def read_pool(path: str | Path) -> list[Exemplar]:
    """Read a pool.

    Raises:
        InputError: The file is missing or empty, or a line is malformed.
    """
    exemplars = read_line_records(path, None, lambda line: _parse(parse_json_object(line)), "exemplars")
    return [
        exemplar if exemplar.id else replace(exemplar, id=str(number))
        for number, exemplar in enumerate(exemplars, start=1)
    ]


def write_pool(path: str | Path, exemplars: Sequence[Exemplar]) -> None:
    """Write a pool so that `read_pool` gives it back; atomic."""
    write_lines(path, [json.dumps(asdict(exemplar), ensure_ascii=False) for exemplar in exemplars])


def _exemplar(post: Post, background: Background) -> Exemplar:
    quintuples = []
    for relation in post.relations:
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        if head.type is None or tail.type is None:
            raise InputError(
                f"post {post.id!r}: an entity of relation {relation.type!r} has no type, which an exemplar must show; "
                "make the pool from jointly labelled posts"
            )
        quintuples.append(Quintuple(post.words(head), head.type, post.words(tail), tail.type, relation.type))
    reasoning = " ".join(background.knowledge)
    if not reasoning:
        said = [f'"{q.head}" is a {q.head_type} and "{q.tail}" a {q.tail_type}: {q.relation}.' for q in quintuples]
        reasoning = " ".join(said) or "No relation is stated."
    return Exemplar(post.id, " ".join(post.tokens), " ".join(background.captions), tuple(quintuples), reasoning)


def _parse(record: dict[str, Any]) -> Exemplar:
    unknown = sorted(set(record) - {"id", "text", "caption", "quintuples", "reasoning"})
    if unknown:
        raise InputError(f"the exemplar has the unknown key {unknown[0]!r}; allowed are id and {_KEYS}")
    for key in ("text", "reasoning"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise InputError(f"{key} of the exemplar must be a text, found {shorten(record.get(key))}; it has {_KEYS}")
    for key in ("id", "caption"):
        if not isinstance(record.get(key, ""), str):
            raise InputError(f"{key} of the exemplar must be a text, found {shorten(record[key])}")
    listed = record.get("quintuples")
    if not isinstance(listed, list):
        raise InputError(f"quintuples of the exemplar must be a list, found {shorten(listed)}; it may be empty")
    quintuples = tuple(_quintuple(item, number) for number, item in enumerate(listed))
    return Exemplar(
        record.get("id", ""), record["text"].strip(), record.get("caption", ""), quintuples, record["reasoning"].strip()
    )


def _quintuple(value: object, number: int) -> Quintuple:
    if not isinstance(value, dict) or set(value) != set(_PARTS) or not all(isinstance(v, str) for v in value.values()):
        raise InputError(f"quintuple {number} must be an object of texts {', '.join(_PARTS)}, found {shorten(value)}")
    return Quintuple(**value)
