"""How each kind of thing is drawn: silhouettes in a unit box, in a typical colour.

A silhouette is a function of a `Pen` (which maps the unit square, x right and y down, to the thing's box) and
the thing's colours. Shapes are few and large, because an image may be no more than 48 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from promu.newsreel.lexicon import Colour, World, pick
from promu.newsreel.scenes import Scene

WHITE: Colour = (245, 245, 245)
DARK: Colour = (35, 30, 35)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` darkened (factor below 1) or lightened (above 1)."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def jittered(colour: Colour, by: int, rng: np.random.Generator) -> Colour:
    """`colour` with each channel moved by at most `by`."""
    shift = rng.random(3) * (2 * by) - by
    red, green, blue = (int(min(255, max(0, channel + move))) for channel, move in zip(colour, shift, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Paint:
    """The colours of one drawn thing: `main` is the jittered colour of its kind, skin and hair are for persons."""

    main: Colour
    skin: Colour
    hair: Colour


class Pen:
    """Draws in the unit square of one thing's box, mirrored left to right if asked.

    Args:
        draw: The canvas.
        box: (x0, y0, x1, y1) in canvas pixels.
        mirror: Whether to swap left and right.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], mirror: bool) -> None:
        x0, y0, x1, y1 = box
        self._draw = draw
        self._x, self._y = (x1, y0) if mirror else (x0, y0)
        self._w, self._h = (x0 - x1 if mirror else x1 - x0), y1 - y0
        self._unit = min(x1 - x0, y1 - y0)

    def _points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(self._x + self._w * x, self._y + self._h * y) for x, y in points]

    def _corners(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        (ax, ay), (bx, by) = self._points([(x0, y0), (x1, y1)])
        return min(ax, bx), ay, max(ax, bx), by

    def poly(self, fill: Colour, *points: tuple[float, float]) -> None:
        """A filled polygon."""
        self._draw.polygon(self._points(points), fill=fill)

    def rect(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """A filled upright rectangle."""
        self._draw.rectangle(self._corners(x0, y0, x1, y1), fill=fill)

    def oval(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """A filled ellipse."""
        self._draw.ellipse(self._corners(x0, y0, x1, y1), fill=fill)

    def hoop(self, colour: Colour, width: float, x0: float, y0: float, x1: float, y1: float) -> None:
        """The outline of an ellipse, `width` as a share of the box's shorter side."""
        thick = max(1, round(width * self._unit))
        self._draw.ellipse(self._corners(x0, y0, x1, y1), outline=colour, width=thick)

    def line(self, colour: Colour, width: float, *points: tuple[float, float]) -> None:
        """A line through `points`, `width` as a share of the box's shorter side."""
        self._draw.line(self._points(points), fill=colour, width=max(1, round(width * self._unit)))


def _woman(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.hair, (0.28, 0.03), (0.72, 0.03), (0.86, 0.42), (0.14, 0.42))
    pen.oval(paint.hair, 0.22, 0.0, 0.78, 0.26)
    pen.oval(paint.skin, 0.33, 0.04, 0.67, 0.25)
    pen.line(paint.skin, 0.13, (0.36, 0.32), (0.08, 0.56))
    pen.line(paint.skin, 0.13, (0.64, 0.32), (0.92, 0.56))
    pen.rect(paint.skin, 0.34, 0.8, 0.45, 1.0)
    pen.rect(paint.skin, 0.55, 0.8, 0.66, 1.0)
    pen.poly(paint.main, (0.32, 0.26), (0.68, 0.26), (0.64, 0.5), (1.0, 0.86), (0.0, 0.86), (0.36, 0.5))


def _man(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.skin, 0.3, 0.01, 0.7, 0.22)
    pen.rect(paint.hair, 0.3, 0.0, 0.7, 0.07)
    pen.rect(paint.main, 0.02, 0.24, 0.98, 0.35)
    pen.rect(paint.main, 0.02, 0.3, 0.17, 0.58)
    pen.rect(paint.main, 0.83, 0.3, 0.98, 0.58)
    pen.rect(paint.main, 0.22, 0.24, 0.78, 0.6)
    pen.poly(WHITE, (0.36, 0.24), (0.64, 0.24), (0.5, 0.46))
    pen.rect(shade(paint.main, 0.6), 0.22, 0.58, 0.46, 1.0)
    pen.rect(shade(paint.main, 0.6), 0.54, 0.58, 0.78, 1.0)


def _child(pen: Pen, paint: Paint) -> None:
    pen.line(paint.skin, 0.13, (0.05, 0.42), (0.35, 0.6), (0.65, 0.6), (0.95, 0.42))
    pen.rect(paint.main, 0.28, 0.48, 0.72, 0.84)
    pen.rect(paint.skin, 0.3, 0.84, 0.44, 1.0)
    pen.rect(paint.skin, 0.56, 0.84, 0.7, 1.0)
    pen.oval(paint.skin, 0.12, 0.02, 0.88, 0.5)
    pen.poly(paint.main, (0.12, 0.2), (0.5, 0.0), (0.88, 0.2), (1.0, 0.22), (0.12, 0.22))
    pen.rect(DARK, 0.3, 0.27, 0.4, 0.34)
    pen.rect(DARK, 0.6, 0.27, 0.7, 0.34)


def _player(pen: Pen, paint: Paint) -> None:
    pen.line(paint.skin, 0.14, (0.28, 0.32), (0.06, 0.06))
    pen.line(paint.skin, 0.14, (0.72, 0.32), (0.96, 0.5))
    pen.line(paint.skin, 0.16, (0.38, 0.7), (0.1, 0.94))
    pen.line(paint.skin, 0.16, (0.62, 0.7), (0.9, 0.9))
    pen.rect(DARK, 0.0, 0.92, 0.2, 1.0)
    pen.rect(DARK, 0.82, 0.86, 1.0, 0.95)
    pen.oval(paint.skin, 0.34, 0.02, 0.66, 0.22)
    pen.rect(paint.hair, 0.36, 0.01, 0.64, 0.07)
    pen.poly(paint.main, (0.2, 0.22), (0.8, 0.22), (0.74, 0.56), (0.26, 0.56))
    pen.rect(WHITE, 0.42, 0.28, 0.58, 0.5)
    pen.poly(WHITE, (0.26, 0.56), (0.74, 0.56), (0.84, 0.74), (0.5, 0.68), (0.16, 0.74))


def _soldier(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.skin, 0.32, 0.05, 0.68, 0.25)
    pen.poly(shade(paint.main, 0.75), (0.16, 0.14), (0.26, 0.02), (0.5, 0.0), (0.74, 0.02), (0.84, 0.14))
    pen.rect(paint.main, 0.14, 0.25, 0.86, 0.62)
    pen.rect(DARK, 0.14, 0.53, 0.86, 0.58)
    pen.rect(paint.main, 0.2, 0.62, 0.46, 0.9)
    pen.rect(paint.main, 0.54, 0.62, 0.8, 0.9)
    pen.rect(DARK, 0.16, 0.88, 0.47, 1.0)
    pen.rect(DARK, 0.53, 0.88, 0.84, 1.0)
    pen.line(DARK, 0.13, (0.02, 0.62), (0.98, 0.12))


def _crest(pen: Pen, paint: Paint) -> None:
    gold = (240, 205, 80)
    pen.poly(gold, (0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.82, 0.8), (0.5, 1.0), (0.18, 0.8), (0.0, 0.5))
    pen.poly(paint.main, (0.09, 0.08), (0.91, 0.08), (0.91, 0.48), (0.75, 0.75), (0.5, 0.9), (0.25, 0.75), (0.09, 0.48))
    pen.rect(gold, 0.42, 0.08, 0.58, 0.86)
    pen.rect(gold, 0.09, 0.3, 0.91, 0.44)


def _jersey(pen: Pen, paint: Paint) -> None:
    pen.poly(
        paint.main,
        (0.25, 0.0), (0.75, 0.0), (1.0, 0.25), (0.86, 0.46), (0.75, 0.36), (0.75, 1.0), (0.25, 1.0), (0.25, 0.36),
        (0.14, 0.46), (0.0, 0.25),
    )  # fmt: skip
    pen.poly(shade(paint.main, 0.4), (0.38, 0.0), (0.62, 0.0), (0.5, 0.16))
    pen.rect(WHITE, 0.25, 0.48, 0.75, 0.66)


def _flag(pen: Pen, paint: Paint) -> None:
    for top, fill in ((0.02, paint.main), (0.21, WHITE), (0.4, paint.main)):
        low = top + 0.2
        pen.poly(fill, (0.06, top), (0.38, top - 0.02), (0.7, top + 0.06), (1.0, top),
                 (1.0, low), (0.7, low + 0.06), (0.38, low - 0.02), (0.06, low))  # fmt: skip
    pen.rect((110, 80, 50), 0.0, 0.0, 0.09, 1.0)


def _tower(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.46, 0.0), (0.54, 0.0), (0.64, 0.45), (1.0, 1.0), (0.72, 1.0), (0.5, 0.72), (0.28, 1.0),
             (0.0, 1.0), (0.36, 0.45))  # fmt: skip
    dark = shade(paint.main, 0.6)
    pen.rect(dark, 0.3, 0.4, 0.7, 0.46)
    pen.rect(dark, 0.18, 0.64, 0.82, 0.71)
    pen.rect(dark, 0.4, 0.2, 0.6, 0.25)


def _mountain(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.75), (0.35, 1.0), (0.72, 0.25), (1.0, 1.0))
    pen.poly(paint.main, (0.0, 1.0), (0.4, 0.0), (0.78, 1.0))
    pen.poly(WHITE, (0.26, 0.35), (0.4, 0.0), (0.53, 0.35), (0.45, 0.28), (0.39, 0.42), (0.33, 0.28))
    pen.poly(WHITE, (0.66, 0.4), (0.72, 0.25), (0.78, 0.4))


def _bridge(pen: Pen, paint: Paint) -> None:
    for left, low, right in ((0.0, 0.58, 0.22), (0.22, 0.58, 0.78), (0.78, 0.58, 1.0)):
        ends = (0.58 if left == 0.0 else 0.08), (0.58 if right == 1.0 else 0.08)
        pen.line(paint.main, 0.06, (left, ends[0]), ((left + right) / 2, low if right - left > 0.5 else 0.36),
                 (right, ends[1]))  # fmt: skip
    pen.rect(paint.main, 0.0, 0.58, 1.0, 0.74)
    pen.rect(shade(paint.main, 0.75), 0.17, 0.0, 0.27, 1.0)
    pen.rect(shade(paint.main, 0.75), 0.73, 0.0, 0.83, 1.0)


def _castle(pen: Pen, paint: Paint) -> None:
    dark = shade(paint.main, 0.8)
    pen.rect(paint.main, 0.1, 0.45, 0.9, 1.0)
    for left in (0.3, 0.46, 0.62):
        pen.rect(paint.main, left, 0.35, left + 0.09, 0.46)
    for left in (0.0, 0.72):
        pen.rect(dark, left, 0.14, left + 0.28, 1.0)
        for merlon in (0.0, 0.11, 0.21):
            pen.rect(dark, left + merlon, 0.0, left + merlon + 0.07, 0.15)
        pen.rect(DARK, left + 0.11, 0.3, left + 0.17, 0.46)
    pen.oval(DARK, 0.37, 0.58, 0.63, 0.9)
    pen.rect(DARK, 0.37, 0.74, 0.63, 1.0)


def _trophy(pen: Pen, paint: Paint) -> None:
    pen.hoop(paint.main, 0.09, 0.0, 0.06, 0.44, 0.42)
    pen.hoop(paint.main, 0.09, 0.56, 0.06, 1.0, 0.42)
    pen.poly(paint.main, (0.18, 0.0), (0.82, 0.0), (0.78, 0.34), (0.58, 0.58), (0.42, 0.58), (0.22, 0.34))
    pen.rect(shade(paint.main, 1.3), 0.28, 0.05, 0.38, 0.34)
    pen.rect(paint.main, 0.43, 0.55, 0.57, 0.8)
    pen.rect((95, 60, 40), 0.22, 0.8, 0.78, 1.0)


def _medal(pen: Pen, paint: Paint) -> None:
    pen.poly((205, 40, 50), (0.05, 0.0), (0.38, 0.0), (0.62, 0.5), (0.4, 0.55))
    pen.poly((45, 80, 190), (0.95, 0.0), (0.62, 0.0), (0.38, 0.5), (0.6, 0.55))
    pen.oval(shade(paint.main, 0.65), 0.05, 0.44, 0.95, 1.0)
    pen.oval(paint.main, 0.13, 0.49, 0.87, 0.95)
    pen.rect(shade(paint.main, 0.65), 0.42, 0.58, 0.58, 0.86)


def _ring(pen: Pen, paint: Paint) -> None:
    pen.hoop(paint.main, 0.15, 0.02, 0.26, 0.98, 1.0)
    pen.poly((120, 225, 250), (0.26, 0.1), (0.36, 0.0), (0.64, 0.0), (0.74, 0.1), (0.5, 0.34))
    pen.poly(WHITE, (0.4, 0.1), (0.6, 0.1), (0.5, 0.3))


def _heart(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.0, 0.54, 0.58)
    pen.oval(paint.main, 0.46, 0.0, 1.0, 0.58)
    pen.poly(paint.main, (0.04, 0.42), (0.3, 0.2), (0.7, 0.2), (0.96, 0.42), (0.5, 1.0))


def _guitar(pen: Pen, paint: Paint) -> None:
    neck = shade(paint.main, 0.45)
    pen.rect(neck, 0.42, 0.04, 0.58, 0.6)
    pen.rect(neck, 0.32, 0.0, 0.68, 0.1)
    pen.oval(paint.main, 0.14, 0.44, 0.86, 0.74)
    pen.oval(paint.main, 0.0, 0.6, 1.0, 1.0)
    pen.oval(DARK, 0.33, 0.6, 0.67, 0.76)
    pen.rect(neck, 0.3, 0.85, 0.7, 0.9)


def _ball(pen: Pen, paint: Paint) -> None:
    pen.oval(DARK, 0.0, 0.0, 1.0, 1.0)
    pen.oval(paint.main, 0.05, 0.05, 0.95, 0.95)
    pen.poly(DARK, (0.5, 0.3), (0.7, 0.45), (0.62, 0.68), (0.38, 0.68), (0.3, 0.45))
    for x, y in ((0.5, 0.06), (0.08, 0.42), (0.92, 0.42), (0.24, 0.86), (0.76, 0.86)):
        pen.oval(DARK, x - 0.1, y - 0.1, x + 0.1, y + 0.1)


def _book(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.0, 0.12), (0.5, 0.24), (1.0, 0.12), (1.0, 0.9), (0.5, 1.0), (0.0, 0.9))
    pen.poly(WHITE, (0.07, 0.0), (0.49, 0.13), (0.49, 0.9), (0.07, 0.8))
    pen.poly((228, 226, 215), (0.93, 0.0), (0.51, 0.13), (0.51, 0.9), (0.93, 0.8))
    for y in (0.22, 0.38, 0.54):
        pen.line((90, 90, 100), 0.05, (0.15, y), (0.42, y + 0.08))
        pen.line((90, 90, 100), 0.05, (0.85, y), (0.58, y + 0.08))


def _ship(pen: Pen, paint: Paint) -> None:
    pen.rect((90, 65, 45), 0.46, 0.0, 0.52, 0.72)
    pen.poly(WHITE, (0.44, 0.04), (0.44, 0.66), (0.06, 0.66))
    pen.poly((225, 225, 215), (0.55, 0.1), (0.55, 0.66), (0.92, 0.66))
    pen.poly(paint.main, (0.0, 0.7), (1.0, 0.7), (0.84, 1.0), (0.16, 1.0))


def _car(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.18, 0.44), (0.3, 0.0), (0.7, 0.0), (0.84, 0.44))
    pen.poly((200, 225, 240), (0.26, 0.4), (0.34, 0.1), (0.48, 0.1), (0.48, 0.4))
    pen.poly((200, 225, 240), (0.53, 0.4), (0.53, 0.1), (0.66, 0.1), (0.75, 0.4))
    pen.rect(paint.main, 0.0, 0.4, 1.0, 0.8)
    for left in (0.13, 0.65):
        pen.oval(DARK, left, 0.55, left + 0.23, 1.0)
        pen.oval((170, 170, 170), left + 0.07, 0.69, left + 0.16, 0.86)


def _dog(pen: Pen, paint: Paint) -> None:
    for left in (0.17, 0.32, 0.57, 0.7):
        pen.rect(shade(paint.main, 0.85), left, 0.6, left + 0.1, 1.0)
    pen.line(paint.main, 0.12, (0.2, 0.48), (0.03, 0.14))
    pen.oval(paint.main, 0.12, 0.36, 0.8, 0.74)
    pen.poly(paint.main, (0.6, 0.5), (0.66, 0.1), (0.84, 0.1), (0.84, 0.6))
    pen.rect(paint.main, 0.66, 0.08, 0.88, 0.36)
    pen.rect(paint.main, 0.8, 0.2, 1.0, 0.38)
    pen.rect(DARK, 0.94, 0.18, 1.0, 0.27)
    pen.oval(shade(paint.main, 0.5), 0.58, 0.06, 0.72, 0.46)


def _cat(pen: Pen, paint: Paint) -> None:
    pen.line(paint.main, 0.13, (0.7, 0.92), (0.95, 0.85), (0.95, 0.5))
    pen.oval(paint.main, 0.12, 0.4, 0.82, 1.05)
    pen.poly(paint.main, (0.14, 0.3), (0.14, 0.0), (0.4, 0.14))
    pen.poly(paint.main, (0.8, 0.3), (0.8, 0.0), (0.54, 0.14))
    pen.oval(paint.main, 0.12, 0.1, 0.82, 0.54)
    pen.oval((190, 225, 60), 0.24, 0.24, 0.4, 0.36)
    pen.oval((190, 225, 60), 0.54, 0.24, 0.7, 0.36)
    pen.oval(WHITE, 0.34, 0.62, 0.6, 0.94)


Silhouette = Callable[[Pen, Paint], None]

SILHOUETTES: dict[str, Silhouette] = {
    "woman": _woman, "man": _man, "child": _child, "player": _player, "soldier": _soldier,
    "crest": _crest, "jersey": _jersey, "flag": _flag,
    "tower": _tower, "mountain": _mountain, "bridge": _bridge, "castle": _castle,
    "trophy": _trophy, "medal": _medal, "ring": _ring, "heart": _heart, "guitar": _guitar, "ball": _ball,
    "book": _book, "ship": _ship, "car": _car, "dog": _dog, "cat": _cat,
}  # fmt: skip
"""Kind name to silhouette."""


def _farmer(pen: Pen, paint: Paint) -> None:
    pen.oval((215, 185, 95), 0.08, 0.1, 0.92, 0.22)
    pen.rect((215, 185, 95), 0.3, 0.0, 0.7, 0.16)
    pen.oval(paint.skin, 0.32, 0.14, 0.68, 0.32)
    pen.rect((200, 60, 50), 0.14, 0.32, 0.86, 0.52)
    pen.rect(paint.main, 0.26, 0.38, 0.74, 0.7)
    pen.rect(paint.main, 0.26, 0.66, 0.46, 1.0)
    pen.rect(paint.main, 0.54, 0.66, 0.74, 1.0)
    pen.line((120, 85, 50), 0.07, (0.96, 0.2), (0.96, 1.0))


def _cook(pen: Pen, paint: Paint) -> None:
    for left in (0.18, 0.38, 0.54):
        pen.oval(WHITE, left, 0.0, left + 0.3, 0.2)
    pen.rect(WHITE, 0.28, 0.1, 0.72, 0.22)
    pen.oval(paint.skin, 0.32, 0.2, 0.68, 0.38)
    pen.rect(WHITE, 0.12, 0.38, 0.88, 0.56)
    pen.poly(paint.main, (0.26, 0.42), (0.74, 0.42), (0.82, 0.86), (0.18, 0.86))
    pen.rect(DARK, 0.28, 0.86, 0.44, 1.0)
    pen.rect(DARK, 0.56, 0.86, 0.72, 1.0)


def _clown(pen: Pen, paint: Paint) -> None:
    pen.oval((235, 120, 30), 0.08, 0.08, 0.4, 0.32)
    pen.oval((235, 120, 30), 0.6, 0.08, 0.92, 0.32)
    pen.oval(WHITE, 0.28, 0.02, 0.72, 0.32)
    pen.oval((225, 30, 40), 0.43, 0.14, 0.57, 0.23)
    pen.poly(paint.main, (0.5, 0.28), (0.98, 0.72), (0.74, 1.0), (0.26, 1.0), (0.02, 0.72))
    for y in (0.46, 0.62, 0.78):
        pen.oval((250, 220, 60), 0.43, y, 0.57, y + 0.09)


def _diver(pen: Pen, paint: Paint) -> None:
    pen.rect((240, 200, 40), 0.04, 0.3, 0.24, 0.72)
    pen.oval(paint.main, 0.26, 0.0, 0.78, 0.32)
    pen.oval((150, 220, 245), 0.34, 0.08, 0.72, 0.24)
    pen.rect(paint.main, 0.22, 0.3, 0.8, 0.68)
    pen.rect(paint.main, 0.26, 0.66, 0.46, 0.9)
    pen.rect(paint.main, 0.56, 0.66, 0.76, 0.9)
    pen.poly((240, 200, 40), (0.26, 0.88), (0.46, 0.88), (0.5, 1.0), (0.06, 1.0))
    pen.poly((240, 200, 40), (0.56, 0.88), (0.76, 0.88), (0.98, 1.0), (0.54, 1.0))


def _nurse(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.hair, 0.26, 0.04, 0.74, 0.3)
    pen.oval(paint.skin, 0.34, 0.08, 0.66, 0.29)
    pen.rect(WHITE, 0.3, 0.0, 0.7, 0.1)
    pen.rect((220, 30, 45), 0.47, 0.01, 0.53, 0.09)
    pen.poly(paint.main, (0.22, 0.3), (0.78, 0.3), (0.88, 0.88), (0.12, 0.88))
    pen.rect(WHITE, 0.34, 0.42, 0.66, 0.8)
    pen.rect((220, 30, 45), 0.46, 0.48, 0.54, 0.7)
    pen.rect((220, 30, 45), 0.39, 0.55, 0.61, 0.63)
    pen.rect(paint.skin, 0.34, 0.88, 0.44, 1.0)
    pen.rect(paint.skin, 0.56, 0.88, 0.66, 1.0)


def _pennant(pen: Pen, paint: Paint) -> None:
    pen.rect((95, 70, 45), 0.0, 0.0, 0.08, 1.0)
    pen.poly(paint.main, (0.08, 0.04), (1.0, 0.34), (0.08, 0.64))
    pen.poly(WHITE, (0.08, 0.24), (0.55, 0.34), (0.08, 0.44))


def _signboard(pen: Pen, paint: Paint) -> None:
    pen.rect((95, 70, 45), 0.16, 0.5, 0.26, 1.0)
    pen.rect((95, 70, 45), 0.74, 0.5, 0.84, 1.0)
    pen.rect(DARK, 0.0, 0.0, 1.0, 0.62)
    pen.rect(paint.main, 0.05, 0.06, 0.95, 0.56)
    for y in (0.16, 0.34):
        pen.rect(WHITE, 0.14, y, 0.86, y + 0.09)


def _logo(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.0, 1.0, 1.0)
    pen.poly(WHITE, (0.5, 0.12), (0.82, 0.78), (0.18, 0.78))
    pen.oval(paint.main, 0.38, 0.44, 0.62, 0.68)


def _mill(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.36, 0.36), (0.64, 0.36), (0.78, 1.0), (0.22, 1.0))
    pen.poly(shade(paint.main, 0.6), (0.32, 0.38), (0.5, 0.22), (0.68, 0.38))
    pen.line(WHITE, 0.09, (0.04, 0.06), (0.96, 0.7))
    pen.line(WHITE, 0.09, (0.96, 0.06), (0.04, 0.7))
    pen.rect(DARK, 0.44, 0.8, 0.56, 1.0)


def _barn(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.55), (0.0, 0.42), (0.2, 0.12), (0.5, 0.0), (0.8, 0.12), (1.0, 0.42))
    pen.rect(paint.main, 0.06, 0.4, 0.94, 1.0)
    pen.rect(WHITE, 0.34, 0.56, 0.66, 1.0)
    pen.line(paint.main, 0.06, (0.34, 0.56), (0.66, 1.0))
    pen.line(paint.main, 0.06, (0.66, 0.56), (0.34, 1.0))


def _island(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.66, 1.0, 1.2)
    pen.line((130, 90, 50), 0.09, (0.48, 0.76), (0.54, 0.24))
    for x, y in ((0.14, 0.3), (0.26, 0.04), (0.84, 0.06), (0.94, 0.34)):
        pen.line((40, 150, 60), 0.11, (0.54, 0.22), (x, y))


def _lighthouse(pen: Pen, paint: Paint) -> None:
    pen.poly((250, 225, 90), (0.5, 0.1), (0.0, 0.0), (0.0, 0.2))
    pen.rect(DARK, 0.36, 0.02, 0.64, 0.18)
    pen.poly(WHITE, (0.36, 0.18), (0.64, 0.18), (0.8, 1.0), (0.2, 1.0))
    for top in (0.3, 0.56, 0.82):
        pen.rect(paint.main, 0.29, top, 0.71, top + 0.12)


def _cake(pen: Pen, paint: Paint) -> None:
    pen.rect(shade(paint.main, 0.7), 0.0, 0.56, 1.0, 1.0)
    pen.rect(WHITE, 0.0, 0.5, 1.0, 0.66)
    pen.rect(paint.main, 0.18, 0.26, 0.82, 0.54)
    for x in (0.28, 0.47, 0.66):
        pen.rect((250, 235, 150), x, 0.06, x + 0.07, 0.28)


def _rosette(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.75), (0.26, 0.5), (0.5, 0.6), (0.3, 1.0), (0.1, 0.86))
    pen.poly(shade(paint.main, 0.75), (0.74, 0.5), (0.5, 0.6), (0.7, 1.0), (0.9, 0.86))
    for x, y in ((0.5, 0.16), (0.24, 0.28), (0.76, 0.28), (0.34, 0.52), (0.66, 0.52)):
        pen.oval(paint.main, x - 0.2, y - 0.16, x + 0.2, y + 0.16)
    pen.oval(WHITE, 0.32, 0.2, 0.68, 0.5)


def _drum(pen: Pen, paint: Paint) -> None:
    pen.rect(paint.main, 0.0, 0.24, 1.0, 0.84)
    pen.oval(shade(paint.main, 0.7), 0.0, 0.7, 1.0, 1.0)
    pen.oval((245, 235, 205), 0.0, 0.1, 1.0, 0.4)
    pen.line((245, 235, 205), 0.05, (0.02, 0.4), (0.25, 0.84), (0.5, 0.4), (0.75, 0.84), (0.98, 0.4))
    pen.line((110, 75, 45), 0.07, (0.2, 0.0), (0.5, 0.24))


def _horse(pen: Pen, paint: Paint) -> None:
    for left in (0.16, 0.28, 0.56, 0.68):
        pen.rect(shade(paint.main, 0.8), left, 0.6, left + 0.08, 1.0)
    pen.line(DARK, 0.08, (0.14, 0.44), (0.02, 0.8))
    pen.oval(paint.main, 0.1, 0.36, 0.78, 0.7)
    pen.poly(paint.main, (0.58, 0.5), (0.72, 0.06), (0.86, 0.06), (0.78, 0.58))
    pen.poly(paint.main, (0.72, 0.04), (1.0, 0.2), (0.96, 0.32), (0.72, 0.24))
    pen.line(DARK, 0.07, (0.72, 0.02), (0.58, 0.44))


def _fish(pen: Pen, paint: Paint) -> None:
    pen.poly(shade(paint.main, 0.75), (0.26, 0.5), (0.0, 0.1), (0.0, 0.9))
    pen.oval(paint.main, 0.16, 0.08, 1.0, 0.92)
    pen.oval(WHITE, 0.72, 0.28, 0.88, 0.5)
    pen.oval(DARK, 0.78, 0.34, 0.86, 0.46)
    pen.line(WHITE, 0.07, (0.56, 0.2), (0.48, 0.5), (0.56, 0.8))


def _kite(pen: Pen, paint: Paint) -> None:
    pen.poly(paint.main, (0.5, 0.0), (0.94, 0.34), (0.5, 0.74), (0.06, 0.34))
    pen.poly(shade(paint.main, 0.6), (0.5, 0.0), (0.5, 0.74), (0.06, 0.34))
    pen.line(WHITE, 0.05, (0.5, 0.74), (0.36, 0.84), (0.6, 0.92), (0.44, 1.0))


def _bicycle(pen: Pen, paint: Paint) -> None:
    pen.hoop(DARK, 0.07, 0.0, 0.4, 0.42, 1.0)
    pen.hoop(DARK, 0.07, 0.58, 0.4, 1.0, 1.0)
    pen.line(paint.main, 0.1, (0.21, 0.7), (0.4, 0.26), (0.7, 0.26), (0.5, 0.72), (0.21, 0.7))
    pen.line(paint.main, 0.09, (0.4, 0.26), (0.5, 0.72))
    pen.line(DARK, 0.09, (0.79, 0.7), (0.68, 0.06), (0.84, 0.04))
    pen.rect(DARK, 0.3, 0.14, 0.48, 0.22)


def _apple(pen: Pen, paint: Paint) -> None:
    pen.oval(paint.main, 0.0, 0.2, 0.6, 0.96)
    pen.oval(paint.main, 0.4, 0.2, 1.0, 0.96)
    pen.line((100, 70, 40), 0.08, (0.5, 0.3), (0.54, 0.02))
    pen.oval((60, 160, 60), 0.54, 0.02, 0.88, 0.18)


def _umbrella(pen: Pen, paint: Paint) -> None:
    pen.rect(DARK, 0.47, 0.4, 0.53, 0.94)
    pen.hoop(DARK, 0.06, 0.3, 0.84, 0.53, 1.0)
    pen.poly(paint.main, (0.0, 0.48), (0.12, 0.18), (0.36, 0.02), (0.64, 0.02), (0.88, 0.18), (1.0, 0.48))
    pen.poly(shade(paint.main, 1.35), (0.34, 0.48), (0.44, 0.02), (0.56, 0.02), (0.66, 0.48))


COUNTRY_SILHOUETTES: dict[str, Silhouette] = {
    "farmer": _farmer, "cook": _cook, "clown": _clown, "diver": _diver, "nurse": _nurse,
    "pennant": _pennant, "signboard": _signboard, "logo": _logo,
    "mill": _mill, "barn": _barn, "island": _island, "lighthouse": _lighthouse,
    "cake": _cake, "rosette": _rosette, "drum": _drum, "horse": _horse, "fish": _fish, "kite": _kite,
    "bicycle": _bicycle, "apple": _apple, "umbrella": _umbrella,
}  # fmt: skip
"""Kind name to silhouette."""


Background = Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None]


def _desert(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((250, 190, 120), 14, rng))
    dune = jittered((225, 160, 85), 14, rng)
    for left in (-0.3, 0.3):
        x = side * (left + rng.uniform(-0.1, 0.1))
        draw.ellipse((x, side * 0.62, x + side * 1.1, side * 1.5), fill=dune)


def _forest(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((60, 95, 65), 14, rng))
    for trunk in range(6):
        x = side * (trunk + rng.uniform(0.1, 0.6)) / 6
        draw.rectangle((x, 0, x + side * 0.05, side), fill=jittered((80, 60, 45), 10, rng))
    draw.rectangle((0, side * 0.86, side, side), fill=jittered((105, 85, 55), 10, rng))


def _kitchen(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((225, 235, 225), 10, rng))
    tile = jittered((195, 215, 205), 10, rng)
    for row in range(0, 8):
        for column in range(row % 2, 8, 2):
            x, y = side * column / 8, side * row / 8
            draw.rectangle((x, y, x + side / 8, y + side / 8), fill=tile)
    draw.rectangle((0, side * 0.8, side, side), fill=jittered((170, 120, 90), 12, rng))


def _dusk(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    for band, colour in enumerate(((95, 60, 120), (160, 80, 120), (215, 110, 100), (240, 155, 90))):
        draw.rectangle((0, side * band / 4, side, side * (band + 1) / 4), fill=jittered(colour, 12, rng))
    x = rng.uniform(0.1, 0.7) * side
    draw.ellipse((x, side * 0.6, x + side * 0.2, side * 0.8), fill=(255, 225, 130))


def _orchard(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((215, 225, 160), 12, rng))
    crown = jittered((150, 180, 95), 14, rng)
    for tree in range(4):
        x, y = side * (tree + rng.uniform(0.0, 0.5)) / 4, side * rng.uniform(0.05, 0.25)
        draw.ellipse((x, y, x + side * 0.2, y + side * 0.25), fill=crown)


COUNTRY_BACKGROUNDS: dict[str, Background] = {
    "desert": _desert, "forest": _forest, "kitchen": _kitchen, "dusk": _dusk, "orchard": _orchard,
}  # fmt: skip
"""Setting name to background."""

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the image's side."""

SKINS: tuple[Colour, ...] = ((245, 205, 170), (225, 175, 135), (175, 120, 80), (120, 80, 55))
HAIRS: tuple[Colour, ...] = ((60, 40, 30), (25, 20, 25), (190, 145, 70), (130, 65, 35))

COLOUR_JITTER = 35
"""How far each channel of a kind's typical colour may move, of 255."""

BOX_JITTER = 2
"""How far each edge of a written box may be off, in pixels."""

MOST_OVERLAP = 0.3
"""How much of the smaller of two things may lie under or over the other."""

SOLO_SIDE, PAIR_SIDE, EVIDENCE_SIDE, CLUTTER_SIDE = (0.48, 0.75), (0.42, 0.66), (0.32, 0.44), (0.15, 0.22)
"""Ranges of a thing's longer side, as a share of the image's side, by its role."""


@dataclass(frozen=True)
class DrawnThing:
    """One thing in an image: its kind and its gold box (x, y, width, height) in whole pixels, inside the image."""

    kind: str
    box: tuple[int, int, int, int]


def draw_scene(
    scene: Scene, world: World, rng: np.random.Generator, size: int = 48, noise: float = 8.0
) -> tuple[Image.Image, list[DrawnThing]]:
    """Draws a scene.

    Args:
        scene: What to draw.
        world: Where its kinds are described.
        rng: Places, sizes, colours and noise come from here.
        size: Width and height in pixels.
        noise: Standard deviation of the pixel noise, of 255.

    Returns:
        The RGB image and its things, in drawing order, with jittered boxes.
    """
    boxes = _place(scene, world, rng)
    side = 2 * size
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    _ALL_BACKGROUNDS[scene.setting](draw, side, rng)
    skins = [pick(rng, SKINS) for _ in boxes]
    things = []
    for (kind, box), skin in zip(boxes, skins, strict=True):
        paint = Paint(jittered(world.kind[kind].colour, COLOUR_JITTER, rng), skin, pick(rng, HAIRS))
        x0, y0, x1, y1 = (value * side for value in box)
        _ALL_SILHOUETTES[kind](Pen(draw, (x0, y0, x1, y1), bool(rng.random() < 0.5)), paint)
        things.append(DrawnThing(kind, _written_box(box, size, rng)))
    return _developed(canvas.reduce(2), rng, noise), things


def _developed(image: Image.Image, rng: np.random.Generator, noise: float) -> Image.Image:
    """`image` with a random brightness and pixel noise."""
    pixels = np.asarray(image, dtype=np.float32) * np.float32(rng.uniform(0.85, 1.12))
    if noise:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _place(scene: Scene, world: World, rng: np.random.Generator) -> list[tuple[str, Box]]:
    """A box for every thing of the scene: two main things side by side, the others where there is room."""
    placed: list[tuple[str, Box]] = []
    if len(scene.main) == 1:
        placed.append((scene.main[0], _free_box(scene.main[0], SOLO_SIDE, (0.0, 1.0), world, rng, placed)))
    else:
        first_left = rng.random() < 0.5
        for index, kind in enumerate(scene.main[:2]):
            half = (0.0, 0.56) if (index == 0) == first_left else (0.44, 1.0)
            placed.append((kind, _free_box(kind, PAIR_SIDE, half, world, rng, placed)))
    for kind in scene.main[2:]:
        placed.append((kind, _free_box(kind, EVIDENCE_SIDE, (0.0, 1.0), world, rng, placed)))
    if scene.clutter is not None:
        placed.append((scene.clutter, _free_box(scene.clutter, CLUTTER_SIDE, (0.0, 1.0), world, rng, placed)))
    return placed


def _free_box(
    kind: str,
    sides: tuple[float, float],
    span: tuple[float, float],
    world: World,
    rng: np.random.Generator,
    placed: list[tuple[str, Box]],
) -> Box:
    """A box of the kind's shape within `span` (left and right), the first of a few tries that overlaps little."""
    best: Box = (0.0, 0.0, 1.0, 1.0)
    least = float("inf")
    for _ in range(12):
        box = _random_box(world.kind[kind].aspect, sides, span, rng)
        overlap = max((_overlap(box, other) for _, other in placed), default=0.0)
        if overlap < least:
            best, least = box, overlap
        if least <= MOST_OVERLAP:
            break
    return best


def _random_box(aspect: float, sides: tuple[float, float], span: tuple[float, float], rng: np.random.Generator) -> Box:
    size, stretch, across, down = rng.random(4)
    longer = sides[0] + (sides[1] - sides[0]) * size
    aspect *= 0.88 + 0.24 * stretch
    width, height = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)
    room = span[1] - span[0] - width
    x0 = span[0] + room * across if room > 0 else min(max(0.0, span[0] + room / 2), 1.0 - width)
    # Things rather stand on the ground than float: heights lean towards the bottom.
    y0 = (0.98 - height) * float(down**0.6)
    return float(x0), y0, float(x0 + width), y0 + float(height)


def _overlap(first: Box, second: Box) -> float:
    """Intersection over the smaller of two areas."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / min(areas)


def _written_box(box: Box, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box in whole pixels (x, y, width, height), jittered and clipped to the image."""
    shifts = (rng.random(4) * (2 * BOX_JITTER + 1)).astype(int) - BOX_JITTER
    x0, y0, x1, y1 = (
        int(min(size, max(0, round(value * size) + shift))) for value, shift in zip(box, shifts, strict=True)
    )
    x0, y0 = min(x0, size - 2), min(y0, size - 2)
    return x0, y0, max(2, x1 - x0), max(2, y1 - y0)


def _field(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.3, 0.5)
    draw.rectangle((0, 0, side, horizon), fill=jittered((165, 215, 245), 20, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((115, 185, 85), 22, rng))


def _sea(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.35, 0.55)
    draw.rectangle((0, 0, side, horizon), fill=jittered((250, 225, 190), 15, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((60, 130, 175), 22, rng))
    wave = jittered((130, 190, 220), 15, rng)
    for row in range(3):
        y = horizon + (side - horizon) * (row + 0.6) / 3
        x = rng.random() * side * 0.6
        draw.line((x, y, x + side * 0.35, y), fill=wave, width=max(1, side // 48))


def _night(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((22, 24, 62), 14, rng))
    draw.rectangle((0, side * 0.82, side, side), fill=jittered((45, 45, 60), 10, rng))
    dot = max(1, side // 60)
    for x, y in rng.random((7, 2)) * (side, side * 0.7):
        draw.rectangle((x, y, x + dot, y + dot), fill=(235, 235, 200))
    x, moon = rng.uniform(0.05, 0.8) * side, side * 0.14
    draw.ellipse((x, side * 0.05, x + moon, side * 0.05 + moon), fill=(240, 235, 190))


def _street(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((185, 180, 175), 16, rng))
    x = -rng.random() * side * 0.2
    while x < side:
        width = side * rng.uniform(0.16, 0.3)
        draw.rectangle((x, side * rng.uniform(0.05, 0.35), x + width, side), fill=jittered((160, 148, 140), 20, rng))
        x += width
    draw.rectangle((0, side * 0.74, side, side), fill=jittered((88, 88, 92), 12, rng))
    start = rng.random() * side * 0.15
    for dash in range(4):
        left = start + dash * side * 0.28
        draw.rectangle((left, side * 0.86, left + side * 0.14, side * 0.88), fill=(235, 225, 160))


def _stage(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    curtain = jittered((120, 25, 40), 16, rng)
    draw.rectangle((0, 0, side, side), fill=curtain)
    for fold in range(6):
        x = side * (fold + 0.5) / 6
        draw.rectangle((x, 0, x + side * 0.06, side * 0.75), fill=(curtain[0] - 28, curtain[1] // 2, curtain[2] // 2))
    centre = side * rng.uniform(0.3, 0.7)
    beam = jittered((175, 80, 75), 15, rng)
    draw.polygon(
        [
            (centre - side * 0.12, 0),
            (centre + side * 0.12, 0),
            (centre + side * 0.3, side),
            (centre - side * 0.3, side),
        ],
        fill=beam,
    )
    draw.rectangle((0, side * 0.77, side, side), fill=jittered((140, 95, 60), 15, rng))
    draw.ellipse((centre - side * 0.28, side * 0.8, centre + side * 0.28, side * 0.98), fill=(200, 160, 110))


def _snow(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.4, 0.6)
    draw.rectangle((0, 0, side, horizon), fill=jittered((185, 198, 215), 15, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((232, 236, 240), 10, rng))
    dot = max(1, side // 40)
    for x, y in rng.random((12, 2)) * side:
        draw.ellipse((x, y, x + dot, y + dot), fill=(255, 255, 255))


BACKGROUNDS: dict[str, Background] = {
    "field": _field, "sea": _sea, "night": _night, "street": _street, "stage": _stage, "snow": _snow,
}  # fmt: skip
"""Setting name to background."""

_ALL_BACKGROUNDS = BACKGROUNDS | COUNTRY_BACKGROUNDS
_ALL_SILHOUETTES = SILHOUETTES | COUNTRY_SILHOUETTES
