"""What a small detector would find in a drawn image: it misses things, gives wrong names, and sees what is not there.

The rates are those of a real one, YOLOX-nano at a confidence of .3 on 80 COCO photographs with 731 things; a thing
counts as found by a box with an intersection over union of at least .5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promu.newsreel.drawing import DrawnThing
from promu.newsreel.lexicon import World, pick

MISSED = ((0.15, 0.86), (0.3, 0.61), (0.5, 0.43), (0.75, 0.29), (1.0, 0.13))
"""Up to which longer side, as a share of the image's, what share of the things is not found."""

WRONG_KIND = 0.06  # share of the things found that are taken for another kind

PART = 0.11  # boxes a thing that hold a part of it only

FALSE_BOXES = 0.43  # boxes an image that hold no thing

EDGE_ERROR = 0.054  # mean error of each edge of a box, as a share of the box's side

RIGHT_SCORES, WRONG_SCORES = (0.35, 0.95), (0.3, 0.7)
"""Ranges of the confidence in boxes that hold what they are said to hold, and in others."""


@dataclass(frozen=True)
class Detection:
    """A box (x, y, width, height) in whole pixels, inside the image, said to hold a thing of a kind."""

    kind: str
    box: tuple[int, int, int, int]
    score: float


def gold(things: Sequence[DrawnThing]) -> list[Detection]:
    """What a perfect detector finds."""
    return [Detection(thing.kind, thing.box, 1.0) for thing in things]


def detect(things: Sequence[DrawnThing], world: World, rng: np.random.Generator, size: int) -> list[Detection]:
    """What the detector finds in an image of `size` pixels, most confident first; there may be nothing."""
    names = [kind.name for kind in world.kinds]
    found = []
    for thing in things:
        x, y, width, height = thing.box
        if rng.random() < PART:
            down, part = round(height * float(rng.uniform(0, 0.6))), max(2, round(height * 0.4))
            found.append(_detection(thing.kind, (x, min(y + down, size - part), width, part), WRONG_SCORES, rng))
        if rng.random() < next(rate for limit, rate in MISSED if max(width, height) / size <= limit):
            continue
        wrong = rng.random() < WRONG_KIND
        kind = pick(rng, [name for name in names if name != thing.kind]) if wrong else thing.kind
        scores = WRONG_SCORES if wrong else RIGHT_SCORES
        found.append(_detection(kind, _shifted(thing.box, size, rng), scores, rng))
    for _ in range(int(rng.poisson(FALSE_BOXES))):
        width, height = (max(4, round(float(side) * size)) for side in rng.uniform(0.15, 0.6, 2))
        x, y = (round(float(rng.random()) * (size - side)) for side in (width, height))
        found.append(_detection(pick(rng, names), (x, y, width, height), WRONG_SCORES, rng))
    return sorted(found, key=lambda one: -one.score)


def _detection(
    kind: str, box: tuple[int, int, int, int], scores: tuple[float, float], rng: np.random.Generator
) -> Detection:
    return Detection(kind, box, round(float(rng.uniform(*scores)), 3))


def _shifted(box: tuple[int, int, int, int], size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box with each edge moved, clipped to the image."""
    x, y, width, height = box
    edges = np.array([x, y, x + width, y + height]) + rng.laplace(0, EDGE_ERROR, 4) * (width, height, width, height)
    x0, y0, x1, y1 = (int(min(size, max(0, round(float(edge))))) for edge in edges)
    x0, y0 = min(x0, size - 2), min(y0, size - 2)
    return x0, y0, max(2, x1 - x0), max(2, y1 - y0)


def held(box: Sequence[float], things: Sequence[tuple[str, Sequence[float]]]) -> str | None:
    """The kind of the thing that a box (x0, y0, x1, y1) holds: the one that it overlaps most, if by half (IoU)."""
    best = max(((_iou(box, other), kind) for kind, other in things), default=(0.0, ""))
    return best[1] if best[0] >= 0.5 else None


def _iou(first: Sequence[float], second: Sequence[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (sum(areas) - width * height)
