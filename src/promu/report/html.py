"""What the pages share: their templates, numbers in words, and images with labelled boxes as `data:` URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.report.palette import TYPES, css_colours

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the image's width and height; what lies outside 0..1 is cut off when drawn."""

MAX_SIDE = 240
"""Longest side of an embedded image, in pixels; larger ones are shrunk, smaller ones are shown as they are."""

LOSSLESS_SIDE = 128
"""Up to this side an image is stored without loss and shown enlarged, its pixels crisp."""

OVERLAY = 240.0
"""Width of the overlay's own units; its height follows from the image."""

_CHARACTER, _TAG_HEIGHT = 6.4, 17.0


def page_templates(*packages: str) -> jinja2.Environment:
    """The templates of these packages, the first's before the second's, and of the reports.

    Names and texts come from data and are escaped. A template that uses a name without a value is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in (*packages, "promu.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": signed, "duration": duration, "percent": percent}
    environment.globals |= {"css_colours": css_colours, "types": tuple(TYPES)}
    return environment


def signed(points: float) -> str:
    """A difference with its sign: "+7.1", "−0.4" (a true minus), "±0.0"."""
    text = f"{abs(points):.1f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if points > 0 else '−'}{text}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "7 min 12 s", "1 h 4 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share as whole percent, with "< 1 %" and "> 99 %" where rounding would give 0 or 100."""
    if 0 < share < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 < share < 1 else f"{100 * share:.0f} %"


def check_box(box: Box) -> None:
    """Raise InputError for a box that cannot be drawn: a corner is not finite, or it has no area."""
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
        remedy = "it must be (x0, y0, x1, y1) with x1 > x0 and y1 > y0"
        raise InputError(f"report: box {tuple(box)} cannot be drawn; {remedy}")


class Tag(NamedTuple):
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


class Embedded(NamedTuple):
    """An image ready for the page, `alt` in words, with the boxes over it; `view_height` is the overlay's."""

    uri: str
    width: int
    height: int
    alt: str
    tags: list[Tag]
    view_height: float

    @property
    def crisp(self) -> bool:
        """Whether it is so small that its pixels are shown as squares."""
        return max(self.width, self.height) <= LOSSLESS_SIDE


def embed(
    source: Path | bytes | Image.Image, alt: str, boxes: Sequence[tuple[Box, str]] = (), side: int = MAX_SIDE
) -> Embedded:
    """Read an image and lay out its labelled boxes, numbered from 1; `side` is its longest on the page, in pixels.

    Raises:
        InputError: The image is missing, empty or broken.
    """
    image = source if isinstance(source, Image.Image) else load_image(source)
    image.thumbnail((side, side))
    view_height = round(OVERLAY * image.height / image.width, 1)
    return Embedded(data_uri(image), image.width, image.height, alt, _tags(boxes, view_height), view_height)


def data_uri(image: Image.Image) -> str:
    """The image as a `data:` URI: PNG up to `LOSSLESS_SIDE`, else JPEG."""
    buffer = io.BytesIO()
    kind = "png" if max(image.size) <= LOSSLESS_SIDE else "jpeg"
    image.info.clear()  # a camera's notes (place, owner) stay out of the page
    image.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _tags(boxes: Sequence[tuple[Box, str]], view_height: float) -> list[Tag]:
    tags: list[Tag] = []
    for number, ((x0, y0, x1, y1), label) in enumerate(boxes, start=1):
        # Half the outline's width is kept inside, so that a box along the image's edge stays visible.
        left, right = (min(max(value * OVERLAY, 1.5), OVERLAY - 1.5) for value in (x0, x1))
        top, bottom = (min(max(value * view_height, 1.5), view_height - 1.5) for value in (y0, y1))
        text = f"{number} {label}" if label else str(number)
        width = min(_CHARACTER * len(text) + 10, OVERLAY)
        x = min(max(left - 1, 0), OVERLAY - width)
        # Above the box; else inside its upper edge; else below it; else inside its lower edge.
        places = [top - _TAG_HEIGHT, top, bottom, bottom - _TAG_HEIGHT]
        inside = [y for y in places if 0 <= y <= view_height - _TAG_HEIGHT] or [0.0]
        y = next((y for y in inside if not any(_overlap(x, y, width, tag) for tag in tags)), inside[0])
        corners = (left, top, right, bottom, x, y, width)
        left, top, right, bottom, x, y, width = (round(value, 1) for value in corners)
        tags.append(Tag(left, top, round(right - left, 1), round(bottom - top, 1), text, x, y, width))
    return tags


def _overlap(x: float, y: float, width: float, tag: Tag) -> bool:
    beside = x + width <= tag.tag_x or tag.tag_x + tag.tag_width <= x
    return not beside and abs(y - tag.tag_y) < _TAG_HEIGHT
