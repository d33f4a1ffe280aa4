"""Which published release a file is, by what is in it.

Several versions of the same data sets circulate (Twitter-2015 has an original and a repaired test), so a figure
means little without the name of the version that was read. A file is known by the SHA-256 of its bytes, whatever its
line ends and without a byte-order mark; a file of posts also by its words and labels, whatever their layout.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promu.files import checksum
from promu.schema import Post

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Release:
    """A published file: the release it belongs to and its part of it."""

    name: str
    part: str

    def __str__(self) -> str:
        return f"{self.name}, {self.part}"


_ROWS = [line.split("\t") for line in (Path(__file__).parent / "data" / "releases.tsv").read_text("utf-8").splitlines()]
"""SHA-256, release and part of each published file; of files of posts also the digests of words and of labels."""

RELEASES = {row[0]: Release(row[1], row[2]) for row in _ROWS}
"""SHA-256 in hexadecimal -> the published file with these bytes."""

_POSTS = {row[3]: (Release(row[1], row[2]), row[4]) for row in _ROWS if len(row) > 3}
"""Digest of the words of a published file's posts -> the file, and the digest of its words and labels.

Both digests do without order, line ends and layout, so that a copy in another layout is recognised.
"""


def identify(path: str | Path) -> Release | None:
    """The release a file is, or None where its bytes are not known (drawn corpora, edited copies).

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    return RELEASES.get(checksum(path)) or RELEASES.get(checksum(path, plain=True))


def identify_posts(posts: Sequence[Post]) -> Release | None:
    """The release that posts are, with its words and its labels, or None."""
    published = _POSTS.get(_digest(" ".join(post.tokens) for post in posts))
    return published[0] if published is not None and published[1] == _digest(map(_labelled, posts)) else None


def release_name(path: str | Path, posts: Sequence[Post]) -> str:
    """What to call a file of posts: the release it is, or as `unknown_name`; raises as `identify`."""
    return str(identify(path) or unknown_name(posts))


def unknown_name(posts: Sequence[Post]) -> str:
    """What to call a file of posts of unknown bytes: the release that it is in another layout, or `unknown`.

    An unknown file with the texts of a published one is named after it.
    """
    published = _POSTS.get(_digest(" ".join(post.tokens) for post in posts))
    if published is None:
        return UNKNOWN
    if known := identify_posts(posts):
        return f"{known}, in another layout"
    return (
        f"{UNKNOWN}; the posts of {published[0]}, with other labels: repaired, edited or predicted ones (which "
        "repaired release it may be is unknown, for want of a checksum)"
    )


def _labelled(post: Post) -> str:
    entities = sorted((entity.start, entity.end, entity.type or "") for entity in post.entities)
    spans = [(entity.start, entity.end) for entity in post.entities]
    relations = sorted((*spans[relation.head], *spans[relation.tail], relation.type) for relation in post.relations)
    return json.dumps([post.tokens, entities, relations])


def _digest(lines: Iterable[str]) -> str:
    """SHA-256 over lines in alphabetical order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()


def has_stray_inside(posts: Sequence[Post]) -> bool:
    """Whether posts are those of a file in which entities are known to begin with an I- tag (Twitter-2015)."""
    release = identify_posts(posts)
    return release is not None and release.name.startswith("Twitter-2015")
