"""What every page made of a template shares."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jinja2
from PIL import Image

from promu.corpora.images import load_image
from promu.errors import InputError


def page_templates(*packages: str) -> jinja2.Environment:
    """The templates of these packages, the first's before the second's, and of the reports.

    Names and texts come from data and are escaped; what a template asks for and is not given is an error.
    """
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in (*packages, "promu.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the image's width and height; what lies outside 0..1 is cut off when drawn."""

Decides = Literal["text", "image"]
"""What settles the labels of a post, as the corpus that made it knows."""

Candidate = tuple[str, float]
"""A noun or a relation, and its probability (0-1)."""


def check_box(box: Box) -> None:
    """Refuse a box that cannot be drawn.

    Raises:
        InputError: A corner is not finite, or the box has no area.
    """
    if len(box) != 4 or not all(math.isfinite(value) for value in box) or box[2] <= box[0] or box[3] <= box[1]:
        raise InputError(
            f"report: box {tuple(box)} cannot be drawn; it must be (x0, y0, x1, y1) with x1 > x0 and y1 > y0"
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """Micro precision, recall and F1 of one task on the test posts, all 0-100.

    Attributes:
        by_group: F1 of the posts of each group, "text" and "image" being what decides their labels.
    """

    precision: float
    recall: float
    f1: float
    by_group: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system's figures; `name` is "text-only", "from-scratch" or "promu", `seconds` its training and testing."""

    name: str
    ner: Scores
    re: Scores
    seconds: float


@dataclass(frozen=True, slots=True)
class Curves:
    """How training went.

    Attributes:
        teacher: (step, loss) of the dual encoder.
        pretraining: One mapping a logged step: `step`, and the losses by name, such as
            `{"step": 100, "itm": 0.61, "cit": 3.9, "coe": 2.8, "cir": 3.1}`.
        finetuning: (epoch, dev F1 0-100) by label; a label "promu · entities" names a system and a task.
    """

    teacher: Sequence[tuple[float, float]] = ()
    pretraining: Sequence[Mapping[str, float]] = ()
    finetuning: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TeacherQuality:
    """How well the teacher names drawn things it was never told of.

    Attributes:
        named: Share (0-1) of the crops whose top noun names the drawn thing.
        mass: Mean probability (0-1) that falls on nouns that name it.
        regions: Number of crops asked about.
        chance: `named` of a guess (0-1).
    """

    named: float
    mass: float
    regions: int
    chance: float


@dataclass(frozen=True, slots=True)
class LabelledRegion:
    """A region, what was drawn there, and the teacher's most probable nouns, best first.

    Attributes:
        names: The nouns that would be right, if known; they are marked in the report.
    """

    box: Box
    drawn: str
    labels: Sequence[Candidate]
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_box(self.box)


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A caption pair with its soft pseudo-labels: nouns for each region, relations for the whole image."""

    image: Path
    caption: str
    matched: bool
    regions: Sequence[LabelledRegion] = ()
    relation: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class NamedBox:
    """A region of a post's image and what a detector calls it."""

    box: Box
    label: str

    def __post_init__(self) -> None:
        check_box(self.box)


@dataclass(frozen=True, slots=True)
class ExtractedPost:
    """One unseen post and what was extracted from it.

    Attributes:
        image: The image; None for a post without one.
        decides: Whether text or image settles the gold labels.
        result: What `promu.extraction` gives as a dictionary: `id`, `tokens`, `entities`, `relations`.
        gold_entities: `{"start", "end", "type"}` each; a type of None is one that the gold does not tell. None where
            nobody has annotated the entities: then nothing is judged.
        gold_relations: `{"head_span", "tail_span", "type"}` each, spans as (start, end), type "None" for a pair
            known to have no relation. None, or a pair not listed, is not judged.
        regions: What the detector found in the image.
    """

    image: Path | None
    decides: Decides
    result: Mapping[str, Any]
    gold_entities: Sequence[Mapping[str, Any]] | None = None
    gold_relations: Sequence[Mapping[str, Any]] | None = None
    regions: Sequence[NamedBox] = ()


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything that the report of one demo run shows.

    Attributes:
        seed: Seed of world, teacher and models.
        seconds: Wall time of the whole run.
        systems: In the order of the tables.
        ceiling: Best F1 (0-100) that a reader of the text alone can expect in this world, by task ("ner", "re").
        curves: How training went.
        teacher: The teacher's quality; None where it was not measured.
        pairs: Some pairs with their soft labels.
        posts: Some unseen posts with what was extracted.
        command: The command that makes this report again.
    """

    seed: int
    seconds: float
    systems: Sequence[SystemResult]
    ceiling: Mapping[str, float]
    curves: Curves
    teacher: TeacherQuality | None
    pairs: Sequence[LabelledPair]
    posts: Sequence[ExtractedPost]
    command: str


def to_json(data: DemoReport) -> dict[str, Any]:
    """The figures of a run as `report.json` holds them, F1 in 0-100."""
    return {
        "seed": data.seed,
        "seconds": data.seconds,
        "systems": [
            {"name": system.name, "ner": _scores(system.ner), "re": _scores(system.re), "seconds": system.seconds}
            for system in data.systems
        ],
        "ceiling": dict(data.ceiling),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "by_group": dict(scores.by_group),
    }


MAX_SIDE = 240
"""Longest side of an embedded image, in pixels; larger ones are shrunk, smaller ones are shown as they are."""

LOSSLESS_SIDE = 64
"""Up to this side an image is stored without loss: its pixels are seen one by one."""

OVERLAY = 240.0
"""Width of the overlay's own units; its height follows from the image."""

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
    """An image ready for the page.

    Attributes:
        uri: `data:` URI of the image.
        width: Of the embedded image, in pixels.
        height: Of the embedded image, in pixels.
        alt: What the image shows, for those who do not see it.
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
    """Read an image and lay out its labelled boxes.

    Args:
        source: The image's file, or its bytes.
        alt: Its description.
        boxes: Boxes as shares of width and height, each with its label; they are numbered from 1.

    Raises:
        InputError: The image is missing, empty or broken.
    """
    image = load_image(source)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    view_height = round(OVERLAY * image.height / image.width, 1)
    return Embedded(_uri(image), image.width, image.height, alt, _tags(boxes, view_height), view_height)


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    lossless = max(image.size) <= LOSSLESS_SIDE
    # Encoding anew keeps what a camera wrote beside the pixels (place, owner) out of the report.
    image.info.clear()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=85)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _tags(boxes: Sequence[tuple[Box, str]], view_height: float) -> tuple[Tag, ...]:
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
        left, top, right, bottom, x, y, width = (round(v, 1) for v in (left, top, right, bottom, x, y, width))
        tags.append(Tag(left, top, round(right - left, 1), round(bottom - top, 1), text, x, y, width))
    return tuple(tags)


def _overlap(x: float, y: float, width: float, tag: Tag) -> bool:
    beside = x + width <= tag.tag_x or tag.tag_x + tag.tag_width <= x
    return not beside and abs(y - tag.tag_y) < _TAG_HEIGHT
