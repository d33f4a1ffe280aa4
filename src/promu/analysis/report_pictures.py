"""Pictures inside the page: as data URIs, with the boxes and labels that are drawn over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from promu.analysis.report_data import Box
from promu.corpora.pictures import load_picture

MAX_SIDE = 240
"""Longest side of an embedded picture, in pixels; larger ones are shrunk, smaller ones are shown as they are."""

LOSSLESS_SIDE = 64
"""Up to this side a picture is stored without loss: its pixels are seen one by one."""

OVERLAY = 240.0
"""Width of the overlay's own units; its height follows from the picture."""

_CHARACTER = 6.4
_TAG_HEIGHT = 17.0


@dataclass(frozen=True, slots=True)
class Tag:
    """One outlined box with its label, in overlay units; `tag_*` is the label's ground."""

    x: float
    y: float
    width: float
    height: float
    text: str
    tag_x: float
    tag_y: float
    tag_width: float
    tag_height: float = _TAG_HEIGHT


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture ready for the page.

    Attributes:
        uri: `data:` URI of the picture.
        width: Of the embedded picture, in pixels.
        height: Of the embedded picture, in pixels.
        alt: What the picture shows, for those who do not see it.
        tags: The boxes over it.
        view_height: Height of the overlay; its width is `OVERLAY`.
    """

    uri: str
    width: int
    height: int
    alt: str
    tags: tuple[Tag, ...]
    view_height: float


def embed(source: Path | bytes, alt: str, boxes: Sequence[tuple[Box, str]] = ()) -> Embedded:
    """Read a picture and lay out its labelled boxes.

    Args:
        source: The picture's file, or its bytes.
        alt: Its description.
        boxes: Boxes as shares of width and height, each with its label; they are numbered from 1.

    Raises:
        InputError: The picture is missing, empty or broken.
    """
    picture = load_picture(source)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    view_height = round(OVERLAY * picture.height / picture.width, 1)
    return Embedded(_uri(picture), picture.width, picture.height, alt, _tags(boxes, view_height), view_height)


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    lossless = max(picture.size) <= LOSSLESS_SIDE
    # Encoding anew keeps what a camera wrote beside the pixels (place, owner) out of the report.
    picture.info.clear()
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=85)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _tags(boxes: Sequence[tuple[Box, str]], view_height: float) -> tuple[Tag, ...]:
    tags: list[Tag] = []
    for number, ((x0, y0, x1, y1), label) in enumerate(boxes, start=1):
        # Half the outline's width is kept inside, so that a box along the picture's edge stays visible.
        left, right = (min(max(value * OVERLAY, 1.5), OVERLAY - 1.5) for value in (x0, x1))
        top, bottom = (min(max(value * view_height, 1.5), view_height - 1.5) for value in (y0, y1))
        text = f"{number} {label}" if label else str(number)
        width = min(_CHARACTER * len(text) + 10, OVERLAY)
        x = min(max(left - 1, 0), OVERLAY - width)
        # Above the box; else inside its upper edge; else below it; else inside its lower edge.
        places = [top - _TAG_HEIGHT, top, bottom, bottom - _TAG_HEIGHT]
        inside = [y for y in places if 0 <= y <= view_height - _TAG_HEIGHT] or [0.0]
        y = next((y for y in inside if not any(_overlap(x, y, width, tag) for tag in tags)), inside[0])
        left, top, right, bottom, x, y, width = (round(v, 1) for v in (left, top, right, bottom, x, y, width))
        tags.append(Tag(left, top, round(right - left, 1), round(bottom - top, 1), text, x, y, width))
    return tuple(tags)


def _overlap(x: float, y: float, width: float, tag: Tag) -> bool:
    beside = x + width <= tag.tag_x or tag.tag_x + tag.tag_width <= x
    return not beside and abs(y - tag.tag_y) < _TAG_HEIGHT
