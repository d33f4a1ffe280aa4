"""Sets of captioned images, as CSV, JSON lines or a folder of images and text files.

`read_captions` gives caption pairs; `iterate_named_images` gives the images of a set of any of these formats, or of
NewsCLIPpings (`promu.corpora.newsclippings`), with their captions, and counts what cannot be used.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from promu.corpora.fields import IMAGE_PATH, Caption, ImagePath, Record, check_field, csv_rows, read_record
from promu.corpora.images import ENDINGS
from promu.corpora.newsclippings import is_newsclippings, read_newsclippings
from promu.errors import InputError
from promu.files import (
    fault,
    filled_lines,
    iterate_records,
    opening,
    parse_json_object,
    shorten,
)
from promu.schema import CaptionPair, MissingPairImage

MAX_CAPTION = 1000
"""Characters of a caption; a longer text is an article or a damaged row."""

FORMATS = ("captions", "newsclippings", "folder")

_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_EXAMPLES, _OF_A_KIND = 20, 5


def _truth(value: object) -> object:
    if isinstance(value, bool):
        return value
    truth = _TRUTH.get(str(value).strip().lower()) if type(value) in (str, int) else None
    if truth is None:
        raise ValueError(f"must be 1, 0, true or false, found {shorten(value)}")
    return truth


class _PairRecord(Record):
    image: ImagePath
    caption: Caption
    matched: Annotated[bool, BeforeValidator(_truth)] = True


def read_captions(path: str | Path, problems: list[InputError] | None = None) -> list[CaptionPair]:
    """Read caption pairs; the first character decides between JSON lines and CSV.

    `image` is a path relative to the folder of images; `matched` is 1/0 or true/false and true where there is no such
    column. Problems and errors as of every reader (`promu.corpora`); a wrong header is an error.
    """
    return [pair for _, pair in iterate_captions(path, problems)]


def iterate_captions(path: str | Path, problems: list[InputError] | None = None) -> Iterator[tuple[int, CaptionPair]]:
    """Yield (first line of the row, pair) as `read_captions` reads them, in the memory of a row."""
    path = Path(path)
    if opening(path).startswith(("{", "[")):
        lines = filled_lines(path, problems)
        return iterate_records(path, problems, lines, lambda line: _pair(parse_json_object(line)), "caption pairs")
    remedy = "put captions with commas or quotation marks in quotes, quotes doubled"
    return iterate_records(path, problems, csv_rows(path, _check_header, remedy, problems), _pair, "caption pairs")


def _check_header(names: list[str]) -> None:
    columns = set(_PairRecord.model_fields)
    if not {"image", "caption"} <= set(names) <= columns or len(set(names)) < len(names):
        raise InputError(f"the first line must be image,caption or image,caption,matched, found {shorten(names)}")


def _pair(raw: object) -> CaptionPair:
    record = read_record(_PairRecord, raw, "the pair")
    return CaptionPair(record.image, record.caption, record.matched)


def iterate_image_folder(
    folder: str | Path, problems: list[InputError] | None = None
) -> Iterator[tuple[Path, int, CaptionPair]]:
    """Yield (file of captions, line, pair) in the order of the names; files with other endings are no part of the set.

    Images are named by their path in the folder. An image without captions, or captions without an image, are problems.

    Raises:
        InputError: There is no such folder, or no pair in it; without `problems` also what is wrong with a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder of images; check the path", folder)
    empty = True
    for root, folders, files in os.walk(folder):
        folders.sort()
        names = set(files)
        stems = {Path(name).stem for name in files if _is_image(name)}
        for name in sorted(files):
            path = Path(root) / name
            try:
                if _is_image(name):
                    image = check_field(IMAGE_PATH, path.relative_to(folder).as_posix(), "the image's name")
                    if f"{path.stem}.txt" not in names:
                        reason = "the image has no caption; write a text file of its name beside it"
                        raise InputError(reason, kind="image without caption")
                elif path.suffix == ".txt" and path.stem not in stems:
                    reason = "no image beside this file of captions; put it there or take the file away"
                    raise InputError(reason, kind="captions without image")
            except InputError as error:
                fault(problems, error.at(path))
                continue
            if _is_image(name):
                for captions, number, line in _captions(path.with_suffix(".txt"), problems):
                    empty = False
                    yield captions, number, CaptionPair(image, line)
    if empty:
        raise InputError(f"no image ({', '.join(ENDINGS)}) with a caption in a .txt file of its name here", folder)


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _captions(path: Path, problems: list[InputError] | None) -> Iterator[tuple[Path, int, str]]:
    try:
        for number, line in filled_lines(path, problems):
            if line is not None:
                yield path, number, line.strip()
    except InputError as error:  # an empty file, or one that cannot be read
        kind = "image without caption" if error.kind == "empty file" else error.kind
        fault(problems, InputError(error.reason, path, error.line, kind))


@dataclass(slots=True)
class Skipped:
    """What was left out: how many pairs by reason, and the first errors in full."""

    pairs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, error: InputError, pairs: int = 1) -> None:
        """Count pairs under the kind of what is wrong with them; a frequent kind leaves room for others' examples."""
        kind = error.kind or "malformed row"
        before = self.pairs[kind]
        self.pairs[kind] += pairs
        if before < _OF_A_KIND and len(self.examples) < _EXAMPLES:
            self.examples.append(str(error))

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add what another has counted, as its `to_dict` gave it."""
        self.pairs.update(other["pairs"])
        self.examples = [*self.examples, *other["examples"]][:_EXAMPLES]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the most frequent reason first."""
        counts = sorted(self.pairs.items(), key=lambda item: (-item[1], item[0]))
        return {"pairs": dict(counts), "examples": self.examples}


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image by its name with captions that follow each other in a set; `path` and `line` say where the first is."""

    image: str
    captions: tuple[tuple[str, bool], ...]
    path: Path
    line: int | None


def guess_format(path: Path) -> str:
    """Which of `FORMATS` the captions at `path` have."""
    if is_newsclippings(path):
        return "newsclippings"
    return "folder" if path.is_dir() else "captions"


def iterate_named_images(
    path: Path, format: str, policy: MissingPairImage, falsified: bool, skipped: Skipped, base: Path | None = None
) -> Iterator[NamedImage]:
    """Yield the images that a set names, in its order, with their captions.

    Rows of one image that do not follow each other come as several: a set is read in the memory of one image
    (NewsCLIPpings, which is looked up in its base, is in memory whole and comes sorted by image).

    Args:
        path: The file or folder of captions.
        format: One of `FORMATS`.
        policy: `raise` raises the first pair that cannot be used, `skip` counts it.
        falsified: Whether pairs that the set calls falsified are kept.
        skipped: Where pairs that are left out are counted.
        base: Of NewsCLIPpings, as `read_newsclippings` has it.
    """
    problems: list[InputError] | None = None if policy == "raise" else []

    def usable() -> Iterator[tuple[Path, int | None, CaptionPair]]:
        for place, line, pair in _rows(path, format, problems, base):
            _drain(problems, skipped)
            if not falsified and not pair.matched:
                skipped.pairs["falsified pair, left out"] += 1
            elif len(pair.caption) > MAX_CAPTION:
                reason = f"the caption has {len(pair.caption):,} characters, more than {MAX_CAPTION:,}"
                error = InputError(f"{reason}: {shorten(pair.caption)}; shorten it", place, line, "caption too long")
                if policy == "raise":
                    raise error
                skipped.add(error)
            else:
                yield place, line, pair
        _drain(problems, skipped)

    for image, rows in groupby(usable(), key=lambda row: row[2].image):
        places, lines, pairs = zip(*rows, strict=True)
        yield NamedImage(image, tuple((pair.caption, pair.matched) for pair in pairs), places[0], lines[0])


def _drain(problems: list[InputError] | None, skipped: Skipped) -> None:
    """Count the problems that a reader has found, and forget them: a file of nothing but faults costs no memory."""
    for error in problems or ():
        skipped.add(error)
    if problems:
        problems.clear()


def _rows(
    path: Path, format: str, problems: list[InputError] | None, base: Path | None
) -> Iterator[tuple[Path, int | None, CaptionPair]]:
    if format == "folder":
        yield from iterate_image_folder(path, problems)
    elif format == "newsclippings":
        by_image: dict[str, list[CaptionPair]] = {}
        for pair in read_newsclippings(path, problems, base=base):
            by_image.setdefault(pair.image, []).append(pair)
        yield from ((path, None, pair) for pairs in by_image.values() for pair in pairs)
    else:
        yield from ((path, line, pair) for line, pair in iterate_captions(path, problems))
