"""Regions from a COCO `instances` JSON, captions from a `captions` JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, StrictInt

from promu.corpora.fields import Caption, ImagePath, Record, RecordType, Score, Text, read_record
from promu.errors import InputError
from promu.files import fault, read_json_document, shorten
from promu.schema import CaptionPair, Region

logger = logging.getLogger(__name__)

_NO_SIZE = 1e9
"""Stands for a width or height that the file does not give."""

Value = TypeVar("Value")


def _size(value: Any) -> float:
    if type(value) not in (int, float) or value <= 0:
        raise ValueError(f"must be a positive number of pixels, found {shorten(value)}")
    return float(min(value, _NO_SIZE))


def _box(value: object) -> tuple[float, ...]:
    # The bound also refuses integers too large to become a float.
    if (
        not isinstance(value, list)
        or len(value) != 4
        or any(type(number) not in (int, float) or not -1e9 < number < 1e9 for number in value)
        or min(value[2:]) < 0
    ):
        raise ValueError(f"must be four numbers x, y, width >= 0, height >= 0, found {shorten(value)}")
    return tuple(map(float, value))


class _Entry(Record, extra="ignore"):
    """COCO has many more keys."""


class _Image(_Entry):
    id: StrictInt
    file_name: ImagePath
    width: Annotated[float, BeforeValidator(_size)] = _NO_SIZE
    height: Annotated[float, BeforeValidator(_size)] = _NO_SIZE


class _Category(_Entry):
    id: StrictInt
    name: Text


class _CaptionEntry(_Entry):
    image_id: Any
    caption: Caption


class _Annotation(_Entry):
    image_id: Any
    category_id: Any
    bbox: Annotated[tuple[float, float, float, float], BeforeValidator(_box)]
    score: Score = 1.0
    iscrowd: Any = 0


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file: its size in pixels, where the file gives it, and its regions."""

    width: float | None
    height: float | None
    regions: list[Region] = field(default_factory=list)


def read_coco(path: str | Path, problems: list[InputError] | None = None) -> dict[str, list[Region]]:
    """Image file name -> its regions (none: an empty list), as `read_coco_images` reads them."""
    return {name: image.regions for name, image in read_coco_images(path, problems).items()}


def read_coco_images(path: str | Path, problems: list[InputError] | None = None) -> dict[str, CocoImage]:
    """Read the images of a COCO file with their boxes: image file name -> size and regions, in the file's order.

    COCO's (x, y, width, height) becomes (x0, y0, x1, y1), cut at the image's edges where the file gives its size.
    Crowd annotations and boxes without area (the published COCO has a few) are left out and counted in the log. An
    annotation may carry a `score`, which is 1 by default. Problems and errors as of every reader (`promu.corpora`).
    """
    path = Path(path)
    document = read_json_document(path)
    if not isinstance(document, dict):
        names = "images, categories, annotations"
        raise InputError(f"a COCO object with {names} is expected, found {shorten(document)}", path)
    images: dict[str, CocoImage] = {}
    files: dict[int, _Image] = {}
    for what, image in _entries(document, "images", _Image, path, problems):
        first = files.setdefault(image.id, image)
        if first.file_name != image.file_name:
            fault(problems, _twice(what, image.id, first.file_name, image.file_name).at(path))
            continue
        width, height = (side if side < _NO_SIZE else None for side in (image.width, image.height))
        images.setdefault(image.file_name, CocoImage(width, height))
    labels: dict[int, str] = {}
    for what, category in _entries(document, "categories", _Category, path, problems):
        if (name := labels.setdefault(category.id, category.name)) != category.name:
            fault(problems, _twice(what, category.id, name, category.name).at(path))
    dropped = 0
    for what, annotation in _entries(document, "annotations", _Annotation, path, problems):
        try:
            image = _look_up(files, annotation.image_id, f"image_id of {what}")
            label = _look_up(labels, annotation.category_id, f"category_id of {what}")
            region = _region(annotation, image, label, what)
        except InputError as error:
            fault(problems, error.at(path))
            continue
        if region is None:
            dropped += 1
        else:
            images[image.file_name].regions.append(region)
    if dropped:
        logger.info("%s: %d crowd annotations or boxes without area left out", path, dropped)
    return images


def read_coco_captions(path: str | Path, problems: list[InputError] | None = None) -> list[CaptionPair]:
    """The caption pairs of a COCO file of captions, in its order. Problems and errors as of every reader."""
    path = Path(path)
    document = read_json_document(path)
    if not isinstance(document, dict):
        raise InputError(f"a COCO object with images and annotations is expected, found {shorten(document)}", path)
    files = {image.id: image.file_name for _, image in _entries(document, "images", _Image, path, problems)}
    pairs = []
    for what, entry in _entries(document, "annotations", _CaptionEntry, path, problems):
        try:
            pairs.append(CaptionPair(_look_up(files, entry.image_id, f"image_id of {what}"), entry.caption))
        except InputError as error:
            fault(problems, error.at(path))
    return pairs


def _entries(
    document: dict[str, Any], section: str, kind: type[RecordType], path: Path, problems: list[InputError] | None
) -> Iterator[tuple[str, RecordType]]:
    """Yield the well-formed entries of a section, each with what it is called."""
    entries = document.get(section)
    if not isinstance(entries, list):
        raise InputError(f"{section!r} must be a list; is this a COCO instances file?", path)
    for index, entry in enumerate(entries):
        try:
            yield f"{section} {index}", read_record(kind, entry, f"{section} {index}", within=True)
        except InputError as error:
            fault(problems, error.at(path))


def _twice(what: str, id: int, first: str, second: str) -> InputError:
    return InputError(f"id of {what} is {id}, which is {shorten(first)} and {shorten(second)}; give each its own")


def _look_up(table: dict[int, Value], key: object, what: str) -> Value:
    if type(key) is not int or key not in table:
        raise InputError(f"{what} is {shorten(key)}, which the file does not define")
    return table[key]


def _region(annotation: _Annotation, image: _Image, label: str, what: str) -> Region | None:
    x, y, width, height = annotation.bbox
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, image.width), min(y + height, image.height)
    if annotation.iscrowd == 1 or width == 0 or height == 0:
        return None
    if x0 >= x1 or y0 >= y1:
        box, size = list(annotation.bbox), f"{image.width:g} x {image.height:g} pixels"
        raise InputError(f"bbox of {what} lies outside its image of {size}: {box}")
    return Region((x0, y0, x1, y1), label, annotation.score)
