"""Regions by a detector of the YOLO family, or PicoDet, from its ONNX file, whatever the layout of its output."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.synonyms import COCO_NAMES
from promu.cores import usable_cores
from promu.errors import InputError, counted, needs_extra
from promu.files import filled_lines, read_bytes, shorten
from promu.modeling.yolo_layout import (
    LAYOUTS,
    Array,
    YoloLayout,
    cells_of,
    count_classes,
    join_levels,
    picodet_cells,
    recognise_layout,
)
from promu.schema import Region

PAD = 114  # the grey that every member of the family is trained to ignore around an image
OVERLAP = 0.65  # of two boxes of one class that overlap by more (intersection over union), the better one stays
BATCH = 4  # images a pass where the file allows any number; several passes run at once


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an image lies in the detector's input: x_input = x * across + left, y_input = y * down + top."""

    across: float
    down: float
    left: int = 0
    top: int = 0


def letterbox(image: Image.Image, size: tuple[int, int], layout: YoloLayout) -> tuple[Array, Frame]:
    """An image shrunk or grown into (height, width) pixels in its own shape, the rest grey: (height, width, 3).

    Where the layout wants it squeezed, it fills them.
    """
    height, width = size
    if layout.squeezed:
        resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        return resized, Frame(width / image.width, height / image.height)
    scale = min(height / image.height, width / image.width)
    inner = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    left, top = ((width - inner[0]) // 2, (height - inner[1]) // 2) if layout.centred else (0, 0)
    canvas = np.full((height, width, 3), PAD, dtype=np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
    return canvas, Frame(inner[0] / image.width, inner[1] / image.height, left, top)


def to_input(canvases: Sequence[Array], layout: YoloLayout) -> Array:
    """Bytes in RGB to the numbers (B, 3, height, width) that the detector was trained on."""
    stack = np.stack(canvases)
    if layout.bgr:
        stack = stack[..., ::-1]
    scaled = np.ascontiguousarray(stack.transpose(0, 3, 1, 2), dtype=np.float32) * np.float32(layout.pixel_scale / 255)
    if layout.std == (1.0, 1.0, 1.0) and not any(layout.mean):
        return scaled
    mean, std = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (layout.mean, layout.std))
    return (scaled - mean) / std


def decode(output: Array, layout: str, size: tuple[int, int], confidence: float) -> tuple[Array, Array, Array]:
    """What a detector says of one image, as boxes; those with a score below `confidence` are left out.

    Args:
        output: (N, columns), or (rows, N) for a transposed layout.
        layout: A name in `LAYOUTS`.
        size: (height, width) of the input.

    Returns:
        Boxes (n, 4) as x0, y0, x1, y1 in pixels of the input, scores (n,) and class ids (n,).
    """
    kind = LAYOUTS[layout]
    rows = np.asarray(output, dtype=np.float32)
    if layout == "end-to-end":
        rows = rows[rows[:, 4] >= confidence]
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
    if kind.transposed:
        rows = rows.T
    scores = rows[:, 4:] if not kind.objectness else rows[:, 5:] * rows[:, 4:5]
    classes = scores.argmax(1)
    best = scores[np.arange(len(rows)), classes]
    kept = np.flatnonzero(best >= confidence)
    boxes = rows[kept, :4]
    if kind.distances:
        places = picodet_cells(size)[kept]
        stride = places[:, 2:]
        centres = (places[:, :2] + 0.5) * stride
        corners = np.concatenate([centres - boxes[:, :2] * stride, centres + boxes[:, 2:] * stride], axis=1)
        return corners, best[kept], classes[kept]
    if kind.grid:
        grid = cells_of(len(rows), size)
        assert grid is not None, "the layout was recognised by its cells"
        stride = grid[kept, 2:]
        boxes = np.concatenate([(boxes[:, :2] + grid[kept, :2]) * stride, np.exp(boxes[:, 2:]) * stride], axis=1)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1), best[kept], classes[kept]


def suppress(boxes: Array, scores: Array, classes: Array, limit: int) -> Array:
    """Non-maximum suppression within each class: the indices of at most `limit` boxes, best first."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        same = (shared > OVERLAP * (areas[best] + areas[rest] - shared)) & (classes[best] == classes[rest])
        order = rest[~same]
    return np.array(kept, dtype=np.int64)


def find_regions(
    output: Array,
    layout: str,
    size: tuple[int, int],
    frame: Frame,
    image_size: tuple[int, int],
    names: Sequence[str],
    settings: DetectorSettings,
) -> list[Region]:
    """The regions of one image from a detector's output: decoded, suppressed, moved back to the image.

    Output, layout and size are as in `decode`; `frame` says where the image of `image_size`, (width, height) in pixels,
    lay in the input.

    Raises:
        InputError: There are fewer names than classes, which an `end-to-end` layout only shows here.
    """
    boxes, scores, classes = decode(output, layout, size, settings.confidence)
    if classes.size and classes.max() >= len(names):
        reason = f"the detector found class {classes.max()} (from 0) and knows {counted(len(names), 'name')}"
        raise InputError(f"{reason}; give a file with its class names, one a line")
    boxes = np.clip((boxes - [frame.left, frame.top] * 2) / ([frame.across, frame.down] * 2), 0, image_size * 2)
    inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    inside = inside[suppress(boxes[inside], scores[inside], classes[inside], settings.max_regions)]
    return [
        Region(tuple(boxes[row].tolist()), names[classes[row]], min(1.0, float(scores[row])))  # type: ignore[arg-type]
        for row in inside
    ]


class YoloRegions:
    """Regions by an ONNX file of a YOLO-family detector (YOLOX, v5, v7, v8 and their successors) or of PicoDet.

    The layout is recognised from what the detector says of a grey image. Class names are those of the settings'
    file, else those that the ONNX file carries (as ultralytics writes them), else COCO's where there are 80 classes.

    Raises:
        InputError: onnxruntime is missing, the file is no such detector, or its classes have no names.
    """

    def __init__(self, path: str | Path, settings: DetectorSettings) -> None:
        path = Path(path)
        data = read_bytes(path)
        self.settings = settings
        self._session = _session(data, path)
        (given, *more) = self._session.get_inputs()
        if more or len(given.shape) != 4 or given.type not in ("tensor(float)", "tensor(float16)"):
            raise InputError("its input is not one batch of images in floating point; export the detector again", path)
        self._name = given.name
        self._dtype = np.float16 if given.type == "tensor(float16)" else np.float32
        self._batch = given.shape[0] if isinstance(given.shape[0], int) else BATCH
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.size = _input_size(given.shape, metadata, path)
        outputs = self._outputs(np.full((self._batch, 3, *self.size), PAD / 255, dtype=np.float32))
        joined = join_levels(outputs, self.size)
        probe = (outputs[0] if joined is None else joined)[:1]
        try:
            self.layout = "picodet" if joined is not None else recognise_layout(probe, self.size)
        except InputError as error:
            raise error.at(path) from None
        self.names = _class_names(probe, self.layout, settings, metadata, path)
        self.identity = settings.identify("yolo", hashlib.sha256(data + repr(self.names).encode()).hexdigest())

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        parts = [images[start : start + self._batch] for start in range(0, len(images), self._batch)]
        with ThreadPoolExecutor(usable_cores()) as pool:
            return [regions for part in pool.map(self._detect, parts) for regions in part]

    def _detect(self, images: Sequence[Image.Image]) -> list[list[Region]]:
        layout = LAYOUTS[self.layout]
        canvases, frames = zip(*(letterbox(image, self.size, layout) for image in images), strict=True)
        return [
            find_regions(output, self.layout, self.size, frame, image.size, self.names, self.settings)
            for output, frame, image in zip(self._run(to_input(canvases, layout)), frames, images, strict=False)
        ]

    def _run(self, pixels: Array) -> Array:
        """The detector's output for up to `_batch` images; a file for a fixed number gets it filled up."""
        if len(pixels) < self._batch and isinstance(self._session.get_inputs()[0].shape[0], int):
            pixels = np.concatenate([pixels, np.zeros((self._batch - len(pixels), *pixels.shape[1:]), np.float32)])
        outputs = self._outputs(pixels)
        joined = join_levels(outputs, self.size) if self.layout == "picodet" else None
        return outputs[0] if joined is None else joined

    def _outputs(self, pixels: Array) -> list[Array]:
        said = self._session.run(None, {self._name: pixels.astype(self._dtype, copy=False)})
        return [np.asarray(output) for output in said]


def _session(data: bytes, path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise needs_extra("detector 'yolo'", "onnxruntime", "onnx") from None
    faults = onnxruntime.capi.onnxruntime_pybind11_state
    options = onnxruntime.SessionOptions()
    # one thread a pass, several passes at once: threads that share a pass of a small detector mostly wait
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # Paddle's exports list their weights as inputs, each of which is a warning
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (faults.InvalidProtobuf, faults.InvalidGraph, faults.InvalidArgument, faults.Fail) as error:
        raise InputError(f"not an ONNX model that onnxruntime can run ({shorten(str(error), 120)})", path) from None
    except faults.NotImplemented as error:
        raise InputError(f"onnxruntime cannot run this ONNX model ({shorten(str(error), 120)})", path) from None


def _literal(metadata: dict[str, str], key: str, path: Path) -> Any:
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InputError(f"its {key!r} entry is not a Python literal: {shorten(metadata[key])}", path) from None


def _input_size(shape: Sequence[Any], metadata: dict[str, str], path: Path) -> tuple[int, int]:
    """(height, width) of the input: fixed in the graph, or given in the metadata."""
    sides = shape[2:]
    if not all(isinstance(side, int) for side in sides) and "imgsz" in metadata:
        sides = _literal(metadata, "imgsz", path)
    if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"its input size {sides} is not fixed; export the detector for one size", path)
    return sides[0], sides[1]


def _class_names(
    output: Array, layout: str, settings: DetectorSettings, metadata: dict[str, str], path: Path
) -> tuple[str, ...]:
    count = count_classes(output, layout)
    if settings.class_names is not None:
        names = tuple(str(line) for _, line in filled_lines(settings.class_names, None))
    elif "names" in metadata:
        value = _literal(metadata, "names", path)
        names = tuple(str(name) for name in (value.values() if isinstance(value, dict) else value))
    else:
        names = COCO_NAMES
    if count is not None and len(names) != count:
        reason = f"the detector has {counted(count, 'class', 'classes')} and knows {counted(len(names), 'name')}"
        remedy = "give a file with the name of each class, one a line"
        raise InputError(f"{reason}; {remedy}", settings.class_names or path)
    return names
