"""The report's charts as geometry: lines, bars, ticks and labels in the units of a small SVG.

The template draws them, so that their colours follow the page's. All coordinates have y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 400.0, 230.0
_LEFT, _TOP, _BOTTOM = 34.0, 12.0, 28.0
_LABEL_GAP = 14.0
_LABEL_CHARACTER = 6.6


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and the text beside it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line, with its name and the style class it is drawn in."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]

    def finite(self) -> list[tuple[float, float]]:
        """The points that have a place on paper."""
        return [point for point in self.points if all(map(math.isfinite, point))]


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line: SVG path data, its last point, and where its name stands."""

    name: str
    style: str
    path: str
    end: tuple[float, float]
    label_y: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """A line chart laid out; `left`, `right`, `top`, `bottom` bound the plot."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def summary(self) -> str:
        """The lines in words, for those who do not see them."""
        return "; ".join(f"{line.name} from {line.first:.3g} to {line.last:.3g}" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands, how high, its value as text, and the base line of that text."""

    name: str
    style: str
    x: float
    y: float
    width: float
    height: float
    text: str
    text_y: float


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars that stand together, with the group's name under them and a limit (such as a ceiling) across them."""

    name: str
    bars: tuple[Bar, ...]
    middle: float
    start: float
    end: float
    limit_y: float | None
    limit_text: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """A chart of grouped bars, 0-100."""

    groups: tuple[BarGroup, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    bottom: float
    width: float = WIDTH
    height: float = HEIGHT


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) from at or below `low` to at or above `high`."""
    span = high - low
    if span < 1e-300:  # nothing to tell apart, or less than a float can divide
        span = abs(high) if abs(high) >= 1e-300 else 1.0
    rough = span / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def line_chart(series: Sequence[Series], y_max: float | None = None) -> LineChart | None:
    """Lay out lines over a common pair of axes, y from 0 (or below, where values are).

    Args:
        series: The lines. Values that are not finite leave a gap.
        y_max: The y axis reaches at least to this.

    Returns:
        The chart; None if no line has a point.
    """
    drawn = [one for one in series if one.finite()]
    if not drawn:
        return None
    xs = [x for one in drawn for x, _ in one.finite()]
    ys = [y for one in drawn for _, y in one.finite()]
    x_low, x_high = min(xs), max(xs)
    y_values = ticks(min(0.0, *ys), max(y_max or 0.0, *ys))
    left = max(_LEFT, 10 + _LABEL_CHARACTER * max(len(short(value)) for value in y_values))
    right = WIDTH - 14 - _LABEL_CHARACTER * max(len(one.name) for one in drawn)
    bottom = HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - y_values[0]) / (y_values[-1] - y_values[0])
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - _TOP), 1)

    ends = [place(*one.finite()[-1]) for one in drawn]
    labels = spread([y for _, y in ends], _LABEL_GAP, _TOP, bottom)
    lines = []
    for one, end, label_y in zip(drawn, ends, labels, strict=True):
        values = [y for _, y in one.finite()]
        path = _path([place(*point) if all(map(math.isfinite, point)) else None for point in one.points])
        lines.append(Line(one.name, one.style, path, end, label_y, values[0], values[-1]))
    x_values = [value for value in ticks(x_low, x_high) if x_low <= value <= x_high] or [x_low]
    return LineChart(
        tuple(lines),
        tuple(Tick(place(value, 0)[0], short(value)) for value in x_values),
        tuple(Tick(place(x_low, value)[1], short(value)) for value in y_values),
        round(left, 1),
        round(right, 1),
        _TOP,
        bottom,
    )


def bar_chart(
    groups: Sequence[tuple[str, Sequence[tuple[str, str, float]], float | None]], limit: str = ""
) -> BarChart | None:
    """Lay out grouped bars on an axis from 0 to 100.

    Args:
        groups: Each with its name, its bars as (name, style, value 0-100), and the value of the limit across it.
        limit: What the limit is called.

    Returns:
        The chart; None if there is no bar.
    """
    most = max((len(bars) for _, bars, _ in groups), default=0)
    if not most:
        return None
    left, right, bottom = 30.0, WIDTH - 4, HEIGHT - _BOTTOM
    slot = (right - left) / len(groups)
    bar_width = min(slot * 0.84 / most, 44.0)

    def height_of(value: float) -> float:
        return round(min(max(value, 0.0), 100.0) / 100 * (bottom - _TOP), 1)

    laid = []
    for index, (name, bars, ceiling) in enumerate(groups):
        middle = left + (index + 0.5) * slot
        start = middle - bar_width * len(bars) / 2
        limit_y = None if ceiling is None else round(bottom - height_of(ceiling), 1)
        laid_bars = tuple(
            Bar(
                bar_name,
                style,
                round(start + place * bar_width + 1.5, 1),
                round(bottom - height_of(value), 1),
                round(bar_width - 3, 1),
                height_of(value),
                f"{value:.0f}" if value >= 99.95 else f"{value:.1f}",
                _above(bottom - height_of(value), limit_y),
            )
            for place, (bar_name, style, value) in enumerate(bars)
        )
        end = start + bar_width * len(bars)
        limit_text = "" if ceiling is None else f"{limit} {ceiling:.1f}"
        laid.append(
            BarGroup(name, laid_bars, round(middle, 1), round(start - 3, 1), round(end + 3, 1), limit_y, limit_text)
        )
    marks = tuple(Tick(round(bottom - height_of(value), 1), str(value)) for value in (0, 25, 50, 75, 100))
    return BarChart(tuple(laid), marks, left, right, bottom)


def _above(top: float, limit_y: float | None) -> float:
    """Base line of the figure over a bar that ends at `top`: higher up where the limit's line would strike it."""
    base = top - 5
    struck = limit_y is not None and base - 11 < limit_y < base + 4
    return round(limit_y - 4 if struck and limit_y is not None else base, 1)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart, within `low`..`high` where they fit."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = round(min(placed[index], ceiling), 1)
        ceiling = placed[index] - gap
    return placed


def short(value: float) -> str:
    """A tick's number in few characters: 0.25, 5, 12k."""
    value = value + 0.0  # not -0
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 10):g}"


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path data; None lifts the pen."""
    parts, pen_down = [], False
    for point in points:
        if point is not None:
            parts.append(f"{'L' if pen_down else 'M'}{point[0]:g} {point[1]:g}")
        pen_down = point is not None
    return "".join(parts)
