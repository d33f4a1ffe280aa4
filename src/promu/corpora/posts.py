"""Posts as JSON: what `promu extract` reads, and what it writes.

A record to extract from is `{"text"}` or `{"tokens"}`, with optional `id` (the line number by default) and `image`. A
labelled one adds `entities` (`start`, `end` in words, `type`, optional `score`) and `relations` (`head`, `tail` as
indices of entities, `type`, optional `score`). `contexts` are further texts about the post by name. An entity may also
say its `text`, and its `char_start` and `char_end` in the record's `text`; these must say the same as `start` and
`end`, and may stand in their place. Its `regions` are the boxes of the image that show it: a list of `{"box": [x0, y0,
x1, y1]}`, in the image's own pixels, optionally with `label` and `score`; an empty list says that the image does not
show it, no list that nobody has said. `image_size` is the image's width and height. Null is as if the key were not
there. Further keys are carried through (`Post.extra`); those that promu writes beside the labels (`WRITTEN`) are not
read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Strict, StrictInt

from promu.corpora.fields import (
    TEXT,
    TOKENS,
    Box,
    Id,
    Record,
    Score,
    Size,
    Text,
    Tokens,
    check_field,
    check_span,
    key_names,
    read_record,
    sound,
)
from promu.corpora.tokenize import Offsets, align, same_words, tokenize, visible
from promu.errors import InputError, counted
from promu.files import filled_lines, is_blank, parse_json_object, read_records, shorten, write_lines
from promu.schema import Entity, Post, Region, Relation

WRITTEN = ("explanation", "far_pairs", "image_read", "image_reason", "warnings")
"""Keys of what `promu extract` writes that are about its run, not about the post: they are written anew each time."""


def read_posts_jsonl(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read posts from JSON lines, labelled or not.

    A line with `text` alone is split by `tokenize`. With `tokens`, those are the words, and `text`, if given too, must
    be made of them (`align`). Problems and errors as of every reader (`promu.corpora`).
    """
    numbered = ((number, line and (number, line)) for number, line in filled_lines(Path(path), problems))

    def parse(item: tuple[int, str]) -> Post:
        return replace(from_record(parse_json_object(item[1]), str(item[0])), line=item[0])

    return read_records(path, problems, parse, "posts", numbered)


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
    """The post with a text and its words' offsets: its own, or its words joined by blanks.

    Raises:
        InputError: Its text is not made of its words.
    """
    if post.text is None:
        return replace(post, text=" ".join(post.tokens), offsets=_joined(post.tokens))
    return post if post.offsets else replace(post, offsets=align(post.tokens, post.text))


def _joined(tokens: Sequence[str]) -> Offsets:
    """Where words lie when they are joined by blanks."""
    offsets, position = [], 0
    for token in tokens:
        offsets.append((position, position + len(token)))
        position += len(token) + 1
    return tuple(offsets)


def post_record(post: Post) -> dict[str, Any]:
    """The JSON object we write for a post, with what else came with it; keys of ours whose value is None are left out.

    Offsets are Python string indices, that is Unicode code points.
    """
    post = with_text(post)
    entities = []
    for one in post.entities:
        start, end = post.offsets[one.start][0], post.offsets[one.end - 1][1]
        entity = {"start": one.start, "end": one.end, "text": str(post.text)[start:end], "type": one.type}
        shown = None if one.regions is None else [region_record(region) for region in one.regions]
        entities.append({**entity, "char_start": start, "char_end": end, "score": one.score, "regions": shown})
    relations = [{"head": one.head, "tail": one.tail, "type": one.type, "score": one.score} for one in post.relations]
    record: dict[str, Any] = {"id": post.id, "text": post.text, "tokens": list(post.tokens), "image": post.image}
    record["image_size"] = None if post.image_size is None else list(post.image_size)
    record["entities"] = [_without_none(entity) for entity in entities]
    record["relations"] = [_without_none(relation) for relation in relations]
    record["contexts"] = dict(post.contexts) or None
    return with_extra(_without_none(record), post.extra)


def region_record(region: Region) -> dict[str, Any]:
    """The JSON object we write for a region: its box, and label and score where it has some."""
    more = {"label": region.label or None, "score": None if region.score == 1.0 else region.score}
    return {"box": list(region.box), **_without_none(more)}


def with_extra(record: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A record of ours with the further keys that came with its post; a key of ours keeps our value."""
    return record | {key: value for key, value in extra.items() if key not in record}


def _without_none(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}


def write_posts_jsonl(path: str | Path, posts: Iterable[Post]) -> None:
    """Write posts so that `read_posts_jsonl` gives them back, scores included; atomic."""
    write_lines(path, [json.dumps(post_record(post), ensure_ascii=False) for post in posts])


def from_record(raw: Mapping[str, Any], id: str = "1") -> Post:
    """A post from what a JSON line holds: `text` or `tokens`, and optional `id`, `image`, `entities`, `relations`.

    Args:
        raw: The record; its further keys become `Post.extra`.
        id: For a record without one.

    Raises:
        InputError: A value is not legal, or what is said twice (words and text, words and characters) disagrees.
    """
    values = {key: value for key, value in raw.items() if value is not None and key in _PostRecord.model_fields}
    record = read_record(_PostRecord, values, "the post")
    if not record.text and not record.tokens:
        raise InputError(f"the post has neither text nor tokens; its keys are: {key_names(raw)}")
    id = record.id or id
    if record.tokens:
        post = with_text(Post(id, record.tokens, record.image, text=record.text or None))
    else:
        post = from_text(record.text, id, record.image)
    entities = tuple(
        Entity(
            *_span(entity, post, bool(record.text), f"entities[{index}]"),
            entity.type,
            entity.score,
            _regions(entity, record.image_size, f"entities[{index}]"),
        )
        for index, entity in enumerate(record.entities)
    )
    relations = []
    for index, relation in enumerate(record.relations):
        for name, end in (("head", relation.head), ("tail", relation.tail)):
            if not 0 <= end < len(entities):
                what = f"relations[{index}].{name} is {shorten(end)}"
                raise InputError(f"{what}, but the post has {counted(len(entities), 'entity', 'entities')}, from 0")
        relations.append(Relation(relation.head, relation.tail, relation.type, relation.score))
    further = {key: value for key, value in raw.items() if key not in _PostRecord.model_fields}
    extra = {str(key): plain(value, key) for key, value in further.items() if key not in WRITTEN}
    contexts = {name: text for name, text in record.contexts.items() if not is_blank(text)}
    size = record.image_size
    return replace(post, entities=entities, relations=tuple(relations), contexts=contexts, extra=extra, image_size=size)


def _regions(entity: _EntityRecord, size: tuple[int, int] | None, what: str) -> tuple[Region, ...] | None:
    if entity.regions is None:
        return None
    found = []
    for index, one in enumerate(entity.regions):
        region = Region(one.box, one.label or "", 1.0 if one.score is None else one.score)
        found.append(region)
        try:
            if size is not None:
                region.within(size)
        except InputError as error:
            raise InputError(f"regions[{index}] of {what}: {error.reason}") from None
    return tuple(found)


class _RegionRecord(Record):
    box: Box
    label: Text | None = None
    score: Score | None = None


class _EntityRecord(Record):
    start: StrictInt | None = None
    end: StrictInt | None = None
    type: Text | None = None
    score: Score | None = None
    text: Text | None = None
    char_start: StrictInt | None = None
    char_end: StrictInt | None = None
    regions: Annotated[list[_RegionRecord], Strict()] | None = None


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
    image_size: Size | None = None
    entities: Annotated[list[_EntityRecord], Strict()] = []
    relations: Annotated[list[_RelationRecord], Strict()] = []
    contexts: Annotated[dict[Text, Annotated[str, Strict(), AfterValidator(sound)]], Strict()] = {}


def _span(entity: _EntityRecord, post: Post, own_text: bool, what: str) -> tuple[int, int]:
    """The words of an entity, all of whose readings must agree.

    Args:
        own_text: Whether the record has the text that characters are counted in. Without it (older extractions of
            promu) they can only be compared by their number.
    """
    if (entity.char_start is None) != (entity.char_end is None):
        raise InputError(f"{what} has one of char_start and char_end alone; give both or none")
    characters = None
    if entity.char_start is not None and entity.char_end is not None:
        characters = (entity.char_start, entity.char_end)
        if not 0 <= characters[0] < characters[1] or (own_text and characters[1] > len(str(post.text))):
            of = f"of the {counted(len(str(post.text)), 'character')} of the text" if own_text else "of characters"
            raise InputError(f"char_start and char_end of {what}, {list(characters)}, are no span {of}, end exclusive")
    if entity.start is None or entity.end is None:
        missing = [name for name in ("start", "end") if getattr(entity, name) is None]
        if len(missing) == 1 or characters is None or not own_text:
            raise InputError(f"{what} lacks {', '.join(missing)}: where it begins and ends, counted in words")
        span = words_of(post, characters, what)
    else:
        span = check_span((entity.start, entity.end), post.tokens, f"span of {what}")
    start, end = post.offsets[span[0]][0], post.offsets[span[1] - 1][1]
    words = str(post.text)[start:end]
    disagreements = []
    if entity.text is not None and not same_words(entity.text, words):
        disagreements.append(f"its text is {shorten(entity.text)}")
    if characters is not None and own_text and (start, end) not in (characters, _trimmed(str(post.text), characters)):
        there = shorten(str(post.text)[slice(*characters)])
        disagreements.append(f"char_start and char_end [{characters[0]}, {characters[1]}] give {there}")
    elif characters is not None and not own_text:
        length = characters[1] - characters[0]
        fewest = len("".join(post.tokens[slice(*span)]))
        if length < fewest or (entity.text is not None and length != len(entity.text)):
            disagreements.append(
                f"char_start and char_end [{characters[0]}, {characters[1]}] are {counted(length, 'character')}"
            )
        elif characters[0] < sum(map(len, post.tokens[: span[0]])):
            disagreements.append(f"char_start is {characters[0]}, before the end of the words in front of it")
    if not disagreements:
        return span
    said = f"{what} contradicts itself: start and end [{span[0]}, {span[1]}] are the words {shorten(words)}"
    remedy = "correct one of them, or leave out what is wrong"
    if own_text and span in (characters, _named(post, entity.text, span)):
        remedy = "start and end count words; name characters char_start and char_end"
    raise InputError(f"{said}, but {' and '.join(disagreements)}; {remedy}")


def words_of(post: Post, characters: tuple[int, int], what: str = "the entity") -> tuple[int, int]:
    """The words of a post that lie between two characters of its text, as (start, end), end exclusive.

    Raises:
        InputError: The characters are not exactly those of one word or more.
    """
    starts, ends = ({offset[side]: index for index, offset in enumerate(post.offsets)} for side in (0, 1))
    for start, end in (characters, _trimmed(str(post.text), characters)):
        first, last = starts.get(start), ends.get(end)
        if first is not None and last is not None and first <= last:
            break
    else:
        touched = [index for index, (left, right) in enumerate(post.offsets) if left < end and right > start]
        words = str(post.text)[post.offsets[touched[0]][0] : post.offsets[touched[-1]][1]] if touched else ""
        raise InputError(
            f"characters {list(characters)} of {what} are {shorten(str(post.text)[slice(*characters)])}, which is not "
            f"whole words: the words there are {shorten(words)}; correct them, or give tokens that fit"
        )
    return first, last + 1


def _trimmed(text: str, characters: tuple[int, int]) -> tuple[int, int]:
    """The characters without blanks at either end."""
    start, end = characters
    while start < end and not visible(text[start]):
        start += 1
    while end > start and not visible(text[end - 1]):
        end -= 1
    return start, end


def _named(post: Post, text: str | None, span: tuple[int, int]) -> tuple[int, int] | None:
    """The span, if counted in characters it is the text that the entity says."""
    return span if text is not None and str(post.text)[slice(*span)] == text else None


def plain(value: Any, key: object) -> Any:
    """A value as JSON can hold it: dates and decimals as text, what is not a number as null.

    Raises:
        InputError: JSON has nothing for it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{shorten(key)} holds half of a surrogate pair: {shorten(value)}") from None
        return value
    if isinstance(value, Mapping):
        return {str(plain(str(name), key)): plain(inner, key) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, key) for inner in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise InputError(f"{shorten(key)} holds {shorten(value)}, which JSON has no form for; leave it out")
