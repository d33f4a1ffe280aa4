"""JMERE few-shot: posts with all their entities and relations, as a JSON list or as JSON lines.

`label_list` is a list of one-element lists, each `{"beg_ent", "sec_ent", "relation"}`, an entity being
`{"name", "pos", "tags"}`. The published `*_ofa_knowledge.json` are JSON lines, the other files JSON lists; which one a
file is shows in its first character. Types are per, loc, org and misc; relations have no types in their names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, StrictStr

from promu.corpora.fields import (
    FileName,
    Record,
    Span,
    Text,
    Tokens,
    check_name,
    check_span,
    other_form,
    read_record,
    stem,
)
from promu.errors import InputError, Problems, counted
from promu.files import (
    filled_lines,
    json_list,
    opening,
    parse_json_object,
    read_numbered,
    read_text,
    shorten,
    write_text,
)
from promu.schema import Entity, Post, Relation

Sentences = Annotated[list[StrictStr], Strict()]


@dataclass(frozen=True, slots=True)
class Background:
    """What a published post carries beside its labels: captions of its image and generated knowledge."""

    captions: tuple[str, ...]
    knowledge: tuple[str, ...]


def read_jmere(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read a JMERE file.

    A post's entities are the distinct (span, type) pairs of its labels in order of first mention; its relations are
    in the file's order. Its id is `img_id` without suffix. Problems and errors as of every reader (`promu.corpora`).
    """
    return [post for post, _ in _read(Path(path), problems)]


def read_jmere_background(path: str | Path, problems: list[InputError] | None = None) -> list[Background]:
    """The captions and knowledge (empty where there is none) of each post that `read_jmere` gives, in its order."""
    return [background for _, background in _read(Path(path), problems)]


def write_jmere(path: str | Path, posts: Iterable[Post], background: Sequence[Background] | None = None) -> None:
    """Write posts as the published JSON list, so that `read_jmere` gives them back; atomic. Scores are not kept.

    The format cannot hold an entity in no relation or not in order of first mention, another type than per, loc, org
    and misc, and an id that is not the image's name. `background` is of each post; what is empty is left out.
    """
    records = [_record(post) for post in posts]
    if background is not None:
        for record, beside in zip(records, background, strict=True):
            sentences = {"image_caption": beside.captions, "knowledge": beside.knowledge}
            record |= {name: list(texts) for name, texts in sentences.items() if texts}
    write_text(path, (json.dumps(records, ensure_ascii=False),))


def jmere_notes(path: Path) -> list[str]:
    """What whoever trains or scores on the file should know: texts that come again with other labels, and the like."""
    oddities: Counter[str] = Counter()
    posts = [post for post, _ in _read(path, Problems(), oddities)]
    notes = [f"{oddity} ({count:,})" for oddity, count in sorted(oddities.items())]
    labels: dict[tuple[str, ...], set[tuple[object, ...]]] = {}
    for post in posts:
        labels.setdefault(post.tokens, set()).add((post.entities, post.relations))
    repeated = sum(len(different) > 1 for different in labels.values())
    if repeated:
        again = counted(repeated, "text comes", "texts come")
        notes.append(f"{again} again with other labels, so that no model can be right about both")
    pairs = [Counter((one.head, one.tail) for one in post.relations) for post in posts]
    several = sum(count > 1 for counts in pairs for count in counts.values())
    if several:
        notes.append(f"{counted(several, 'pair of entities has', 'pairs of entities have')} several relations")
    empty = sum(not post.relations for post in posts)
    if empty:
        notes.append(f"{counted(empty, 'post has', 'posts have')} no relation")
    return notes


def _read(
    path: Path, problems: list[InputError] | None, oddities: Counter[str] | None = None
) -> list[tuple[Post, Background]]:
    found: Counter[str] = Counter() if oddities is None else oddities

    def parse(raw: Any) -> tuple[Post, Background]:
        return _parse(parse_json_object(raw) if isinstance(raw, str) else raw[1], found)

    listed = opening(path).startswith("[")
    elements = json_list(path, read_text(path), problems) if listed else filled_lines(path, problems)
    records = read_numbered(path, problems, parse, "posts", elements)
    return [(replace(post, line=line), background) for line, (post, background) in records]


class _End(Record):
    name: Text
    pos: Span
    tags: Literal["per", "loc", "org", "misc"]


class _Label(Record):
    beg_ent: _End
    sec_ent: _End
    relation: Text


class _Post(Record):
    token: Tokens
    img_id: FileName
    label_list: Annotated[list[Annotated[list[_Label], Strict(), Field(min_length=1, max_length=1)]], Strict()]
    image_caption: Sentences = []
    knowledge: Sentences = []


def _parse(raw: object, oddities: Counter[str]) -> tuple[Post, Background]:
    """Both are parsed at once: they must stay parallel, so a post whose background is malformed is malformed."""
    record = read_record(_Post, raw, "the post")
    entities: dict[Entity, int] = {}
    relations = []
    for index, (label,) in enumerate(record.label_list):
        ends = []
        for name, end in (("beg_ent", label.beg_ent), ("sec_ent", label.sec_ent)):
            what = f"label_list[{index}][0].{name}"
            check_name(end.name, record.token, check_span(end.pos, record.token, f"{what}.pos"), f"{what}.name")
            if oddity := other_form(end.name, record.token, end.pos):
                oddities[oddity] += 1
            ends.append(entities.setdefault(Entity(*end.pos, end.tags), len(entities)))
        if label.beg_ent.pos == label.sec_ent.pos:
            span = list(label.beg_ent.pos)
            raise InputError(f"beg_ent and sec_ent of label_list[{index}][0] are the same span {span}")
        relations.append(Relation(ends[0], ends[1], label.relation))
    post = Post(stem(record.img_id), record.token, record.img_id, tuple(entities), tuple(relations))
    return post, Background(tuple(record.image_caption), tuple(record.knowledge))


def _record(post: Post) -> dict[str, object]:
    where = f"post {shorten(post.id)} cannot be written as JMERE"
    mentioned = dict.fromkeys(index for relation in post.relations for index in (relation.head, relation.tail))
    if list(mentioned) != list(range(len(post.entities))):
        remedy = "drop entities in no relation and order the others by first mention, or write it as posts"
        raise InputError(f"{where}: the format names entities through relations only; {remedy}")
    if len({(entity.start, entity.end, entity.type) for entity in post.entities}) < len(post.entities):
        raise InputError(f"{where}: an entity occurs twice")
    if post.image is None or stem(post.image) != post.id:
        raise InputError(f"{where}: its image must be named after its id, found {shorten(post.image)}")
    ends = [{"name": post.words(end), "pos": [end.start, end.end], "tags": end.type} for end in post.entities]
    labels = [[{"beg_ent": ends[one.head], "sec_ent": ends[one.tail], "relation": one.type}] for one in post.relations]
    record: dict[str, object] = {"token": list(post.tokens), "img_id": post.image, "label_list": labels}
    try:
        _parse(record, Counter())
    except InputError as error:
        raise InputError(f"{where}: {error.reason}") from None
    return record
