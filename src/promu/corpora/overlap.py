"""What the splits of a set share: texts and pictures that a model has seen before it is tested on them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

MAX_EXAMPLES = 3
"""Shared texts and pictures named a pair of splits; all are counted."""


@dataclass(slots=True)
class Contents:
    """What a split holds.

    Attributes:
        texts: Excerpt by text: the words of posts, or captions; equal ones count once.
        pictures: Names of pictures.
        digests: Digest of its bytes by name of a picture; None where no picture was opened.
    """

    texts: dict[Hashable, str] = field(default_factory=dict)
    pictures: set[str] = field(default_factory=set)
    digests: dict[str, str] | None = None

    def add(self, other: Contents) -> None:
        """Take in another file of the split."""
        self.texts |= other.texts
        self.pictures |= other.pictures
        if other.digests is not None:
            self.digests = {**other.digests, **(self.digests or {})}


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two splits share; distinct texts and pictures are counted, of the second split's.

    Attributes:
        first, second: The splits.
        texts, of_texts: Texts in both, and texts of the second. Texts are equal word by word.
        pictures, of_pictures: Names of pictures in both, and of the second.
        same_content: Pictures of the second whose bytes the first has under another name; None where none was opened.
        examples: The first few shared texts, pictures, and pairs of names of equal content.
    """

    first: str
    second: str
    texts: int
    of_texts: int
    pictures: int
    of_pictures: int
    same_content: int | None
    examples: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "splits": [self.first, self.second],
            "texts": self.texts,
            "of_texts": self.of_texts,
            "pictures": self.pictures,
            "of_pictures": self.of_pictures,
            "same_content": self.same_content,
            "examples": self.examples,
        }

    def lines(self) -> list[str]:
        """The same as text."""
        content = (
            "content not compared, none opened"
            if self.same_content is None
            else f"{self.same_content:,} more by content"
        )
        head = (
            f"{self.first} and {self.second} share {self.texts:,} of the latter's {self.of_texts:,} texts, "
            f"{self.pictures:,} of its {self.of_pictures:,} pictures by name ({content})"
        )
        return [head, *(f"  same {kind}: {example}" for kind, shown in self.examples.items() for example in shown)]


def find_overlaps(splits: Mapping[str, Contents]) -> list[Overlap]:
    """Compare each split with each one after it."""
    return [_compare(first, splits[first], second, splits[second]) for first, second in combinations(splits, 2)]


def _compare(first: str, seen: Contents, second: str, asked: Contents) -> Overlap:
    texts = [excerpt for key, excerpt in asked.texts.items() if key in seen.texts]
    pictures = sorted(seen.pictures & asked.pictures)
    content = None
    if seen.digests is not None and asked.digests is not None:
        names = {digest: name for name, digest in seen.digests.items()}
        content = [
            f"{name} is {names[digest]}"
            for name, digest in asked.digests.items()
            if digest in names and name not in seen.pictures
        ]
    examples = {"text": texts, "picture": pictures, "content": content or []}
    return Overlap(
        first,
        second,
        texts=len(texts),
        of_texts=len(asked.texts),
        pictures=len(pictures),
        of_pictures=len(asked.pictures),
        same_content=None if content is None else len(content),
        examples={kind: found[:MAX_EXAMPLES] for kind, found in examples.items()},
    )
