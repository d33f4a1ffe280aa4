"""What `promu demo` hands to its report: plain figures, pictures by path, extractions as they came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from promu.errors import InputError

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the picture's width and height; what lies outside 0..1 is cut off when drawn."""

Decides = Literal["text", "picture"]
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
        by_group: F1 of the posts of each group, "text" and "picture" being what decides their labels.
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
    """A caption pair with its soft pseudo-labels: nouns for each region, relations for the whole picture."""

    image: Path
    caption: str
    matched: bool
    regions: Sequence[LabelledRegion] = ()
    relation: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class NamedBox:
    """A region of a post's picture and what a detector calls it."""

    box: Box
    label: str

    def __post_init__(self) -> None:
        check_box(self.box)


@dataclass(frozen=True, slots=True)
class ExtractedPost:
    """One unseen post and what was extracted from it.

    Attributes:
        image: The picture; None for a post without one.
        decides: Whether text or picture settles the gold labels.
        result: What `promu.extraction` gives as a dictionary: `id`, `tokens`, `entities`, `relations`.
        gold_entities: `{"start", "end", "type"}` each; a type of None is one that the gold does not tell. None where
            nobody has annotated the entities: then nothing is judged.
        gold_relations: `{"head_span", "tail_span", "type"}` each, spans as (start, end), type "None" for a pair
            known to have no relation. None, or a pair not listed, is not judged.
        regions: What the detector found in the picture.
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
