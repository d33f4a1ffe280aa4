"""The study's figures as SVG: lines with spread, bars, points on a plane, attention over words and patches."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from promu.evaluation.counts import Summary
from promu.report.charts import STYLE, to_svg

HEAT = "magma"
MISSING = "–"
"""In place of a bar, if nothing was measured."""


@dataclass(frozen=True)
class Line:
    """One line: its name, and a mean with its spread (or nothing) at each x."""

    name: str
    points: Sequence[tuple[float, Summary | None]]


def lines(panels: Mapping[str, Sequence[Line]], x_label: str, y_label: str, log: bool = False) -> str:
    """A panel for each group of lines, by title, all over the same kind of axes; `log` makes x logarithmic."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 2.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, drawn) in zip(axes, panels.items(), strict=True):
            for line in drawn:
                measured = [(x, value) for x, value in line.points if value is not None]
                if measured:
                    spread = [value.std or 0.0 for _, value in measured]
                    xs, ys = [x for x, _ in measured], [value.mean for _, value in measured]
                    axis.errorbar(xs, ys, spread, label=line.name, marker="o", markersize=3, capsize=2)
            if log:
                axis.set_xscale("log")
                ticks = sorted({x for line in drawn for x, _ in line.points})
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.minorticks_off()
            axis.set(title=title, xlabel=x_label, ylabel=y_label)
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
                middles = places + (number - (len(series) - 1) / 2) * width
                measured = [(x, value) for x, value in zip(middles, values, strict=True) if value is not None]
                xs, means = [x for x, _ in measured], [value.mean for _, value in measured]
                spread = {"yerr": [value.std or 0.0 for _, value in measured], "error_kw": {"linewidth": 0.7}}
                axis.bar(xs, means, width * 0.92, color=f"C{number}", label=name, **spread)
                for x, value in zip(middles, values, strict=True):
                    if value is None:
                        axis.text(x, 1, MISSING, fontsize=7.5, color=f"C{number}", ha="center")
            axis.set_xticks(places, [wrapped(name) for name in names[title]], fontsize=7.5)
            axis.set(title=title, ylabel="F1", ylim=(0, 100))
        axes[0].legend(fontsize=7.5, ncols=3, loc="upper right")
        return to_svg(figure)


def wrapped(label: str) -> str:
    """A relation label in lines: "/per/org/member_of" as "per org" over "member_of"."""
    head, _, last = label.strip("/").rpartition("/")
    return f"{head.replace('/', ' ')}\n{last}" if head else last


def plane(panels: Mapping[str, Sequence[Sequence[Any]]]) -> str:
    """Points (x, y, label, whether it is a prompt) by panel: things as dots, prompts as their words."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        labels = sorted({str(point[2]) for points in panels.values() for point in points})
        colours = {label: matplotlib.colormaps["turbo"](index / len(labels)) for index, label in enumerate(labels)}
        for axis, (title, points) in zip(axes, panels.items(), strict=True):
            things = [point for point in points if not point[3]]
            places = [[point[side] for point in things] for side in (0, 1)]
            axis.scatter(*places, s=5, c=[colours[str(point[2])] for point in things], linewidths=0)
            prompts = [point for point in points if point[3]]
            # words alone do not stretch the axes
            axis.scatter([point[0] for point in prompts], [point[1] for point in prompts], s=0)
            axis.margins(0.12)
            for x, y, label, _ in prompts:
                axis.text(x, y, label, fontsize=6.5, color=colours[str(label)], ha="center", weight="bold")
            axis.set(title=title, xticks=[], yticks=[])
        return to_svg(figure)


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
