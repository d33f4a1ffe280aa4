"""Twitter-2015 and Twitter-2017: `IMGID:<id>`, then `word<TAB>tag` lines, a blank line between posts.

Types are kept as the file has them (Twitter-2015 says OTHER, Twitter-2017 says MISC).

An I- tag that continues nothing (after O, or of another type) is an error, with one exception. The published
Twitter-2015 files hold 374 of them (186, 53, 135), where an entity begins with I- in place of B-; these files, known
by their checksum, are read as seqeval and the field's scorers read them: such a tag begins an entity. Twitter-2017
has none. For any other file `stray_inside="begin"`, the format `conll-lenient`, asks for the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from promu.corpora.fields import FILE_NAME, TOKEN, check_field
from promu.corpora.releases import has_stray_inside
from promu.errors import InputError
from promu.files import fault, is_blank, read_lines, shorten, write_text
from promu.schema import Entity, Post

logger = logging.getLogger(__name__)

StrayInside = Literal["error", "begin", "drop"]

_TAG = re.compile(r"O|[BI]-\w[\w.&/-]*")
_MARK = "IMGID:"


@dataclass(slots=True)
class _Block:
    """The lines of one post while they are read."""

    id: str | None
    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    broken: bool = False


def read_conll(
    path: str | Path, problems: list[InputError] | None = None, *, stray_inside: StrayInside | None = None
) -> list[Post]:
    """Read a Twitter-2015/2017 file; a malformed line is one problem, and its post is skipped.

    A post's id is its IMGID and its image `<IMGID>.jpg`; several posts may share one. Errors as of every reader
    (`promu.corpora`).

    Args:
        path: The file.
        problems: Where malformed lines go.
        stray_inside: What an I- tag that continues nothing is: an "error", the "begin" of an entity (seqeval's default
            mode), or no part of one, "drop" (seqeval's strict mode, IOB2). None is "begin" for the published
            Twitter-2015 files, as the field's scorers have it, and "error" for all others.
    """
    path = Path(path)
    if stray_inside is None:
        stray_inside = "begin" if has_stray_inside(path) else "error"
    posts, strays = _parse(path, problems, stray_inside)
    if strays:
        reading = "dropped" if stray_inside == "drop" else "read as the begin of an entity"
        logger.info("%s: %d I- tags that continue nothing were %s", path, len(strays), reading)
    return posts


def stray_inside_lines(path: str | Path) -> list[int]:
    """The lines whose I- tag continues nothing, in the posts that are otherwise well formed."""
    return _parse(Path(path), [], "begin")[1]


def write_conll(path: str | Path, posts: Iterable[Post]) -> None:
    """Write posts so that `read_conll` gives them back; atomic.

    A post without an image reads back with `<id>.jpg`, and scores are not kept. The format cannot hold relations,
    overlapping or untyped entities, an image of another name, and empty or broken tokens.
    """
    write_text(path, (_format(post) for post in posts))


def bio_tags(post: Post) -> list[str]:
    """The post's entities as BIO tags, one a word."""
    tags = ["O"] * len(post.tokens)
    for entity in post.entities:
        tags[entity.start : entity.end] = [f"B-{entity.type}"] + [f"I-{entity.type}"] * (entity.end - entity.start - 1)
    return tags


def _parse(path: Path, problems: list[InputError] | None, stray_inside: StrayInside) -> tuple[list[Post], list[int]]:
    posts: list[Post] = []
    strays: list[int] = []
    empty = True
    for block in _blocks(path, problems, stray_inside, strays):
        empty = False
        if not block.tokens and not block.broken:
            fault(problems, InputError(f"post {shorten(block.id)} has no words", path, block.line))
        elif not block.broken:
            posts.append(Post(str(block.id), tuple(block.tokens), f"{block.id}.jpg", tuple(_entities(block.tags))))
    if empty:
        raise InputError("the file holds no posts; is this the right file?", path)
    return posts, strays


def _blocks(
    path: Path, problems: list[InputError] | None, stray_inside: StrayInside, strays: list[int]
) -> Iterator[_Block]:
    block: _Block | None = None
    for number, line in read_lines(path, problems):
        if line is not None and is_blank(line):
            if block is not None:
                yield block
            block = None
            continue
        try:
            if line is not None and line.startswith(_MARK) and "\t" not in line:
                previous, block = block, _Block(None, number, broken=True)
                if previous is not None:
                    yield previous
                id = check_field(FILE_NAME, line.removeprefix(_MARK).strip(), "the image id after IMGID:")
                block = _Block(id, number)
                if previous is not None:
                    raise InputError("a blank line is missing before this IMGID line")
                continue
            if block is None:
                block = _Block(None, number, broken=True)
                if line is not None:
                    raise InputError(f"words without an IMGID:<id> line before them: {shorten(line)}")
            if line is None:
                block.broken = True
            else:
                _add_word(block, line, number, stray_inside, strays)
        except InputError as error:
            if block is not None:
                block.broken = True
            fault(problems, error.at(path, number))
    if block is not None:
        yield block


def _add_word(block: _Block, line: str, number: int, stray_inside: StrayInside, strays: list[int]) -> None:
    columns = line.split("\t")
    if len(columns) != 2:
        raise InputError(f"word<TAB>tag is expected, found {len(columns)} column(s) separated by tabs: {shorten(line)}")
    token, tag = check_field(TOKEN, columns[0], "the word"), columns[1]
    if not _TAG.fullmatch(tag):
        raise InputError(f"{shorten(tag)} is no tag; a tag is O, B-TYPE or I-TYPE")
    previous = block.tags[-1] if block.tags else "O"
    if tag.startswith("I-") and previous[2:] != tag[2:] and not block.broken:
        if stray_inside == "error":
            after = f"after {previous[:40]}" if block.tags else "at the start of a post"
            remedy = "read the file as format conll-lenient, which takes such a tag as the begin of an entity"
            raise InputError(f"{tag[:40]} {after} continues no entity; write B-{tag[2:40]}, or {remedy}")
        strays.append(number)
        tag = f"B-{tag[2:]}" if stray_inside == "begin" else "O"
    block.tokens.append(token)
    block.tags.append(tag)


def _entities(tags: list[str]) -> Iterator[Entity]:
    start: int | None = None
    for index, tag in enumerate([*tags, "O"]):
        if start is not None and not tag.startswith("I-"):
            yield Entity(start, index, tags[start][2:])
            start = None
        if tag.startswith("B-"):
            start = index


def _format(post: Post) -> str:
    where = f"post {shorten(post.id)} cannot be written as CoNLL"
    if post.relations:
        raise InputError(f"{where}: the format holds no relations; write it as mnre, jmere or posts")
    if post.image not in (None, f"{post.id}.jpg"):
        raise InputError(f"{where}: its image must be named {post.id}.jpg, found {shorten(post.image)}")
    name = check_field(FILE_NAME, post.id, f"{where}: its id")
    if name != name.strip():
        raise InputError(f"{where}: its id begins or ends with a blank")
    if not post.tokens:
        raise InputError(f"{where}: it has no words")
    taken: set[int] = set()
    for entity in post.entities:
        if entity.type is None or not _TAG.fullmatch(f"B-{entity.type}"):
            raise InputError(f"{where}: {shorten(entity.type)} is no entity type")
        if not taken.isdisjoint(range(entity.start, entity.end)):
            raise InputError(f"{where}: entity ({entity.start}, {entity.end}) overlaps another")
        taken.update(range(entity.start, entity.end))
    words = (
        f"{check_field(TOKEN, token, f'{where}: word {index}')}\t{tag}\n"
        for index, (token, tag) in enumerate(zip(post.tokens, bio_tags(post), strict=True))
    )
    return f"{_MARK}{name}\n" + "".join(words) + "\n"
