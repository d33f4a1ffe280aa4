"""Tags and spans: the schemes in which a tag a word marks entities, and the entities of tags.

In IOB2 every entity begins with B-. In IOB1 it begins with I-, unless another of its type ends just before. In BIOES
its last word has E-, and one of a single word S-. L-, U- and M- are read as E-, S- and I-.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from promu.errors import InputError
from promu.files import shorten
from promu.schema import Entity, Post, Scheme

SCHEME = (
    "how the tags of CoNLL files mark entities: `iob2`, `iob1` (an I- that continues nothing begins an entity), "
    "`bioes`; `auto` finds it out"
)
"""What the setting is, for recipes and help."""

StrayInside = Literal["begin", "drop"]
"""What an I- tag that continues nothing is: the begin of an entity, or no part of one (seqeval's two modes)."""

_TYPE = r"\w[\w.&/-]*"
TAG = re.compile(rf"O|[BI]-{_TYPE}")
ANY_TAG = re.compile(rf"O|[BIESLUM]-{_TYPE}")
_BIOES = {"L": "E", "U": "S", "M": "I"}
_BIOES_REMEDY = "(scheme bioes); correct it, or name another scheme (data.scheme, --scheme)"
_REMEDY = "the scheme iob1, which takes such a tag as the begin of an entity (data.scheme, --scheme)"


def bio_tags(post: Post, scheme: Scheme = "iob2") -> list[str]:
    """The post's entities as tags, one a word; in IOB2 or in another scheme."""
    tags = ["O"] * len(post.tokens)
    for entity in post.entities:
        tags[entity.start : entity.end] = [f"B-{entity.type}"] + [f"I-{entity.type}"] * (entity.end - entity.start - 1)
    if scheme in ("auto", "iob2"):
        return tags
    written = list(tags)
    for index, tag in enumerate(tags):
        before, after = (tags[place] if 0 <= place < len(tags) else "O" for place in (index - 1, index + 1))
        last = after != f"I-{tag[2:]}"
        if scheme == "iob1" and tag[0] == "B" and before[2:] != tag[2:]:
            written[index] = f"I-{tag[2:]}"
        elif scheme == "bioes" and tag != "O" and last:
            written[index] = f"{'S' if tag[0] == 'B' else 'E'}-{tag[2:]}"
    return written


def find_scheme(posts: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of the tags of posts, as `read_conll` too finds it out."""
    counts = TagCounts()
    for tags in posts:
        for tag in filter(ANY_TAG.fullmatch, tags):
            counts.add(tag)
        counts.close()
    return counts.scheme


def tag_entities(tags: Sequence[str], scheme: Scheme = "iob2") -> list[Entity]:
    """The entities of one post's tags; `auto` is what these tags alone show.

    Raises:
        InputError: A tag is none of the scheme, or contradicts those before it.

    Example:
        ```python
        from promu.corpora.tag_schemes import tag_entities

        assert tag_entities(["B-PER", "O", "B-LOC", "I-LOC"]) == tag_entities(["S-PER", "O", "B-LOC", "E-LOC"], "bioes")
        ```
    """
    scheme = find_scheme([tags]) if scheme == "auto" else scheme
    for tag in tags:
        check_tag(tag, scheme)

    def refuse(index: int, reason: str) -> None:
        raise InputError(f"word {index + 1}: {reason}")

    if scheme == "bioes":
        return bioes_entities(tags, None, refuse)
    plain: list[str] = []
    for tag in tags:
        if is_stray(plain, tag):
            if scheme != "iob1":
                refuse(len(plain), stray_reason(plain, tag))
            tag = f"B-{tag[2:]}"
        plain.append(tag)
    return list(iob_entities(plain))


@dataclass(slots=True)
class TagCounts:
    """How many tags are wrong under each scheme.

    `strays`, `needless` and `broken` count those that are wrong under IOB2 (an I- that continues nothing), IOB1 (a B-
    that is not needed) and BIOES; `ends` the tags that only BIOES has.
    """

    strays: int = 0
    needless: int = 0
    broken: int = 0
    ends: int = 0
    previous: str = "O"

    def add(self, tag: str) -> None:
        tag = _BIOES.get(tag[0], tag[0]) + tag[1:]
        opened = self.previous[0] in "BI"
        continues = opened and self.previous[2:] == tag[2:]
        self.ends += tag[0] in "ES"
        self.strays += tag[0] == "I" and not continues
        self.needless += tag[0] == "B" and not continues
        self.broken += not continues if tag[0] in "IE" else opened
        self.previous = tag

    def close(self) -> None:
        """A post ends."""
        self.broken += self.previous[0] in "BI"
        self.previous = "O"

    @property
    def scheme(self) -> Scheme:
        if self.ends and self.broken < self.ends + self.strays:
            return "bioes"
        return "iob1" if self.strays and not self.needless and not self.ends else "iob2"


def check_tag(tag: str, scheme: Scheme) -> None:
    """Raise `InputError` for what is no tag of the scheme."""
    if (ANY_TAG if scheme == "bioes" else TAG).fullmatch(tag):
        return
    remedy = ""
    if ANY_TAG.fullmatch(tag):
        remedy = f" in the scheme {scheme}; the scheme bioes has others (data.scheme, --scheme)"
    raise InputError(f"{shorten(tag)} is no tag{remedy}; a tag is O, B-TYPE or I-TYPE")


def is_stray(before: Sequence[str], tag: str) -> bool:
    """Whether a tag is an I- that continues nothing."""
    return tag.startswith("I-") and (before[-1] if before else "O")[2:] != tag[2:]


def stray_reason(before: Sequence[str], tag: str) -> str:
    """Why such a tag is an error, and what to do."""
    after = f"after {before[-1][:40]}" if before else "at the start of a post"
    return f"{tag[:40]} {after} continues no entity; write B-{tag[2:40]}, or name {_REMEDY}"


def bioes_entities(tags: Sequence[str], stray: StrayInside | None, refuse: Callable[[int, str], None]) -> list[Entity]:
    """The entities of BIOES tags; without `stray`, `refuse` is told where a tag contradicts others, and why."""
    spans: list[Entity] = []
    start: int | None = None  # of the entity that is open
    for index, tag in enumerate([*tags, "O"]):
        mark, kind = _BIOES.get(tag[0], tag[0]), tag[2:]
        if start is not None and (mark not in "IE" or kind != tags[start][2:]):
            if stray is None:
                reason = f"{tags[start][:40]} begins an entity that {tag[:40]} neither continues nor ends"
                refuse(start, f"{reason} {_BIOES_REMEDY}")
            elif stray == "begin":
                spans.append(Entity(start, index, tags[start][2:]))
            start = None
        if mark == "S":
            spans.append(Entity(index, index + 1, kind))
        elif mark == "B":
            start = index
        elif mark in "IE" and start is None:
            if stray is None:
                refuse(index, f"{tag[:40]} continues no entity {_BIOES_REMEDY}")
            elif stray == "begin":
                start = index
        if mark == "E" and start is not None:
            spans.append(Entity(start, index + 1, kind))
            start = None
    return spans


def iob_entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of IOB2 tags of which none is stray."""
    start: int | None = None
    for index, tag in enumerate([*tags, "O"]):
        if start is not None and not tag.startswith("I-"):
            yield Entity(start, index, tags[start][2:])
            start = None
        if tag.startswith("B-"):
            start = index
