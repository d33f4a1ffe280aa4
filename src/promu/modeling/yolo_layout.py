"""How detectors of the YOLO family, and PicoDet, lay out what they see and what they say, recognised from outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promu.errors import InputError

Array = np.ndarray[Any, Any]

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Pixels of the input between neighbouring cells, level by level; the second kind has one level more (P6)."""


@dataclass(frozen=True, slots=True)
class YoloLayout:
    """One member of the family.

    Attributes:
        bgr: Pixels come blue first.
        pixel_scale: What 255 becomes: 255 or 1.
        centred: An image of another shape is padded on both sides, not at the right and below only.
        objectness: Each box has a score of its own before the classes' scores, to be multiplied.
        transposed: Boxes are columns, (B, 4 + C, N), not rows.
        grid: Boxes are still relative to their cells.
        distances: Boxes are distances from a cell's centre to the left, top, right and bottom, in strides.
        squeezed: An image of another shape is squeezed to the input, not padded.
        mean, std: Normalisation of the scaled pixels, red first.
    """

    bgr: bool = False
    pixel_scale: float = 1.0
    centred: bool = True
    objectness: bool = True
    transposed: bool = False
    grid: bool = False
    distances: bool = False
    squeezed: bool = False
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


LAYOUTS = {
    "yolox-grid": YoloLayout(bgr=True, pixel_scale=255.0, centred=False, grid=True),
    "yolox": YoloLayout(bgr=True, pixel_scale=255.0, centred=False),
    "yolov5": YoloLayout(),
    "yolov8": YoloLayout(objectness=False, transposed=True),
    "end-to-end": YoloLayout(objectness=False),
    "picodet": YoloLayout(
        objectness=False, distances=True, squeezed=True, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
}
"""By name. `yolox`: (B, N, 5 + C), one box a cell; `yolov5` (and v7): the same, three boxes a cell; `yolov8` (and v5u,
v9, v11): (B, 4 + C, N); `end-to-end` (v10, or exported with suppression): (B, N, 6), box corners, score, class;
`picodet`: what `join_levels` makes, (B, N, 4 + C)."""

PICODET_STRIDES = (8, 16, 32, 64)


def cells(size: tuple[int, int]) -> Iterator[Array]:
    """The cells of each kind of grid over an input of (height, width) pixels: (N, 3) as x, y, stride, row by row."""
    for strides in STRIDES:
        levels = []
        for stride in strides:
            rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
            levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
        yield np.concatenate(levels).astype(np.float32)


def cells_of(count: int, size: tuple[int, int]) -> Array | None:
    """The cells, as `cells` has them, of a grid that has `count`; None when neither kind has."""
    return next((grid for grid in cells(size) if len(grid) == count), None)


def picodet_cells(size: tuple[int, int]) -> Array:
    """As `cells`, of PicoDet, whose last row and column of cells may reach beyond the image."""
    levels = []
    for stride in PICODET_STRIDES:
        rows, columns = np.mgrid[: math.ceil(size[0] / stride), : math.ceil(size[1] / stride)]
        levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)


def join_levels(outputs: Sequence[Array], size: tuple[int, int]) -> Array | None:
    """The outputs of PicoDet as one, (B, N, 4 + C): distances in strides, then scores of classes. None of another kind.

    PicoDet says of each level the classes' scores (B, cells, C), then of each level the distances (B, cells, 4 * bins),
    a distribution over 0, 1, 2, ... strides for each side (Li et al., Generalized Focal Loss, 2020): a distance is its
    mean.
    """
    levels = [math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in PICODET_STRIDES]
    if len(outputs) != 2 * len(levels) or [output.shape[1] for output in outputs if output.ndim == 3] != levels * 2:
        return None
    scores = np.concatenate(outputs[: len(levels)], axis=1)
    bins = np.concatenate(outputs[len(levels) :], axis=1).astype(np.float32)
    if bins.shape[2] % 4:
        return None
    bins = bins.reshape(*bins.shape[:2], 4, -1)
    share = np.exp(bins - bins.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return np.concatenate([share @ np.arange(bins.shape[-1], dtype=np.float32), scores.astype(np.float32)], axis=2)


def recognise_layout(output: Array, size: tuple[int, int]) -> str:
    """The layout that a detector's output has, by its shape and, for YOLOX, by where its boxes lie.

    Args:
        output: What the detector says of one image, (1, rows, columns).
        size: (height, width) of the input in pixels.

    Raises:
        InputError: It is none of `LAYOUTS`, by whose names it goes.
    """
    counts = [len(grid) for grid in cells(size)]
    if output.ndim == 3:
        _, rows, columns = output.shape
        if (grid := cells_of(rows, size)) is not None and columns > 5:
            # whether the boxes' centres are offsets from their cells, rather than near their cells in the image
            away = np.abs(output[0, :, :2] - (grid[:, :2] + 0.5) * grid[:, 2:])
            return "yolox-grid" if float(np.abs(output[0, :, :2]).mean()) < float(away.mean()) else "yolox"
        if rows in [3 * count for count in counts] and columns > 5:
            return "yolov5"
        if columns in counts and rows > 4:
            return "yolov8"
        if columns == 6:
            return "end-to-end"
    raise InputError(
        f"its output has the shape {tuple(output.shape)} for an image of {size[1]} x {size[0]} pixels, which is no "
        f"YOLO layout; known are (1, N, 5 + C) and (1, 4 + C, N) with N = {counts[0]} or {counts[1]} (or three times "
        "that) and (1, N, 6); export the detector without post-processing"
    )


def count_classes(output: Array, layout: str) -> int | None:
    """How many classes a detector tells apart, by its output (1, rows, columns); None where the output does not say."""
    kind = LAYOUTS[layout]
    columns = output.shape[1] if kind.transposed else output.shape[2]
    return None if layout == "end-to-end" else columns - (5 if kind.objectness else 4)
