"""Where the things of a scene stand: the arrangements of two things, their gestures and shared colours; and the rest.

An arrangement is a function here and a line in `ARRANGEMENTS`; what it means is the business of a `World`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from promu.newsreel.lexicon import World
from promu.newsreel.scenes import Scene

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the image's side."""

Stroke = tuple[tuple[float, float], ...]
"""A line through points, as shares of the image's side."""

SOLO_SIDE, CLUTTER_SIDE = (0.48, 0.75), (0.15, 0.22)
"""Ranges of the longer side of a thing alone, and of a small thing beside it, as shares of the image's side."""

SIZE = {"huge": (0.74, 0.92), "large": (0.6, 0.76), "equal": (0.42, 0.58), "small": (0.28, 0.38), "tiny": (0.21, 0.27)}
"""Ranges of the longer side of a thing in an arrangement."""

MOST_OVERLAP = 0.3  # how much of the smaller of two things may lie under or over the other, where chance places them

STRETCH = 0.12  # how much wider or narrower than its kind a thing may be

MARGIN = 0.02  # what an arrangement leaves free at the edges of the image, as far as it can


@dataclass
class Layout:
    """The things of a scene and what is drawn beside their silhouettes.

    Attributes:
        boxes: Of the main things, in the order of the scene, then of the clutter.
        tail_first: Whether the second main thing is drawn before the first, so that it lies behind.
        arms: Of the thing with this number, its lines from shoulder to hand.
        cords: Lines between two things.
        matching: Whether the two main things have one colour; where not, things of one kind have different ones.
    """

    boxes: list[Box]
    tail_first: bool = False
    arms: list[tuple[int, Stroke]] = field(default_factory=list)
    cords: list[Stroke] = field(default_factory=list)
    matching: bool = False


def lay_out(scene: Scene, world: World, rng: np.random.Generator) -> Layout:
    """Places everything of a scene: by its arrangement, or where there is room."""
    aspects = [world.kind[kind].aspect * (1 - STRETCH + 2 * STRETCH * rng.random()) for kind in scene.main]
    if scene.arrangement is not None:
        return ARRANGEMENTS[scene.arrangement](*(_Thing(aspect, rng) for aspect in aspects))
    boxes = [_random_box(aspects[0], SOLO_SIDE, rng)]
    if scene.clutter is not None:
        tries = [_random_box(world.kind[scene.clutter].aspect, CLUTTER_SIDE, rng) for _ in range(12)]
        overlaps = [_overlap(box, boxes[0]) for box in tries]
        small = [number for number, overlap in enumerate(overlaps) if overlap <= MOST_OVERLAP]
        boxes.append(tries[small[0] if small else int(np.argmin(overlaps))])
    return Layout(boxes)


@dataclass
class _Thing:
    """A thing that is being placed; x to the right, y down, with the ground at y = 0 until `_fitted` moves it."""

    aspect: float
    rng: np.random.Generator
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    def sized(self, size: str) -> _Thing:
        """Give it a size of `SIZE`, standing on the ground at x = 0."""
        self.width, self.height = _sides(self.aspect, SIZE[size], self.rng)
        self.x, self.y = 0.0, -self.height
        return self

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    @property
    def box(self) -> Box:
        return self.x, self.y, self.x + self.width, self.y + self.height

    def at(self, across: float, down: float) -> tuple[float, float]:
        """The point at these shares of its box."""
        return self.x + self.width * across, self.y + self.height * down

    def centre_on(self, point: tuple[float, float]) -> None:
        self.x, self.y = point[0] - self.width / 2, point[1] - self.height / 2

    def arms_up(self) -> list[Stroke]:
        """Two raised arms in the form of a V."""
        reach = 0.34 * self.height
        return [
            (self.at(0.25, 0.36), self._hand(0.25, -reach * 0.6)),
            (self.at(0.75, 0.36), self._hand(0.75, reach * 0.6)),
        ]

    def _hand(self, across: float, out: float) -> tuple[float, float]:
        x, y = self.at(across, 0.36)
        return x + out, y - 0.48 * self.height


def _beside(head: _Thing, tail: _Thing, gap: tuple[float, float], rise: float = 0.0) -> None:
    """Puts the tail to the right of the head, a share of the narrower one apart (below 0: overlapping)."""
    tail.x = head.width + head.between(*gap) * min(head.width, tail.width)
    tail.y -= tail.between(0, 1) * rise


def _fitted(
    head: _Thing,
    tail: _Thing,
    tail_first: bool = False,
    matching: bool = False,
    arms: tuple[_Thing, ...] = (),
    cord: Stroke = (),
) -> Layout:
    """Mirrors the two or not, shrinks them if they are too large together, and moves them to a random place."""
    rng, things = head.rng, (head, tail)
    raised = [(things.index(thing), stroke) for thing in arms for stroke in thing.arms_up()]
    strokes = [*(stroke for _, stroke in raised), *([cord] if cord else [])]
    corners = [*(thing.box[:2] for thing in things), *(thing.box[2:] for thing in things)]
    points = np.array([*corners, *(point for stroke in strokes for point in stroke)])
    low, high = points.min(0), points.max(0)
    scale = min(1.0, (1 - 2 * MARGIN) / float((high - low).max()))
    room = 1 - 2 * MARGIN - scale * (high - low)
    # Things rather stand on the ground than float: heights lean towards the bottom.
    shift = MARGIN + room * (rng.random(), rng.random() ** 0.5) - scale * low
    mirrored = rng.random() < 0.5

    def moved(point: tuple[float, float]) -> tuple[float, float]:
        x, y = (float(value) for value in scale * np.array(point) + shift)
        return (1 - x if mirrored else x), y

    boxes = []
    for thing in things:
        (x0, y0), (x1, y1) = moved(thing.box[:2]), moved(thing.box[2:])
        boxes.append((min(x0, x1), y0, max(x0, x1), y1))
    return Layout(
        boxes,
        tail_first,
        [(number, tuple(map(moved, stroke))) for number, stroke in raised],
        [tuple(map(moved, cord))] if cord else [],
        matching,
    )


def _apart(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("equal"), tail.sized("equal"), (0.25, 0.7), rise=0.12)
    return _fitted(head, tail)


def _touching(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("equal"), tail.sized("equal"), (-0.5, -0.35))
    return _fitted(head, tail)


def _matching(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("equal"), tail.sized("equal"), (0.1, 0.5), rise=0.06)
    return _fitted(head, tail, matching=True)


def _cheering(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("equal"), tail.sized("equal"), (0.5, 0.8))
    return _fitted(head, tail, arms=(head, tail))


def _towering(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("huge"), tail.sized("small"), (0.05, 0.3))
    return _fitted(head, tail)


def _held(head: _Thing, tail: _Thing) -> Layout:
    tail.sized("small").centre_on(head.sized("large").at(0.95, 0.5))
    return _fitted(head, tail)


def _raised(head: _Thing, tail: _Thing) -> Layout:
    head.sized("equal")
    tail.sized("small").centre_on(head.at(0.5, -0.1))
    tail.y -= tail.height / 2
    return _fitted(head, tail, arms=(head,))


def _on_a_cord(head: _Thing, tail: _Thing) -> Layout:
    head.sized("large")
    _beside(head, tail.sized("small"), (0.5, 0.9))
    return _fitted(head, tail, cord=(head.at(0.8, 0.5), tail.at(0.4, 0.25)))


def _worn(head: _Thing, tail: _Thing) -> Layout:
    tail.sized("tiny").centre_on(head.sized("huge").at(0.5, 0.45))
    return _fitted(head, tail)


def _inside(head: _Thing, tail: _Thing) -> Layout:
    head.sized("small")
    tail.sized("huge")
    head.centre_on(tail.at(tail.between(0.4, 0.6), 0.5))
    head.y = -head.height + 0.02
    return _fitted(head, tail, tail_first=True)


def _surrounding(head: _Thing, tail: _Thing) -> Layout:
    tail.sized("small")
    head.sized("huge")
    tail.centre_on(head.at(head.between(0.4, 0.6), 0.5))
    tail.y = -tail.height + 0.02
    return _fitted(head, tail)


def _distant(head: _Thing, tail: _Thing) -> Layout:
    _beside(head.sized("huge"), tail.sized("tiny"), (0.2, 0.8))
    tail.y = head.at(0, 0.42)[1] - tail.height
    return _fitted(head, tail, tail_first=True)


def _on_top(head: _Thing, tail: _Thing) -> Layout:
    tail.sized("equal")
    head.sized("small")
    head.centre_on(tail.at(tail.between(0.4, 0.6), 0.06))
    head.y -= head.height / 2
    return _fitted(head, tail)


def _on_shoulders(head: _Thing, tail: _Thing) -> Layout:
    head.sized("equal")
    tail.sized("small").centre_on(head.at(0.5, 0.04))
    tail.y -= tail.height / 2
    return _fitted(head, tail)


ARRANGEMENTS: dict[str, Callable[[_Thing, _Thing], Layout]] = {
    "apart": _apart, "touching": _touching, "matching": _matching, "cheering": _cheering, "towering": _towering,
    "held": _held, "raised": _raised, "on a cord": _on_a_cord, "worn": _worn, "inside": _inside,
    "surrounding": _surrounding, "distant": _distant, "on top": _on_top, "on shoulders": _on_shoulders,
}  # fmt: skip
"""How head and tail of a pair can stand, of all worlds."""


def _sides(aspect: float, sides: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    longer = float(rng.uniform(*sides))
    return (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)


def _random_box(aspect: float, sides: tuple[float, float], rng: np.random.Generator) -> Box:
    width, height = _sides(aspect, sides, rng)
    x0, y0 = float((1 - width) * rng.random()), float((0.98 - height) * rng.random() ** 0.6)
    return x0, y0, x0 + width, y0 + height


def _overlap(first: Box, second: Box) -> float:
    """Intersection over the smaller of two areas."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / min(areas)
