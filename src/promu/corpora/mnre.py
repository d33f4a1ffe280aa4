"""MNRE v2: one Python-literal dictionary a line, one pair of entities each.

`{'token': [...], 'h': {'name', 'pos'}, 't': {'name', 'pos'}, 'img_id', 'relation'}`; `pos` is end exclusive, the
relation is like `/per/org/member_of` (types of head and tail, then the name) or `None`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from promu.corpora.fields import require_file_name, require_keys, require_name, require_span, require_tokens, stem
from promu.errors import InputError
from promu.files import read_line_records, shorten, write_text
from promu.schema import NO_RELATION, Entity, Post, Relation

MAX_LITERAL_CHARACTERS = 20_000
"""Longer lines are refused unparsed: Python's parser needs memory and stack far beyond a literal's own size.
The longest published line has 414 characters."""

_LABEL = re.compile(r"/([^\s/]+)/([^\s/]+)/([^\s/]+)")


def read_mnre(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read an MNRE file: each line one post with two entities, head first, and one relation.

    The entities' types are the first two parts of the relation's label, None where it is `None`. A post's id is its
    `img_id` without suffix; posts may share it.

    Args:
        path: The file.
        problems: Where malformed lines go; None raises the first.

    Raises:
        InputError: the file is missing, empty or holds no post; without `problems` also any malformed line.
    """
    with warnings.catch_warnings():
        # A backslash in a damaged literal is a matter for our sentence, not for a warning of Python's parser.
        warnings.simplefilter("ignore", category=SyntaxWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        return read_line_records(path, problems, _parse, "posts")


def relation_types(label: str) -> tuple[str | None, str | None]:
    """The types of head and tail that a label states: ("per", "org") for `/per/org/member_of`, (None, None) for `None`.

    Raises:
        InputError: the label is neither `None` nor of the form /head/tail/name.
    """
    if label == NO_RELATION:
        return None, None
    match = _LABEL.fullmatch(label)
    if match is None:
        raise InputError(f"relation {shorten(label)} is neither None nor of the form /head/tail/name")
    return match[1], match[2]


def write_mnre(path: str | Path, posts: Iterable[Post]) -> None:
    """Write one line a relation so that `read_mnre` gives the posts back; atomic.

    The label alone carries the entities' types, so the entities' own are not kept, nor are scores: to write a
    prediction, replace the relation of the gold post. A post of several relations becomes several lines.

    Raises:
        InputError: a post that the format cannot hold: no relation, an entity in none, no image, an id that is not
            its image's name.
    """
    write_text(path, (f"{record!r}\n" for post in posts for record in _records(post)))


def _parse(line: str) -> Post:
    record = require_keys(_literal(line), ("token", "h", "t", "img_id", "relation"), (), "the line")
    tokens = require_tokens(record["token"])
    head = _span(record["h"], tokens, "h")
    tail = _span(record["t"], tokens, "t")
    if head == tail:
        raise InputError(f"head and tail are the same span {list(head)}")
    label = record["relation"]
    if not isinstance(label, str):
        raise InputError(f"relation must be a string, found {shorten(label)}; no relation is the string 'None'")
    head_type, tail_type = relation_types(label)
    image = require_file_name(record["img_id"], "img_id")
    entities = (Entity(*head, head_type), Entity(*tail, tail_type))
    return Post(stem(image), tokens, image, entities, (Relation(0, 1, label),))


def _literal(line: str) -> Any:
    if len(line) > MAX_LITERAL_CHARACTERS:
        raise InputError(f"the line has {len(line):,} characters, more than {MAX_LITERAL_CHARACTERS:,}; is this MNRE?")
    if line.lstrip().startswith("["):
        raise InputError("a list where one dictionary {…} a line is expected; is this a JSON list?")
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        kind = type(error).__name__
        raise InputError(f"not a Python literal ({kind}); is the line complete? {shorten(line)}") from None


def _span(value: object, tokens: tuple[str, ...], what: str) -> tuple[int, int]:
    record = require_keys(value, ("name", "pos"), (), what)
    span = require_span(record["pos"], tokens, f"{what} pos")
    require_name(record["name"], tokens, span, f"{what} name")
    return span


def _records(post: Post) -> Iterator[dict[str, object]]:
    where = f"post {shorten(post.id)} cannot be written as MNRE"
    linked = {index for relation in post.relations for index in (relation.head, relation.tail)}
    if not post.relations or len(linked) < len(post.entities):
        raise InputError(f"{where}: every entity must be in a relation; add {NO_RELATION!r} for a pair without one")
    if post.image is None or stem(post.image) != post.id:
        raise InputError(f"{where}: its image must be named after its id, found {shorten(post.image)}")
    tokens = list(require_tokens(post.tokens, f"{where}: token"))
    image = require_file_name(post.image, f"{where}: img_id")
    for relation in post.relations:
        relation_types(relation.type)
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        if (head.start, head.end) == (tail.start, tail.end):
            raise InputError(f"{where}: head and tail are the same span")
        yield {
            "token": tokens,
            "h": {"name": post.words(head), "pos": [head.start, head.end]},
            "t": {"name": post.words(tail), "pos": [tail.start, tail.end]},
            "img_id": image,
            "relation": relation.type,
        }
