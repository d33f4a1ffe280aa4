"""Charts as SVG by matplotlib, in one style.

In a page a colour of the palette is a CSS variable, so that a chart is light or dark as the page is.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from promu.report.palette import COLOURS, CYCLE

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "promu",  # fixed ids: equal data gives equal bytes
    "text.parse_math": False,  # names come from data, and a $ in one is a $
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

_PAGE_STYLE: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8.5,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"][0],
    "grid.linewidth": 0.8,
    "axes.edgecolor": COLOURS["line"][0],
    "ytick.major.size": 0,
    "xtick.major.size": 0,
    "xtick.labelcolor": COLOURS["soft"][0],
    "ytick.labelcolor": COLOURS["soft"][0],
    "text.color": COLOURS["ink"][0],
}


class Series(NamedTuple):
    """One line: its name, its colour in `COLOURS`, and its points (x, y). A value that is not finite leaves a gap."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


class Bars(NamedTuple):
    """A group of bars from 0 to 100: name, colour in `COLOURS` and value of each; `limit` is a dashed line across."""

    name: str
    bars: Sequence[tuple[str, str, float]]
    limit: float | None = None


def line_charts(
    charts: Iterable[tuple[str, str, str, Sequence[Series]]], y_max: Mapping[str, float] | None = None
) -> list[tuple[str, str, str, Markup]]:
    """(title, what the axes are, explanation, SVG) of each chart with points, of (title, axes, explanation, lines).

    `y_max` is how far the y axis reaches at least, by title.
    """
    return [
        (title, axes, note, chart)
        for title, axes, note, series in charts
        if (chart := line_chart(f"{title}, {axes}", series, (y_max or {}).get(title, 0.0))) is not None
    ]


def line_chart(label: str, series: Sequence[Series], y_max: float = 0.0) -> Markup | None:
    """Lines over one pair of axes, y from 0 (or below, where values are) to at least `y_max`; None without a point.

    `label` says in words what the chart shows; the first and the last value of each line are added.
    """
    finite = {one.name: [y for x, y in one.points if math.isfinite(x) and math.isfinite(y)] for one in series}
    drawn = [one for one in series if finite[one.name]]
    if not drawn:
        return None
    with matplotlib.rc_context(STYLE | _PAGE_STYLE | {"svg.hashsalt": label}):
        figure, axis = _figure()
        for one in drawn:
            marker = "o" if len(finite[one.name]) == 1 else None
            xs, ys = [x for x, _ in one.points], [y if math.isfinite(y) else math.nan for _, y in one.points]
            axis.plot(xs, ys, color=COLOURS[one.colour][0], label=one.name, marker=marker, markersize=4)
        values = [y for one in drawn for y in finite[one.name]]
        axis.set_ylim(bottom=min(0.0, *values), top=max(y_max, *values) * 1.05 or 1.0)
        figure.legend(loc="outside upper left", ncols=4, handlelength=1.2)
        ends = "; ".join(f"{one.name} from {finite[one.name][0]:.3g} to {finite[one.name][-1]:.3g}" for one in drawn)
        return to_inline_svg(figure, f"{label}. {ends}")


def bar_chart(label: str, groups: Sequence[Bars]) -> Markup | None:
    """Grouped bars on an axis from 0 to 100, each with its value above it; None if there is no bar."""
    widest = max((len(group.bars) for group in groups), default=0)
    if not widest:
        return None
    with matplotlib.rc_context(STYLE | _PAGE_STYLE | {"svg.hashsalt": label}):
        figure, axis = _figure()
        width = 0.84 / widest
        for place, group in enumerate(groups):
            middles = place + (np.arange(len(group.bars)) - (len(group.bars) - 1) / 2) * width
            for x, (_, colour, value) in zip(middles, group.bars, strict=True):
                axis.bar(x, value, width * 0.9, color=COLOURS[colour][0])
                base = value + 1
                if group.limit is not None and base - 2 < group.limit < base + 8:  # the line would cross the figure
                    base = max(base, group.limit + 2)
                axis.text(x, base, f"{value:.0f}" if value >= 99.95 else f"{value:.1f}", ha="center", fontsize=8)
            if group.limit is not None:
                half = width * widest / 2
                axis.hlines(group.limit, place - half, place + half, COLOURS["ink"][0], "dashed", linewidth=1)
        axis.set_xticks(range(len(groups)), [group.name for group in groups])
        axis.set(ylim=(0, 108), yticks=(0, 25, 50, 75, 100))
        return to_inline_svg(figure, label)


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.7, 2.6), layout="constrained")
    return figure, figure.subplots()


def to_inline_svg(figure: Figure, label: str) -> Markup:
    """A figure as SVG that can stand in a page: colours of `COLOURS` as CSS variables, `label` for screen readers."""
    svg = to_svg(figure)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    body = svg[svg.index(">") + 1 :]
    # no identifier twice in one page, no rule that reaches out of the chart, the page's own font
    for pattern, instead in ((r'<g id="[^"]*"', "<g"), (r"<style.*?</style>", ""), (r"font-family: [^;]*; ", "")):
        body = re.sub(pattern, instead, body, flags=re.DOTALL)
    for name, (light, _) in COLOURS.items():
        body = body.replace(light, f"var(--{name})")
    return Markup(f'<svg class="chart" {view[0]} role="img" aria-label="{escape(label)}">{body}')


def to_svg(figure: Figure) -> str:
    """A figure as an SVG element, without XML prolog; call it within the style that the figure was drawn in."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
