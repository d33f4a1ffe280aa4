"""Captions of any published kind as one stream of named pictures, what cannot be used being raised or counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from promu.corpora.captions import iterate_captions
from promu.corpora.newsclippings import read_newsclippings
from promu.corpora.picture_folder import iterate_picture_folder
from promu.errors import InputError
from promu.files import read_bytes, shorten
from promu.schema import CaptionPair

MAX_CAPTION = 1000
"""Characters of a caption; a longer text is an article or a damaged row."""
FORMATS = ("captions", "newsclippings", "folder")
Policy = Literal["require", "skip"]

_EXAMPLES = 20
_REASONS = (
    ("caption is empty", "empty caption"),
    ("the caption has", "caption too long"),
    ("the picture has no caption|the file is empty", "picture without caption"),
    ("no picture beside", "captions without picture"),
    ("no such picture", "missing picture"),
    ("the picture has 0 bytes", "picture of 0 bytes"),
    ("the picture is too large|the picture has [0-9,]+ x [0-9,]+ pixels, more", "picture too large"),
)


@dataclass(slots=True)
class Skipped:
    """What was left out: how many pairs by reason, and what was said of the first of them."""

    pairs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, error: InputError, otherwise: str, pairs: int = 1, said: InputError | None = None) -> None:
        """Count pairs under what `error` says is wrong with them, or under `otherwise`; `said` names the place."""
        known = (reason for start, reason in _REASONS if re.match(start, error.reason))
        self.pairs[next(known, otherwise)] += pairs
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(said or error))

    def merge(self, other: Skipped) -> None:
        """Add what another has counted."""
        self.pairs += other.pairs
        self.examples = (self.examples + other.examples)[:_EXAMPLES]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the most frequent reason first."""
        counts = sorted(self.pairs.items(), key=lambda item: (-item[1], item[0]))
        return {"pairs": dict(counts), "examples": self.examples}


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A picture by its name with captions that follow each other in a set; `path` and `line` say where the first is."""

    image: str
    captions: tuple[tuple[str, bool], ...]
    path: Path
    line: int | None


def guess_format(path: Path) -> str:
    """Which of `FORMATS` the captions at `path` have.

    Raises:
        InputError: There is nothing.
    """
    if path.is_dir():
        return "folder"
    if path.suffix == ".json" and b'"annotations"' in read_bytes(path)[:10_000]:
        return "newsclippings"
    return "captions"


def iterate_named_pictures(
    path: Path, format: str, policy: Policy, falsified: bool, skipped: Skipped
) -> Iterator[NamedPicture]:
    """Yield the pictures that a set names, in its order, with their captions.

    Rows of one picture that do not follow each other come as several: a set is read in the memory of one picture
    (NewsCLIPpings, which is looked up in its base, is in memory whole and comes sorted by picture).

    Args:
        path: The file or folder of captions.
        format: One of `FORMATS`.
        policy: Whether a pair that cannot be used is raised ("require") or counted ("skip").
        falsified: Whether pairs that the set calls falsified are kept.
        skipped: Where pairs that are left out are counted.

    Raises:
        InputError: What cannot be read at all; with "require" also the first pair that cannot be used.
    """
    problems: list[InputError] | None = None if policy == "require" else []

    def usable() -> Iterator[tuple[Path, int | None, CaptionPair]]:
        for place, line, pair in _rows(path, format, problems):
            _drain(problems, skipped)
            if not falsified and not pair.matched:
                skipped.pairs["falsified pair, left out"] += 1
            elif len(pair.caption) > MAX_CAPTION:
                reason = f"the caption has {len(pair.caption):,} characters, more than {MAX_CAPTION:,}"
                error = InputError(f"{reason}: {shorten(pair.caption)}; shorten it", place, line)
                if policy == "require":
                    raise error
                skipped.add(error, "")
            else:
                yield place, line, pair
        _drain(problems, skipped)

    for image, rows in groupby(usable(), key=lambda row: row[2].image):
        first, *rest = rows
        captions = tuple((pair.caption, pair.matched) for _, _, pair in (first, *rest))
        yield NamedPicture(image, captions, first[0], first[1])


def _drain(problems: list[InputError] | None, skipped: Skipped) -> None:
    """Count what a reader has complained of, and forget it: a file of nothing but faults costs no memory."""
    for error in problems or ():
        skipped.add(error, "malformed row")
    if problems:
        problems.clear()


def _rows(path: Path, format: str, problems: list[InputError] | None) -> Iterator[tuple[Path, int | None, CaptionPair]]:
    if format == "folder":
        yield from iterate_picture_folder(path, problems)
    elif format == "newsclippings":
        by_picture: dict[str, list[CaptionPair]] = {}
        for pair in read_newsclippings(path, problems):
            by_picture.setdefault(pair.image, []).append(pair)
        yield from ((path, None, pair) for pairs in by_picture.values() for pair in pairs)
    else:
        yield from ((path, line, pair) for line, pair in iterate_captions(path, problems))
