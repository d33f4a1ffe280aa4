"""JMERE few-shot: posts with all their entities and relations, as a JSON list or as JSON lines.

`label_list` is a list of one-element lists, each `{"beg_ent", "sec_ent", "relation"}`, an entity being
`{"name", "pos", "tags"}`. The published `*_ofa_knowledge.json` are JSON lines, the other files JSON lists; which one a
file is shows in its first character. Types are per, loc, org and misc; relations have no types in their names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.corpora.fields import (
    require_file_name,
    require_keys,
    require_name,
    require_span,
    require_text,
    require_tokens,
    stem,
)
from promu.errors import InputError
from promu.files import (
    fault,
    is_blank,
    iterate_json_list,
    locate_records,
    parse_json_object,
    read_lines,
    read_text,
    shorten,
    write_text,
)
from promu.schema import Entity, Post, Relation

TYPES = ("per", "loc", "org", "misc")


@dataclass(frozen=True, slots=True)
class Background:
    """What a published post carries beside its labels: captions of its image and generated knowledge."""

    captions: tuple[str, ...]
    knowledge: tuple[str, ...]


def read_jmere(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read a JMERE file.

    A post's entities are the distinct (span, type) pairs of its labels in order of first mention; its relations are
    in the file's order. Its id is `img_id` without suffix.

    Args:
        path: A JSON list or JSON lines.
        problems: Where malformed records go; None raises the first.

    Raises:
        InputError: the file is missing, empty or holds no post; without `problems` also any malformed record.
    """
    path = Path(path)
    return locate_records(path, problems, _raw_records(path, problems), _parse_post, "posts")


def read_jmere_background(path: str | Path, problems: list[InputError] | None = None) -> list[Background]:
    """The captions and knowledge of a file's posts, one for each post that `read_jmere` gives, in the same order.

    Either is empty where the file has none.

    Raises:
        InputError: as `read_jmere`.
    """
    path = Path(path)
    return locate_records(path, problems, _raw_records(path, problems), _parse_background, "posts")


def write_jmere(path: str | Path, posts: Iterable[Post], background: Sequence[Background] | None = None) -> None:
    """Write posts as the published JSON list, so that `read_jmere` gives them back; atomic. Scores are not kept.

    Args:
        path: The file.
        posts: To be written.
        background: Captions and knowledge of each; what is empty is left out.

    Raises:
        InputError: a post that the format cannot hold: an entity in no relation or not in order of first mention,
            another type than per, loc, org and misc, no image, an id that is not its image's name.
    """
    records = [_record(post) for post in posts]
    if background is not None:
        for record, known in zip(records, background, strict=True):
            record |= {name: list(found) for name, found in _background_keys(known).items() if found}
    write_text(path, (json.dumps(records, ensure_ascii=False),))


def jmere_notes(path: Path) -> list[str]:
    """What whoever trains or scores on the file should know: texts that come again with other labels, and the like."""
    posts = read_jmere(path, [])
    notes = []
    labels: dict[tuple[str, ...], set[tuple[object, ...]]] = {}
    for post in posts:
        labels.setdefault(post.tokens, set()).add((post.entities, post.relations))
    repeated = sum(len(found) > 1 for found in labels.values())
    if repeated:
        notes.append(f"{repeated} texts come again with other labels, so that no model can be right about both")
    pairs = [Counter((one.head, one.tail) for one in post.relations) for post in posts]
    several = sum(count > 1 for found in pairs for count in found.values())
    if several:
        notes.append(f"{several} pairs of entities have several relations")
    empty = sum(not post.relations for post in posts)
    if empty:
        notes.append(f"{empty} posts have no relation")
    return notes


def _raw_records(path: Path, problems: list[InputError] | None) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (line, object), None for what was not JSON and has been reported."""
    lines = read_lines(path, problems)
    first = next(((number, line) for number, line in lines if line is None or not is_blank(line)), None)
    if first is not None and first[1] is not None and first[1].lstrip().startswith("["):
        try:
            yield from iterate_json_list(read_text(path))
        except InputError as error:
            fault(problems, error.at(path, error.line))
            yield error.line or 1, None
        return
    for number, line in ([first] if first else []) + list(lines):
        if line is None:
            yield number, None
        elif not is_blank(line):
            try:
                record = parse_json_object(line)
            except InputError as error:
                fault(problems, error.at(path, number))
                yield number, None
            else:
                yield number, record


def _parse_post(raw: object) -> Post:
    record = require_keys(raw, ("token", "img_id", "label_list"), ("image_caption", "knowledge"), "the post")
    # Posts and their background must stay parallel, so a post whose background is malformed is malformed.
    _background(record)
    tokens = require_tokens(record["token"])
    image = require_file_name(record["img_id"], "img_id")
    labels = record["label_list"]
    if not isinstance(labels, list):
        raise InputError(f"label_list must be a list, found {shorten(labels)}")
    entities: dict[Entity, int] = {}
    relations = []
    for index, label in enumerate(labels):
        what = f"label {index}"
        if not isinstance(label, list) or len(label) != 1:
            raise InputError(f"{what} must be a list of one element, found {shorten(label)}")
        triple = require_keys(label[0], ("beg_ent", "sec_ent", "relation"), (), what)
        head = _entity(triple["beg_ent"], tokens, f"beg_ent of {what}")
        tail = _entity(triple["sec_ent"], tokens, f"sec_ent of {what}")
        if (head.start, head.end) == (tail.start, tail.end):
            raise InputError(f"beg_ent and sec_ent of {what} are the same span [{head.start}, {head.end}]")
        ends = [entities.setdefault(entity, len(entities)) for entity in (head, tail)]
        relations.append(Relation(ends[0], ends[1], require_text(triple["relation"], f"relation of {what}")))
    return Post(stem(image), tokens, image, tuple(entities), tuple(relations))


def _entity(value: object, tokens: tuple[str, ...], what: str) -> Entity:
    record = require_keys(value, ("name", "pos", "tags"), (), what)
    start, end = require_span(record["pos"], tokens, f"pos of {what}")
    require_name(record["name"], tokens, (start, end), f"name of {what}")
    if record["tags"] not in TYPES:
        raise InputError(f"type of {what} must be one of {', '.join(TYPES)}, found {shorten(record['tags'])}")
    return Entity(start, end, record["tags"])


def _parse_background(raw: object) -> Background:
    _parse_post(raw)
    assert isinstance(raw, dict)
    return _background(raw)


def _background(record: Any) -> Background:
    return Background(_sentences(record, "image_caption"), _sentences(record, "knowledge"))


def _background_keys(known: Background) -> dict[str, tuple[str, ...]]:
    return {"image_caption": known.captions, "knowledge": known.knowledge}


def _sentences(record: dict[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key, [])
    if not isinstance(value, list) or not all(isinstance(sentence, str) for sentence in value):
        raise InputError(f"{key} must be a list of strings, found {shorten(value)}")
    return tuple(value)


def _record(post: Post) -> dict[str, object]:
    where = f"post {shorten(post.id)} cannot be written as JMERE"
    mentioned = dict.fromkeys(index for relation in post.relations for index in (relation.head, relation.tail))
    if list(mentioned) != list(range(len(post.entities))):
        raise InputError(
            f"{where}: the format names entities through relations only; drop entities in no relation and order the "
            "others by first mention, or write it as posts"
        )
    if len({(entity.start, entity.end, entity.type) for entity in post.entities}) < len(post.entities):
        raise InputError(f"{where}: an entity occurs twice")
    if post.image is None or stem(post.image) != post.id:
        raise InputError(f"{where}: its image must be named after its id, found {shorten(post.image)}")
    ends = [
        {"name": post.words(entity), "pos": [entity.start, entity.end], "tags": entity.type} for entity in post.entities
    ]
    labels = [
        [{"beg_ent": ends[relation.head], "sec_ent": ends[relation.tail], "relation": relation.type}]
        for relation in post.relations
    ]
    record: dict[str, object] = {"token": list(post.tokens), "img_id": post.image, "label_list": labels}
    try:
        _parse_post(record)
    except InputError as error:
        raise InputError(f"{where}: {error.reason}") from None
    return record
