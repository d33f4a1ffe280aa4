"""How each kind of thing is drawn: silhouettes in a unit box, in a typical colour.

A silhouette is a function of a `Pen` (which maps the unit square, x right and y down, to the thing's box) and
the thing's colours. Shapes are few and large, because a picture may be no more than 48 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from promu.corpora.newsreel.lexicon import Colour

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
