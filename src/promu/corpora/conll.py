"""CoNLL files: a word and its tag a line, a blank line between posts; Twitter-2015 and Twitter-2017 with `IMGID:<id>`.

Types are kept as the file has them (Twitter-2015 says OTHER, Twitter-2017 says MISC). Columns are separated by tabs,
or by blanks where no tab is; the first is the word, the last the tag. Without IMGID lines posts are numbered and have
no image. Lines of -DOCSTART- are left out.

Tags follow a scheme, which is found out or named (`Scheme`). In IOB2 an I- tag that continues nothing (after O, or of
another type) is an error, with one exception. The published Twitter-2015 files hold 374 of them (186, 53, 135), where
an entity begins with I- in place of B-. These files, known by their words and labels, are read as seqeval and the
field's scorers read them: such a tag begins an entity.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from promu.corpora.fields import FILE_NAME, TOKEN, check_field
from promu.corpora.releases import has_stray_inside
from promu.corpora.tag_schemes import (
    ANY_TAG,
    TAG,
    StrayInside,
    TagCounts,
    bio_tags,
    bioes_entities,
    check_tag,
    iob_entities,
    is_stray,
    stray_reason,
)
from promu.errors import InputError, Problems, counted
from promu.files import fault, is_blank, read_lines, shorten, write_text
from promu.schema import Entity, Post, Scheme

logger = logging.getLogger(__name__)

_MARK, _DOCUMENT = "IMGID:", "-DOCSTART-"
_COLUMNS = re.compile(r"[ \t]+")

TagOf = Callable[[Sequence[str]], str]
"""Gives the tag of a line's columns; raises `InputError` for columns that contradict each other."""


def last_column(columns: Sequence[str]) -> str:
    """The tag of a line in any CoNLL file."""
    return columns[-1]


@dataclass(frozen=True, slots=True)
class ConllFile:
    """What a CoNLL file was read as.

    Attributes:
        scheme: The scheme of its tags, never `auto`.
        known: Whether it is a release whose entities are known to begin with I- at times (Twitter-2015).
        notes: What is unusual about it, a sentence each.
    """

    posts: list[Post]
    scheme: Scheme
    known: bool
    notes: list[str]


def read_conll(
    path: str | Path,
    problems: list[InputError] | None = None,
    *,
    scheme: Scheme = "auto",
    stray_inside: StrayInside | None = None,
) -> list[Post]:
    """Read a CoNLL file; a malformed line is one problem, and its post is skipped.

    A post's id is its IMGID and its image `<IMGID>.jpg`; several posts may share one. Errors as of every reader
    (`promu.corpora`).

    Args:
        path: The file.
        problems: Where malformed lines go.
        scheme: Of the tags.
        stray_inside: For predictions, whose tags may be anything: what one that continues nothing is. None leaves that
            to the scheme.
    """
    file = read_conll_file(path, problems, scheme=scheme, stray_inside=stray_inside)
    if problems is None:  # whoever collects them reports the notes too
        for note in file.notes:
            logger.info("%s: %s", path, note)
    return file.posts


def read_conll_file(
    path: str | Path,
    problems: list[InputError] | None = None,
    *,
    scheme: Scheme = "auto",
    stray_inside: StrayInside | None = None,
    tag_of: TagOf = last_column,
) -> ConllFile:
    """As `read_conll`, with what the file was read as; `tag_of` finds the tag where it is not in the last column."""
    path = Path(path)
    layout = _survey(path)
    known = False
    if scheme == "bioes" and not layout.tags.ends:
        scheme = "iob2"
    if scheme == "auto":
        scheme = layout.tags.scheme
        if scheme == "iob2" and layout.tags.strays:
            known = has_stray_inside(_Reader(path, layout, "iob1", None, Problems(), tag_of).posts())
            scheme = "iob1" if known else "iob2"
    found = Problems() if problems is None else problems
    reader = _Reader(path, layout, scheme, stray_inside, found, tag_of)
    posts = reader.posts()
    if problems is None and found:
        raise found.sentences()[0] if isinstance(found, Problems) else found[0]
    tags = {"iob1": [] if known else ["the tags are IOB1"], "bioes": ["the tags are BIOES"]}.get(scheme, [])
    notes = [*tags, *layout.notes(tag_of is last_column), *reader.notes()]
    return ConllFile(posts, scheme, known, notes)


def conll_notes(path: Path, scheme: Scheme = "auto") -> list[str]:
    """What is unusual about a file."""
    return read_conll_file(path, Problems(), scheme=scheme).notes


def write_conll(path: str | Path, posts: Iterable[Post], scheme: Scheme = "iob2") -> None:
    """Write posts so that `read_conll` gives them back, their tags in a scheme (`auto` is IOB2); atomic.

    Posts that are numbered from 1 and have no image are written without IMGID lines. Any other post without an image
    reads back with `<id>.jpg`. Scores are not kept. The format cannot hold relations, overlapping or untyped entities,
    an image of another name, and empty or broken tokens.
    """
    write_text(path, conll_text(posts, scheme))


def conll_text(
    posts: Iterable[Post], scheme: Scheme = "iob2", tags: Callable[[str], str] = lambda tag: tag
) -> Iterator[str]:
    """What `write_conll` writes, post by post; `tags` makes what stands behind the word of its tag."""
    posts = list(posts)
    plain = all(post.image is None and post.id == str(number) for number, post in enumerate(posts, start=1))
    plain = plain and not (posts and posts[0].tokens and posts[0].tokens[0].startswith("\ufeff"))
    return (_format(post, plain, scheme, tags) for post in posts)


@dataclass(slots=True)
class _Layout:
    """What a first look at a file shows."""

    tabs: bool = True
    columns: int = 2
    images: int = 0
    documents: int = 0
    tags: TagCounts = field(default_factory=TagCounts)

    def split(self, line: str) -> list[str]:
        return line.rstrip(" \t").split("\t") if self.tabs else _COLUMNS.split(line.strip(" \t"))

    def notes(self, last: bool) -> list[str]:
        notes = []
        if not self.tabs:
            notes.append("the columns are separated by blanks")
        if self.columns > 2 and last:
            notes.append(f"of {self.columns} columns the first is the word and the last the tag")
        if not self.images:
            notes.append(f"there are no {_MARK} lines: posts are numbered and have no image")
        if self.documents:
            notes.append(
                f"{counted(self.documents, f'line of {_DOCUMENT} was', f'lines of {_DOCUMENT} were')} left out"
            )
        return notes


def _is_mark(line: str) -> bool:
    return line.startswith(_MARK) and "\t" not in line


def _is_document(line: str) -> bool:
    return line.startswith(_DOCUMENT) and line[len(_DOCUMENT) : len(_DOCUMENT) + 1] in ("", " ", "\t")


def _survey(path: Path) -> _Layout:
    """Look at a file's columns and tags; what is wrong with a line is said when it is read."""
    layout = _Layout()
    tabs: Counter[bool] = Counter()
    columns: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    for _, line in read_lines(path, Problems()):
        mark, document = line is not None and _is_mark(line), line is not None and _is_document(line)
        if line is None or is_blank(line) or mark or document:
            layout.images += mark
            layout.documents += document
            layout.tags.close()
            continue
        tabbed = "\t" in line
        tabs[tabbed] += 1
        found = line.rstrip(" \t").split("\t") if tabbed else _COLUMNS.split(line.strip(" "))
        columns[tabbed][len(found)] += 1
        if ANY_TAG.fullmatch(found[-1]):
            layout.tags.add(found[-1])
    layout.tabs = not tabs or tabs[True] >= tabs[False]
    if columns[layout.tabs]:
        layout.columns = max(2, columns[layout.tabs].most_common(1)[0][0])
    return layout


@dataclass(slots=True)
class _Block:
    """The lines of one post while they are read."""

    id: str | None
    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    broken: bool = False


class _Reader:
    """One pass over a file whose layout and scheme are known."""

    def __init__(
        self,
        path: Path,
        layout: _Layout,
        scheme: Scheme,
        stray: StrayInside | None,
        problems: list[InputError],
        tag_of: TagOf,
    ) -> None:
        self.tag_of = tag_of
        self.path, self.layout, self.scheme, self.problems = path, layout, scheme, problems
        self.stray: StrayInside | None = "begin" if scheme == "iob1" and stray is None else stray
        self.strays: Counter[str] = Counter()
        self.stray_lines: list[int] = []

    def posts(self) -> list[Post]:
        posts: list[Post] = []
        empty = True
        for number, block in enumerate(self._blocks(), start=1):
            empty = False
            if not block.tokens and not block.broken:
                fault(self.problems, InputError(f"post {shorten(block.id)} has no words", self.path, block.line))
                continue
            spans = [] if block.broken else self._spans(block)
            if not block.broken:
                id, image = (str(number), None) if block.id is None else (block.id, f"{block.id}.jpg")
                posts.append(Post(id, tuple(block.tokens), image, tuple(spans), line=block.line))
        if empty:
            raise InputError("the file holds no posts; is this the right file?", self.path)
        return posts

    def notes(self) -> list[str]:
        if not self.strays:
            return []
        shown = ", ".join(map(str, self.stray_lines)) + (" …" if self.strays.total() > len(self.stray_lines) else "")
        reading = "dropped" if self.stray == "drop" else "read as the begin of one"
        what = counted(
            self.strays.total(), "I- tag that continues no entity was", "I- tags that continue no entity were"
        )
        return [f"{what} {reading} ({'lines' if self.strays.total() > 1 else 'line'} {shown})"]

    def _blocks(self) -> Iterator[_Block]:
        block: _Block | None = None
        for number, line in read_lines(self.path, self.problems):
            if line is not None and (is_blank(line) or _is_document(line)):
                if block is not None:
                    yield block
                block = None
                continue
            try:
                if line is not None and _is_mark(line) and len(self.layout.split(line)) == 1:
                    previous, block = block, _Block(None, number, broken=True)
                    if previous is not None:
                        yield previous
                    id = check_field(FILE_NAME, line.removeprefix(_MARK).strip(), "the image id after IMGID:")
                    block = _Block(id, number)
                    if previous is not None:
                        raise InputError("a blank line is missing before this IMGID line")
                    continue
                if block is None:
                    block = _Block(None, number, broken=bool(self.layout.images))
                    if line is not None and self.layout.images:
                        raise InputError(f"words without an IMGID:<id> line before them: {shorten(line)}")
                if line is None:
                    block.broken = True
                else:
                    self._add_word(block, line, number)
            except InputError as error:
                if block is not None:
                    block.broken = True
                fault(self.problems, error.at(self.path, number))
        if block is not None:
            yield block

    def _add_word(self, block: _Block, line: str, number: int) -> None:
        columns = self.layout.split(line)
        if len(columns) != self.layout.columns:
            by = "tabs" if self.layout.tabs else "blanks"
            expected = "word<TAB>tag is" if self.layout.tabs and self.layout.columns == 2 else "a word and its tag are"
            others = "" if self.layout.columns == 2 else f"; most lines have {self.layout.columns}"
            found = counted(len(columns), "column")
            raise InputError(f"{expected} expected, found {found} separated by {by}{others}: {shorten(line)}")
        token, tag = check_field(TOKEN, columns[0], "the word"), self.tag_of(columns)
        check_tag(tag, self.scheme)
        if self.scheme != "bioes":
            tag = self._inside(block, tag, number)
        block.tokens.append(token)
        block.tags.append(tag)
        block.lines.append(number)

    def _inside(self, block: _Block, tag: str, number: int) -> str:
        """The tag, a B- or O in place of an I- that continues nothing."""
        if block.broken or not is_stray(block.tags, tag):
            return tag
        if self.stray is None:
            raise InputError(stray_reason(block.tags, tag))
        self.strays[self.stray] += 1
        if len(self.stray_lines) < 5:
            self.stray_lines.append(number)
        return f"B-{tag[2:]}" if self.stray == "begin" else "O"

    def _spans(self, block: _Block) -> list[Entity]:
        if self.scheme != "bioes":
            return list(iob_entities(block.tags))
        return bioes_entities(block.tags, self.stray, partial(self._unclosed, block))

    def _unclosed(self, block: _Block, index: int, reason: str) -> None:
        block.broken = True
        fault(self.problems, InputError(reason, self.path, block.lines[index]))


def _format(post: Post, plain: bool, scheme: Scheme, tags: Callable[[str], str]) -> str:
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
    if _DOCUMENT in post.tokens:
        raise InputError(f"{where}: its word {_DOCUMENT} begins a document there")
    taken: set[int] = set()
    for entity in post.entities:
        if entity.type is None or not TAG.fullmatch(f"B-{entity.type}"):
            raise InputError(f"{where}: {shorten(entity.type)} is no entity type")
        if not taken.isdisjoint(range(entity.start, entity.end)):
            raise InputError(f"{where}: entity ({entity.start}, {entity.end}) overlaps another")
        taken.update(range(entity.start, entity.end))
    words = (
        f"{check_field(TOKEN, token, f'{where}: word {index}')}\t{tags(tag)}\n"
        for index, (token, tag) in enumerate(zip(post.tokens, bio_tags(post, scheme), strict=True))
    )
    return ("" if plain else f"{_MARK}{name}\n") + "".join(words) + "\n"
