"""The study's figures as SVG: lines with spread, bars, points on a plane, attention over words and patches."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from promu.evaluation.counts import Summary
from promu.report.charts import STYLE, to_svg
from promu.report.palette import series_colour

HEAT = "magma"
MISSING = "–"
"""In place of a bar, if nothing was measured."""


class Spread(NamedTuple):
    """A figure with the ends of its bar in a chart, over seeds or over posts; without a bar all three are equal."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One line: its name, and a figure (or nothing) at each x."""

    name: str
    points: Sequence[tuple[float, Spread | None]]


def lines(panels: Mapping[str, Sequence[Line]], x_label: str, y_label: str, log: bool = False) -> str:
    """A panel for each group of lines, by title, all over the same kind of axes; `log` makes x logarithmic.

    The y axis has all of F1, 0 to 100. So a point looks like a point, and panels can be compared.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 2.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, drawn) in zip(axes, panels.items(), strict=True):
            for number, line in enumerate(drawn):
                measured = [(x, value) for x, value in line.points if value is not None]
                if measured:
                    colour = series_colour(line.name, number)
                    xs, ys = [x for x, _ in measured], [value.mean for _, value in measured]
                    below = [value.mean - value.low for _, value in measured]
                    above = [value.high - value.mean for _, value in measured]
                    axis.errorbar(
                        xs, ys, [below, above], label=line.name, color=colour, marker="o", markersize=3, capsize=2
                    )
            if log:
                axis.set_xscale("log")
                ticks = sorted({x for line in drawn for x, _ in line.points})
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.minorticks_off()
            axis.set(title=title, xlabel=x_label, ylabel=y_label, ylim=(0, 100))
            if len(drawn) > 1:
                axis.legend(fontsize=8)
        return to_svg(figure)


def bars(panels: Mapping[str, Mapping[str, Sequence[Summary | None]]], names: Mapping[str, Sequence[str]]) -> str:
    """A panel below the other for each title, in it groups of bars (F1, 0 to 100); a dash where nothing was measured.

    `panels` has, by title and series, a value for each group; `names` has the names of the groups by title.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.6 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axis, (title, series) in zip(axes, panels.items(), strict=True):
            width = 0.84 / max(len(series), 1)
            places = np.arange(len(names[title]))
            for number, (name, values) in enumerate(series.items()):
                colour = series_colour(name, number)
                middles = places + (number - (len(series) - 1) / 2) * width
                measured = [(x, value) for x, value in zip(middles, values, strict=True) if value is not None]
                xs, means = [x for x, _ in measured], [value.mean for _, value in measured]
                spread = {"yerr": [value.std or 0.0 for _, value in measured], "error_kw": {"linewidth": 0.7}}
                axis.bar(xs, means, width * 0.92, color=colour, label=name, **spread)
                for x, value in zip(middles, values, strict=True):
                    if value is None:
                        axis.text(x, 1, MISSING, fontsize=7.5, color=colour, ha="center")
            axis.set_xticks(places, [wrapped(name) for name in names[title]], fontsize=7.5)
            axis.set(title=title, ylabel="F1", ylim=(0, 100))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=7.5, ncols=3, loc="outside upper center")  # over no bar
        return to_svg(figure)


def wrapped(label: str) -> str:
    """A relation label in lines: "/per/org/member_of" as "per org" over "member_of"."""
    head, _, last = label.strip("/").rpartition("/")
    return f"{head.replace('/', ' ')}\n{last}" if head else last


def plane(panels: Mapping[str, Sequence[Sequence[Any]]]) -> str:
    """Points (x, y, label, whether it is a prompt) by panel: things as dots, prompts as crosses with their words.

    Words do not overlap: one that would is moved to the nearest free place, with a line to its cross.
    """
    most = max(sum(bool(point[3]) for point in points) for points in panels.values())
    side = max(3.6, 0.8 * math.sqrt(most))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(side * len(panels), side), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        labels = sorted({str(point[2]) for points in panels.values() for point in points})
        colours = {label: matplotlib.colormaps["turbo"](index / len(labels)) for index, label in enumerate(labels)}
        for axis, (title, points) in zip(axes, panels.items(), strict=True):
            for is_prompt, look in (
                (False, {"s": 5, "linewidths": 0}),
                (True, {"s": 14, "marker": "x", "linewidths": 1}),
            ):
                chosen = [point for point in points if bool(point[3]) == is_prompt]
                places = [[point[axis_number] for point in chosen] for axis_number in (0, 1)]
                axis.scatter(*places, c=[colours[str(point[2])] for point in chosen], **look)
            axis.margins(0.12)
            axis.set(title=title, xticks=[], yticks=[])
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the axes stay where words are measured
        for axis, points in zip(axes, panels.values(), strict=True):
            prompts = [(point[0], point[1], str(point[2])) for point in points if point[3]]
            _label(axis, prompts, colours)
        return to_svg(figure)


def _label(axis: Axes, points: Sequence[tuple[float, float, str]], colours: Mapping[str, Any]) -> None:
    """Write a label at each point (x, y, label), or at the nearest place that is free, with a line to the point."""
    look: dict[str, Any] = {"fontsize": 6.5, "weight": "bold", "ha": "center", "va": "center"}
    look["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "boxstyle": "square,pad=0"}
    texts = [axis.text(x, y, label, color=colours[label], zorder=4, **look) for x, y, label in points]
    extents = [text.get_window_extent() for text in texts]
    sizes = [(box.width + 2, box.height + 2) for box in extents]
    at = [tuple(axis.transData.transform((x, y))) for x, y, _ in points]
    frame = axis.get_window_extent()
    # a label begins above its cross
    wished = [(x, y + 0.75 * height) for (x, y), (_, height) in zip(at, sizes, strict=True)]
    places = free_places(wished, sizes, (frame.x0, frame.y0, frame.x1, frame.y1))
    for text, (x, y), place, (_, height), (_, _, label) in zip(texts, at, places, sizes, points, strict=True):
        left, up = axis.transData.inverted().transform(place)
        text.set_position((left, up))
        if math.dist(place, (x, y)) > 1.5 * height:
            ends = axis.transData.inverted().transform([(x, y), place])
            axis.plot(ends[:, 0], ends[:, 1], color=colours[label], linewidth=0.5, zorder=3)


def free_places(
    wished: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: tuple[float, float, float, float],
) -> list[tuple[float, float]]:
    """Middles of boxes inside a frame that do not overlap, each as near to where it is wished as those before it allow.

    A box for which nothing is free stays where it is wished.

    Args:
        wished: Where the middle of each box would be best.
        sizes: Width and height of each box.
        frame: (x0, y0, x1, y1).
    """
    placed: list[tuple[float, float, float, float]] = []
    found = []
    reach = math.hypot(frame[2] - frame[0], frame[3] - frame[1])
    for (x, y), (width, height) in zip(wished, sizes, strict=True):
        # inside the frame first
        x = min(max(x, frame[0] + width / 2), frame[2] - width / 2)
        y = min(max(y, frame[1] + height / 2), frame[3] - height / 2)
        best = (x, y)
        for ring in range(int(reach / 3)):
            angles = [2 * math.pi * step / max(8, 4 * ring) for step in range(max(8, 4 * ring))] if ring else [0.0]
            free = ((x + 3 * ring * math.cos(angle), y + 3 * ring * math.sin(angle), width, height) for angle in angles)
            if (box := next((box for box in free if _inside(box, frame) and not _hits(box, placed)), None)) is not None:
                best = box[:2]
                break
        placed.append((*best, width, height))
        found.append(best)
    return found


def _inside(box: tuple[float, float, float, float], frame: tuple[float, float, float, float]) -> bool:
    x, y, width, height = box
    across = frame[0] - 1e-6 <= x - width / 2 and x + width / 2 <= frame[2] + 1e-6
    return across and frame[1] - 1e-6 <= y - height / 2 and y + height / 2 <= frame[3] + 1e-6


def _hits(box: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]) -> bool:
    x, y, width, height = box
    return any(abs(x - a) < (width + w) / 2 and abs(y - b) < (height + h) / 2 for a, b, w, h in others)


def attention(case: Mapping[str, Any], moments: Sequence[tuple[str, str]]) -> str:
    """One post: the words shaded by attention and the image under its patches' heat, a row for each model.

    `case` is as `promu.study.attention_maps` gives it; `moments` are its keys of models, each with a title.
    """
    encoded = base64.b64decode(case["image"].partition("base64,")[2])
    image = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    most_word = max((max(case[key]["words"], default=0.0) for key, _ in moments), default=0.0) or 1.0
    patches = np.array([case[key]["patches"] for key, _ in moments])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 1.7 * len(moments)), layout="constrained")
        grid = figure.add_gridspec(len(moments), 3, width_ratios=(1, 1, 3.4))
        for row, (key, called) in enumerate(moments):
            side = figure.add_subplot(grid[row, 0])
            side.imshow(image)
            heat = figure.add_subplot(grid[row, 1])
            heat.imshow(image)
            height, width = image.shape[:2]
            scale = {"vmin": patches.min(), "vmax": patches.max(), "extent": (0, width, height, 0)}
            heat.imshow(patches[row], cmap=HEAT, alpha=0.6, **scale)
            for axis in (side, heat):
                axis.set(xticks=[], yticks=[])
            words = figure.add_subplot(grid[row, 2])
            words.axis("off")
            _words(words, case["tokens"], [share / most_word for share in case[key]["words"]])
            verdict = "right" if case[key]["right"] else "wrong"
            words.set_title(f"{called}: {case[key]['answer']} ({verdict})", fontsize=8, loc="left")
        return to_svg(figure)


def _words(axis: Axes, tokens: Sequence[str], shares: Sequence[float]) -> None:
    """Words in lines, each on a ground as dark as its share."""
    x, y, limit = 0.0, 0.82, 1.0
    for token, share in zip(tokens, shares, strict=True):
        width = 0.0185 * len(token) + 0.03
        if x + width > limit and x > 0:
            x, y = 0.0, y - 0.2
        ground = {"facecolor": (0.04, 0.43, 0.41, 0.85 * share), "edgecolor": "none", "boxstyle": "round,pad=0.2"}
        axis.text(x, y, token, fontsize=8.5, bbox=ground, transform=axis.transAxes)
        x += width
