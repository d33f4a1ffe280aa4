"""Regions from a COCO `instances` JSON."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promu.corpora.captions import require_image_path
from promu.corpora.fields import require_score, require_text
from promu.errors import InputError
from promu.files import fault, read_json_document, shorten
from promu.schema import Region

logger = logging.getLogger(__name__)

_NO_SIZE = 1e9
"""Stands for a width or height that the file does not give."""

_KEYS = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "bbox"),
}


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file: its size in pixels, where the file gives it, and its regions."""

    width: float | None
    height: float | None
    regions: list[Region] = field(default_factory=list)


def read_coco(path: str | Path, problems: list[InputError] | None = None) -> dict[str, list[Region]]:
    """Read the boxes of each image; an image without a box has an empty list.

    As `read_coco_images`, the sizes left out.

    Returns:
        Image file name -> its regions, in the order of the file.
    """
    return {name: image.regions for name, image in read_coco_images(path, problems).items()}


def read_coco_images(path: str | Path, problems: list[InputError] | None = None) -> dict[str, CocoImage]:
    """Read the images of a COCO file with their boxes.

    COCO's (x, y, width, height) becomes (x0, y0, x1, y1), cut at the image's edges where the file gives its size.
    Crowd annotations and boxes without area (the published COCO has a few) are left out and counted in the log. An
    annotation may carry a `score`, which is 1 by default.

    Args:
        path: The file.
        problems: Where malformed entries go; None raises the first.

    Returns:
        Image file name -> its size and its regions, in the order of the file.

    Raises:
        InputError: the file is missing, empty or not such JSON; without `problems` also any malformed entry.
    """
    path = Path(path)
    document = read_json_document(path)
    if not isinstance(document, dict):
        raise InputError(f"a COCO object with {', '.join(_KEYS)} is expected, found {shorten(document)}", path)
    entries = {section: _section(document, section, path, problems) for section in _KEYS}
    sizes: dict[int, tuple[str, float, float]] = {}
    labels: dict[int, str] = {}
    images: dict[str, CocoImage] = {}
    for what, entry in entries["images"]:
        try:
            name = require_image_path(entry["file_name"], f"file_name of {what}")
            width, height = _size(entry, "width", what), _size(entry, "height", what)
            sizes[_id(entry["id"], what)] = (name, width, height)
            images.setdefault(name, CocoImage(_known(width), _known(height)))
        except InputError as error:
            fault(problems, error.at(path))
    for what, entry in entries["categories"]:
        try:
            labels[_id(entry["id"], what)] = require_text(entry["name"], f"name of {what}")
        except InputError as error:
            fault(problems, error.at(path))
    dropped = 0
    for what, entry in entries["annotations"]:
        try:
            image, label = (
                _look_up(table, entry[key], f"{key} of {what}")
                for key, table in (("image_id", sizes), ("category_id", labels))
            )
            region = _region(entry, image, label, what)
        except InputError as error:
            fault(problems, error.at(path))
            continue
        if region is None:
            dropped += 1
        else:
            images[image[0]].regions.append(region)
    if dropped:
        logger.info("%s: %d crowd annotations or boxes without area left out", path, dropped)
    return images


def _section(
    document: dict[str, Any], section: str, path: Path, problems: list[InputError] | None
) -> list[tuple[str, dict[str, Any]]]:
    entries = document.get(section)
    if not isinstance(entries, list):
        raise InputError(f"{section!r} must be a list; is this a COCO instances file?", path)
    good = []
    for index, entry in enumerate(entries):
        what = f"{section} {index}"
        missing = [key for key in _KEYS[section] if key not in entry] if isinstance(entry, dict) else []
        if not isinstance(entry, dict):
            fault(problems, InputError(f"{what} must be an object, found {shorten(entry)}", path))
        elif missing:
            fault(problems, InputError(f"{what} lacks {', '.join(missing)}", path))
        else:
            good.append((what, entry))
    return good


def _id(value: object, what: str) -> int:
    if type(value) is not int:
        raise InputError(f"id of {what} must be an integer, found {shorten(value)}")
    return value


def _size(entry: dict[str, Any], key: str, what: str) -> float:
    value = entry.get(key, math.inf)
    if type(value) not in (int, float) or value <= 0:
        raise InputError(f"{key} of {what} must be a positive number of pixels, found {shorten(value)}")
    return float(min(value, _NO_SIZE))


def _known(size: float) -> float | None:
    return size if size < _NO_SIZE else None


def _look_up(table: dict[int, Any], value: object, what: str) -> Any:
    if type(value) is not int or value not in table:
        raise InputError(f"{what} is {shorten(value)}, which the file does not define")
    return table[value]


def _region(entry: dict[str, Any], image: tuple[str, float, float], label: str, what: str) -> Region | None:
    box = entry["bbox"]
    # The bound also refuses integers too large to become a float.
    if (
        not isinstance(box, list)
        or len(box) != 4
        or any(type(value) not in (int, float) or not -1e9 < value < 1e9 for value in box)
        or min(box[2:]) < 0
    ):
        raise InputError(f"bbox of {what} must be four numbers x, y, width >= 0, height >= 0, found {shorten(box)}")
    score = require_score(entry.get("score", 1.0), f"score of {what}")
    x, y, width, height = (float(value) for value in box)
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, image[1]), min(y + height, image[2])
    if entry.get("iscrowd") == 1 or width == 0 or height == 0:
        return None
    if x0 >= x1 or y0 >= y1:
        raise InputError(f"bbox of {what} lies outside its image of {image[1]:g} x {image[2]:g} pixels: {box}")
    return Region((x0, y0, x1, y1), label, score)
