"""MNRE v2: one dictionary a line, one pair of entities each: a Python literal as published, or a JSON object.

`{'token': [...], 'h': {'name', 'pos'}, 't': {'name', 'pos'}, 'img_id', 'relation'}`; `pos` is end exclusive, the
relation is like `/per/org/member_of` (types of head and tail, then the name) or `None` (in JSON also null). A file may
be a JSON list of such objects too.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from promu.corpora.fields import (
    FILE_NAME,
    TOKENS,
    FileName,
    Record,
    Span,
    Text,
    Tokens,
    check_field,
    check_name,
    check_span,
    other_form,
    read_record,
    stem,
)
from promu.errors import InputError, Problems
from promu.files import (
    DuplicateKey,
    distinct_keys,
    filled_lines,
    json_list,
    opening,
    parse_json_object,
    read_numbered,
    read_text,
    shorten,
    write_text,
)
from promu.schema import NO_RELATION, Entity, Post, Relation

logger = logging.getLogger(__name__)

MAX_LITERAL_CHARACTERS = 20_000
"""Longer lines are refused unparsed: Python's parser needs memory and stack far beyond a literal's own size.
The longest published line has 414 characters."""

_LABEL = re.compile(r"/([^\s/]+)/([^\s/]+)/([^\s/]+)")


def read_mnre(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read an MNRE file: each line one post with two entities, head first, and one relation.

    The entities' types are the first two parts of the relation's label, None where it is `None`. A post's id is its
    `img_id` without suffix; posts may share it. Problems and errors as of every reader (`promu.corpora`).
    """
    oddities: Counter[str] = Counter()
    posts = _read(Path(path), problems, oddities)
    if problems is None:  # whoever collects them reports the notes too
        for oddity, count in oddities.items():
            logger.info("%s: %s (%d)", path, oddity, count)
    return posts


def mnre_notes(path: Path) -> list[str]:
    """What is unusual about a file."""
    oddities: Counter[str] = Counter()
    _read(path, Problems(), oddities)
    return [f"{oddity} ({count:,})" for oddity, count in sorted(oddities.items())]


def _read(path: Path, problems: list[InputError] | None, oddities: Counter[str]) -> list[Post]:
    with warnings.catch_warnings():
        # A backslash in a damaged literal is a matter for our sentence, not for a warning of Python's parser.
        warnings.simplefilter("ignore", category=SyntaxWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        listed = opening(path).startswith("[")
        elements = json_list(path, read_text(path), problems) if listed else filled_lines(path, problems)

        def parse(raw: Any) -> Post:
            return _parse(_dictionary(raw) if isinstance(raw, str) else raw[1], oddities)

        records = read_numbered(path, problems, parse, "posts", elements)
        return [replace(post, line=number) for number, post in records]


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
    prediction, replace the relation of the gold post. A post of several relations becomes several lines. The format
    cannot hold a post without relation, an entity in none, and an id that is not the image's name.
    """
    write_text(path, (f"{record!r}\n" for post in posts for record in _records(post)))


def _label(value: object) -> object:
    if value is None:
        return NO_RELATION
    if not isinstance(value, str):
        raise ValueError(f"must be a string, found {shorten(value)}; no relation is 'None' or null")
    return value


class _End(Record):
    name: Text
    pos: Span


class _Line(Record):
    token: Tokens
    h: _End
    t: _End
    img_id: FileName
    relation: Annotated[str, BeforeValidator(_label)]


def _parse(raw: object, oddities: Counter[str]) -> Post:
    record = read_record(_Line, raw, "the line")
    for name, end in (("h", record.h), ("t", record.t)):
        check_name(end.name, record.token, check_span(end.pos, record.token, f"{name}.pos"), f"{name}.name")
        if oddity := other_form(end.name, record.token, end.pos):
            oddities[oddity] += 1
    if isinstance(raw, dict) and raw["relation"] is None:
        oddities["relations are null, and read as None"] += 1
    if record.h.pos == record.t.pos:
        raise InputError(f"head and tail are the same span {list(record.h.pos)}")
    head_type, tail_type = relation_types(record.relation)
    entities = (Entity(*record.h.pos, head_type), Entity(*record.t.pos, tail_type))
    return Post(stem(record.img_id), record.token, record.img_id, entities, (Relation(0, 1, record.relation),))


def _dictionary(line: str) -> Any:
    if len(line) > MAX_LITERAL_CHARACTERS:
        raise InputError(f"the line has {len(line):,} characters, more than {MAX_LITERAL_CHARACTERS:,}; is this MNRE?")
    if line.lstrip().startswith("["):
        raise InputError("a list where one dictionary {…} a line is expected; is this a JSON list?")
    if not re.match(r'\s*\{\s*"', line):
        return _literal(line)
    try:
        return parse_json_object(line)
    except InputError as error:
        try:
            return _literal(line)  # Python writes some strings in such quotes too
        except InputError:
            raise error from None


def _literal(line: str) -> Any:
    try:
        tree = ast.parse(line.strip(), mode="eval").body
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                distinct_keys([(ast.literal_eval(key), None) for key in node.keys if key is not None])
            if isinstance(node, ast.Name):
                reason = f"not a Python literal: {shorten(node.id)} stands without quotes"
                raise InputError(f"{reason}; Python writes None where JSON has null")
        return ast.literal_eval(tree)
    except DuplicateKey as error:
        raise InputError(str(error)) from None
    except InputError:
        raise
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        kind = type(error).__name__
        raise InputError(f"not a Python literal ({kind}); is the line complete? {shorten(line)}") from None


def _records(post: Post) -> Iterator[dict[str, object]]:
    where = f"post {shorten(post.id)} cannot be written as MNRE"
    linked = {index for relation in post.relations for index in (relation.head, relation.tail)}
    if not post.relations or len(linked) < len(post.entities):
        raise InputError(f"{where}: every entity must be in a relation; add {NO_RELATION!r} for a pair without one")
    if post.image is None or stem(post.image) != post.id:
        raise InputError(f"{where}: its image must be named after its id, found {shorten(post.image)}")
    tokens = list(check_field(TOKENS, post.tokens, f"{where}: token"))
    image = check_field(FILE_NAME, post.image, f"{where}: img_id")
    for relation in post.relations:
        relation_types(relation.type)
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        if (head.start, head.end) == (tail.start, tail.end):
            raise InputError(f"{where}: head and tail are the same span")
        h, t = ({"name": post.words(end), "pos": [end.start, end.end]} for end in (head, tail))
        yield {"token": tokens, "h": h, "t": t, "img_id": image, "relation": relation.type}
