"""One XML file of boxes an image, as LabelImg and Pascal VOC write them: `<annotation>` with `size` and `object`s.

A file is read by expat with no document type allowed, so that no entity is ever expanded and nothing else is opened.
What promu does not need (`folder`, `path`, `pose`, parts of objects) is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from promu.errors import InputError
from promu.files import read_bytes, shorten
from promu.schema import Region

MAX_BYTES = 1 << 20
"""Of one file; the largest of the published ones has 6.4 KB."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML has no form for."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{1,400})?")


class NamedBox(NamedTuple):
    """A box, the name that it shows, and the line of its object."""

    name: str
    region: Region
    line: int


@dataclass(frozen=True, slots=True)
class BoxFile:
    """What a file says.

    Attributes:
        size: Width and height of the image in pixels; None where the file has none, or zeros as LabelImg writes for an
            image that it did not open.
        boxes: In the file's order, cut at the image's edges where the size is known.
        cut: How many of them were.
    """

    size: tuple[int, int] | None
    boxes: tuple[NamedBox, ...]
    cut: int = 0


def read_boxes(path: Path) -> BoxFile:
    """Read a file of boxes.

    Raises:
        InputError: The file cannot be read, is no such XML or has a document type; a size is no size; an object lacks
            its name or a side of its box; a box has no area, or lies outside the image.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise InputError(
            f"<annotation> is expected, found <{root.tag[:40]}>; is this a file of boxes?", path, root.line
        )
    size = _size(root, path)
    boxes, cut = [], 0
    for number, item in enumerate(root.all("object"), start=1):
        what = f"object {number}"
        name = item.one("name", path, what).text
        if not name.strip():
            raise InputError(f"the name of {what} is empty; name the entity that the box shows", path, item.line)
        sides = item.one("bndbox", path, what)
        x0, y0, x1, y1 = (_number(sides.one(side, path, f"the bndbox of {what}"), path) for side in _SIDES)
        if x0 >= x1 or y0 >= y1:
            found = f"xmin {x0:g}, ymin {y0:g}, xmax {x1:g}, ymax {y1:g}"
            remedy = "xmin must be less than xmax and ymin less than ymax; correct them, or remove the object"
            raise InputError(f"the box of {shorten(name)} has no area ({found}); {remedy}", path, sides.line)
        region = whole = Region((x0, y0, x1, y1))
        if size is not None:
            try:
                region = whole.within(size)
            except InputError as error:
                raise InputError(f"{shorten(name)}: {error.reason}", path, sides.line) from None
        cut += region != whole
        boxes.append(NamedBox(name, region, item.line))
    return BoxFile(size, tuple(boxes), cut)


def boxes_text(image: str, size: tuple[int, int] | None, boxes: Sequence[tuple[str, Region]]) -> str:
    """A file of boxes with their names, which `read_boxes` reads back; labels and scores are not kept.

    Raises:
        InputError: A name has a character that XML has no form for.

    >>> "<name>A&amp;amp</name>" in boxes_text("1.jpg", (640, 480), [("A&amp", Region((1.0, 2.0, 30.0, 40.0)))])
    True
    """
    lines = ["<annotation>", f"\t<filename>{escape(image)}</filename>"]
    if size is not None:
        sides = zip(("width", "height", "depth"), (*size, 3), strict=True)
        lines += ["\t<size>", *(f"\t\t<{side}>{value}</{side}>" for side, value in sides), "\t</size>"]
    for name, region in boxes:
        if match := _NO_XML.search(name):
            raise InputError(f"{shorten(name)} cannot be written as XML, which has no {match[0]!r}; write it as posts")
        lines += ["\t<object>", f"\t\t<name>{escape(name)}</name>", "\t\t<bndbox>"]
        lines += [f"\t\t\t<{side}>{_written(value)}</{side}>" for side, value in zip(_SIDES, region.box, strict=True)]
        lines += ["\t\t</bndbox>", "\t</object>"]
    return "".join(f"{line}\n" for line in [*lines, "</annotation>"])


def _written(value: float) -> str:
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")


@dataclass(slots=True)
class _Element:
    """An element that may matter: its own text without that of its children, and where it begins."""

    tag: str
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def all(self, tag: str) -> list[_Element]:
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str, path: Path, what: str) -> _Element:
        found = self.all(tag)
        if len(found) != 1:
            how = "lacks" if not found else "has more than one"
            line = found[1].line if found else self.line
            raise InputError(f"{what} {how} <{tag}>; it has one", path, line)
        return found[0]


def _parse(path: Path) -> _Element:
    data = read_bytes(path)
    if len(data) > MAX_BYTES:
        raise InputError(f"has {len(data):,} bytes, more than {MAX_BYTES:,}; is this a file of boxes?", path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    top = _Element("", 0)
    stack = [top]

    def start(tag: str, _: dict[str, str]) -> None:
        element = _Element(tag, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> None:
        reason = "has a document type, which may define entities and is never needed here; remove <!DOCTYPE …>"
        raise InputError(reason, path, parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except InputError:
        raise
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "unknown error")
        raise InputError(f"not XML ({reason}); correct it, or write it anew in UTF-8", path, error.lineno) from None
    except (LookupError, ValueError) as error:
        raise InputError(f"its encoding cannot be read ({error}); write it anew in UTF-8", path, 1) from None
    return top.children[0]


def _size(root: _Element, path: Path) -> tuple[int, int] | None:
    """The image's size; None without one, and for LabelImg's zeros."""
    found = root.all("size")
    if not found:
        return None
    size = root.one("size", path, "the file")
    sides = [_number(size.one(side, path, "the size"), path) for side in ("width", "height")]
    if sides == [0.0, 0.0]:
        return None
    if any(side < 1 or side != int(side) for side in sides):
        reason = f"the size {sides[0]:g} x {sides[1]:g} is none; give width and height in pixels, or leave it out"
        raise InputError(reason, path, size.line)
    return int(sides[0]), int(sides[1])


def _number(element: _Element, path: Path) -> float:
    text = element.text.strip()
    if not _NUMBER.fullmatch(text):
        raise InputError(f"<{element.tag}> must be a number of pixels, found {shorten(text)}", path, element.line)
    return float(text)
