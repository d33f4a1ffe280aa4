"""Caption pairs as `image,caption[,matched]` CSV with a header, or as JSON lines with the same keys."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from promu.corpora.fields import csv_rows, require_keys, require_text
from promu.errors import InputError
from promu.files import (
    fault,
    filled_lines,
    iterate_json_list,
    iterate_records,
    locate_records,
    parse_json_object,
    read_bytes,
    read_json_document,
    read_text,
    shorten,
)
from promu.schema import CaptionPair, MissingPairImage

_REQUIRED = ("image", "caption")
_OPTIONAL = ("matched",)
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_captions(path: str | Path, problems: list[InputError] | None = None) -> list[CaptionPair]:
    """Read caption pairs; the first character tells JSON lines from CSV.

    Args:
        path: The file. `image` is a path relative to the folder of images; `matched` is 1/0 or true/false and
            true where there is no such column.
        problems: Where malformed rows go; None raises the first.

    Raises:
        InputError: the file is missing or empty, holds no pair, or its header is wrong; without `problems` also any
            malformed row.
    """
    return [pair for _, pair in iterate_captions(path, problems)]


def iterate_captions(path: str | Path, problems: list[InputError] | None = None) -> Iterator[tuple[int, CaptionPair]]:
    """Yield (first line of the row, pair) as `read_captions` reads them, in the memory of a row.

    Raises:
        InputError: as `read_captions`, when the reading gets there.
    """
    path = Path(path)
    if is_json_lines(path):
        lines = filled_lines(path, problems)
        return iterate_records(path, problems, lines, lambda line: _pair(parse_json_object(line)), "caption pairs")
    rows = csv_rows(
        path, _check_header, "put captions with commas or quotation marks in quotes, quotes doubled", problems
    )
    return iterate_records(path, problems, rows, _pair, "caption pairs")


def is_json_lines(path: Path) -> bool:
    """Whether the first character of a file of captions is that of a JSON object, or a JSON list's."""
    # A line that is not UTF-8 cannot tell; the pass that reads the records reports it.
    head = next((line for _, line in filled_lines(path, []) if line is not None), "")
    return head.lstrip().startswith(("{", "["))


def require_image_path(value: object, what: str) -> str:
    """An image's path below the folder of images; a leading ./ is dropped.

    Raises:
        InputError: not a path, absolute, or climbing out of the folder.
    """
    image = require_text(value, what)
    while image.startswith("./"):
        image = image[2:]
    if not image or image.startswith("/") or ".." in image.replace("\\", "/").split("/") or "\n" in image:
        raise InputError(f"{what} must be a path inside the folder of images, found {shorten(value)}")
    return image


def _check_header(names: list[str]) -> None:
    wrong = [name for name in names if name not in _REQUIRED + _OPTIONAL]
    if wrong or len(set(names)) < len(names) or not set(_REQUIRED) <= set(names):
        raise InputError(f"the first line must be image,caption or image,caption,matched, found {shorten(names)}")


def _pair(raw: object) -> CaptionPair:
    record = require_keys(raw, _REQUIRED, _OPTIONAL, "the pair")
    return CaptionPair(
        require_image_path(record["image"], "image"),
        require_text(record["caption"], "caption").strip(),
        _truth(record.get("matched", True)),
    )


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    found = _TRUTH.get(str(value).strip().lower()) if type(value) in (str, int) else None
    if found is None:
        raise InputError(f"matched must be 1, 0, true or false, found {shorten(value)}")
    return found


IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")


def iterate_image_folder(
    folder: str | Path, problems: list[InputError] | None = None
) -> Iterator[tuple[Path, int, CaptionPair]]:
    """Yield (file of captions, line, pair) in the order of the names; files with other endings are no part of the set.

    Args:
        folder: The folder; images are named by their path in it.
        problems: Where an image without captions, or captions without an image, go; None raises the first.

    Raises:
        InputError: There is no such folder, or no pair in it; without `problems` also what is wrong with a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder of images; check the path", folder)
    seen = False
    for root, folders, files in os.walk(folder):
        folders.sort()
        names = set(files)
        stems = {Path(name).stem for name in files if _is_image(name)}
        for name in sorted(files):
            path = Path(root) / name
            try:
                if _is_image(name):
                    image = require_image_path(path.relative_to(folder).as_posix(), "the image's name")
                    if f"{path.stem}.txt" not in names:
                        raise InputError(
                            "the image has no caption; write a text file of its name beside it",
                            kind="image without caption",
                        )
                elif path.suffix == ".txt" and path.stem not in stems:
                    raise InputError(
                        "no image beside this file of captions; put it there or take the file away",
                        kind="captions without image",
                    )
            except InputError as error:
                fault(problems, error.at(path))
                continue
            if _is_image(name):
                for captions, number, line in _captions(path.with_suffix(".txt"), problems):
                    seen = True
                    yield captions, number, CaptionPair(image, line)
    if not seen:
        raise InputError(f"no image ({', '.join(IMAGES)}) with a caption in a .txt file of its name here", folder)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGES)


def _captions(path: Path, problems: list[InputError] | None) -> Iterator[tuple[Path, int, str]]:
    try:
        for number, line in filled_lines(path, problems):
            if line is not None:
                yield path, number, line.strip()
    except InputError as error:  # an empty file, or one that cannot be read
        kind = "image without caption" if error.kind == "empty file" else error.kind
        fault(problems, InputError(error.reason, error.path, error.line, kind))


BASE_NAME = "data.json"


def read_newsclippings(
    path: str | Path, problems: list[InputError] | None = None, *, base: str | Path | None = None
) -> list[CaptionPair]:
    """Read an annotation file as caption pairs; `matched` is the opposite of `falsified`.

    Args:
        path: The annotation file.
        problems: Where malformed annotations and base entries go; None raises the first.
        base: The VisualNews base; by default `data.json` beside the annotation file.

    Raises:
        InputError: either file is missing, empty or not such JSON; without `problems` also any malformed entry, or an
            annotation whose ids the base does not have.
    """
    path = Path(path)
    base = path.parent / BASE_NAME if base is None else Path(base)
    annotations = read_json_document(path)
    listed = annotations.get("annotations") if isinstance(annotations, dict) else None
    if not isinstance(listed, list):
        raise InputError(f'{{"annotations": [...]}} is expected, found {shorten(annotations)}', path)
    if not base.exists():
        raise InputError("the VisualNews base is missing; put it beside the annotations or name it", base)
    entries = _read_base(base, problems)

    def pair(numbered: tuple[int, object]) -> CaptionPair:
        index, record = numbered
        return _pair_newsclippings(record, f"annotation {index}", entries)

    # The position in the list names the record: these files are a single line.
    return locate_records(path, problems, ((1, item) for item in enumerate(listed)), pair, "annotations")


def _read_base(path: Path, problems: list[InputError] | None) -> dict[str, tuple[str, str]]:
    text = read_text(path)
    if not text.lstrip().startswith("["):
        raise InputError("the VisualNews base must be a JSON list", path)
    pairs = locate_records(path, problems, _elements(text, path, problems), _entry, "entries")
    return {key: (caption, image) for key, caption, image in pairs}


def _elements(
    text: str, path: Path, problems: list[InputError] | None
) -> Iterator[tuple[int, tuple[int, object] | None]]:
    count = 0
    try:
        for line, value in iterate_json_list(text):
            yield line, (count, value)
            count += 1
    except InputError as error:
        fault(problems, error.at(path, error.line))
        yield error.line or 1, None


def _entry(numbered: tuple[int, object]) -> tuple[str, str, str]:
    index, value = numbered
    what = f"base entry {index}"
    record = _with_keys(value, ("id", "caption", "image_path"), what)
    return (
        _key(record["id"], f"id of {what}"),
        require_text(record["caption"], f"caption of {what}").strip(),
        require_image_path(record["image_path"], f"image_path of {what}"),
    )


def _pair_newsclippings(value: object, what: str, entries: dict[str, tuple[str, str]]) -> CaptionPair:
    record = _with_keys(value, ("id", "image_id", "falsified"), what)
    keys = [_key(record[name], f"{name} of {what}") for name in ("id", "image_id")]
    for key in keys:
        if key not in entries:
            raise InputError(f"{what} names {shorten(key)}, which the VisualNews base does not have")
    if not isinstance(record["falsified"], bool):
        raise InputError(f"falsified of {what} must be true or false, found {shorten(record['falsified'])}")
    return CaptionPair(entries[keys[1]][1], entries[keys[0]][0], not record["falsified"])


def _with_keys(value: object, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} must be an object, found {shorten(value)}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise InputError(f"{what} lacks {', '.join(missing)}")
    return value


def _key(value: object, what: str) -> str:
    """Ids are numbers in one release and strings in another."""
    if type(value) is int:
        return str(value)
    return require_text(value, what)


MAX_CAPTION = 1000
"""Characters of a caption; a longer text is an article or a damaged row."""
FORMATS = ("captions", "newsclippings", "folder")

_EXAMPLES = 20


@dataclass(slots=True)
class Skipped:
    """What was left out: how many pairs by reason, and what was said of the first of them."""

    pairs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, error: InputError, pairs: int = 1) -> None:
        """Count pairs under the kind of what is wrong with them."""
        self.pairs[error.kind or "malformed row"] += pairs
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(error))

    def merge(self, other: Skipped) -> None:
        """Add what another has counted."""
        self.pairs += other.pairs
        self.examples = (self.examples + other.examples)[:_EXAMPLES]

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
    """Which of `FORMATS` the captions at `path` have.

    Raises:
        InputError: There is nothing.
    """
    if path.is_dir():
        return "folder"
    if path.suffix == ".json" and b'"annotations"' in read_bytes(path)[:10_000]:
        return "newsclippings"
    return "captions"


def iterate_named_images(
    path: Path, format: str, policy: MissingPairImage, falsified: bool, skipped: Skipped
) -> Iterator[NamedImage]:
    """Yield the images that a set names, in its order, with their captions.

    Rows of one image that do not follow each other come as several: a set is read in the memory of one image
    (NewsCLIPpings, which is looked up in its base, is in memory whole and comes sorted by image).

    Args:
        path: The file or folder of captions.
        format: One of `FORMATS`.
        policy: Whether a pair that cannot be used is raised or counted.
        falsified: Whether pairs that the set calls falsified are kept.
        skipped: Where pairs that are left out are counted.

    Raises:
        InputError: What cannot be read at all; with `raise` also the first pair that cannot be used.
    """
    problems: list[InputError] | None = None if policy == "raise" else []

    def usable() -> Iterator[tuple[Path, int | None, CaptionPair]]:
        for place, line, pair in _rows(path, format, problems):
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
        first, *rest = rows
        captions = tuple((pair.caption, pair.matched) for _, _, pair in (first, *rest))
        yield NamedImage(image, captions, first[0], first[1])


def _drain(problems: list[InputError] | None, skipped: Skipped) -> None:
    """Count what a reader has complained of, and forget it: a file of nothing but faults costs no memory."""
    for error in problems or ():
        skipped.add(error)
    if problems:
        problems.clear()


def _rows(path: Path, format: str, problems: list[InputError] | None) -> Iterator[tuple[Path, int | None, CaptionPair]]:
    if format == "folder":
        yield from iterate_image_folder(path, problems)
    elif format == "newsclippings":
        by_image: dict[str, list[CaptionPair]] = {}
        for pair in read_newsclippings(path, problems):
            by_image.setdefault(pair.image, []).append(pair)
        yield from ((path, None, pair) for pairs in by_image.values() for pair in pairs)
    else:
        yield from ((path, line, pair) for line, pair in iterate_captions(path, problems))
