"""Detectors built like YOLOX and v8 with a few thousand random weights, for tests that must not need real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
CLASSES = 3


class Builder:
    """Writes nodes and random weights."""

    def __init__(self) -> None:
        import onnx

        self.onnx = onnx
        self.chance = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, x: str, inside: int, outside: int, size: int = 1, stride: int = 1, active: bool = True) -> str:
        weight = self.chance.normal(0, 1.5 / (inside * size * size) ** 0.5, (outside, inside, size, size))
        bias = self.chance.normal(0, 0.3, outside)
        sizes = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
        out = self.add(
            "Conv", x, self.constant(weight.astype("f4")), self.constant(bias.astype("f4")), dilations=[1, 1], **sizes
        )
        return self.add("Mul", out, self.add("Sigmoid", out)) if active else out

    def block(self, x: str, inside: int, outside: int) -> str:
        return self.conv(self.add("Concat", x, self.conv(x, inside, outside), axis=1), inside + outside, outside)

    def enlarge(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], "f4"))
        return self.add("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")

    def join(self, first: str, second: str, inside: int, outside: int) -> str:
        return self.conv(self.add("Concat", first, second, axis=1), inside, outside)

    def trunk(self) -> list[tuple[str, int]]:
        """Backbone and neck: the neck's maps at strides 8, 16 and 32 with their channels."""
        x = self.conv("images", 3, 4, size=3, stride=2)
        x = self.conv(x, 4, 4, size=3, stride=2)
        fine = self.block(self.conv(x, 4, 4, size=3, stride=2), 4, 4)
        middle = self.block(self.conv(fine, 4, 6, size=3, stride=2), 6, 6)
        coarse = self.block(self.conv(middle, 6, 8, size=3, stride=2), 8, 8)
        up = self.join(self.enlarge(coarse), middle, 14, 6)
        maps = [(self.join(self.enlarge(up), fine, 10, 4), 4)]
        maps.append((self.join(self.conv(maps[0][0], 4, 6, size=3, stride=2), up, 12, 6), 6))
        maps.append((self.join(self.conv(maps[1][0], 6, 8, size=3, stride=2), coarse, 16, 8), 8))
        return maps

    def save(self, path: Path, shape: list[int]) -> Path:
        self.nodes[-1].output[0] = "output"
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("images", kind, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("output", kind, shape)],
            self.constants,
        )
        self.onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path


def save_tiny_yolox(path: Path) -> Path:
    """Write a detector like YOLOX: 64 x 64 pixels in, strides 8, 16 and 32, three classes, for one image at a time.

    Its nine maps have 4, 6, 8 (backbone), 4, 6, 8 (neck) and 3, 3, 3 (scores) channels: 45 together.
    """
    b = Builder()
    levels = []
    for x, inside in b.trunk():
        box, thing, kind = (b.conv(x, inside, width, active=False) for width in (4, 1, CLASSES))
        said = b.add("Concat", box, b.add("Sigmoid", thing), b.add("Sigmoid", kind), axis=1)
        levels.append(b.add("Reshape", said, b.constant(np.array([1, 5 + CLASSES, -1]))))
    b.add("Transpose", b.add("Concat", *levels, axis=2), perm=[0, 2, 1])
    return b.save(path, [1, 84, 5 + CLASSES])


def save_tiny_yolov8(path: Path) -> Path:
    """Write a detector like v8 on the same trunk: each side of a box is the mean of a distribution over 4 distances."""
    b = Builder()
    levels, centres, strides = [], [], []
    for stride, (x, inside) in zip((8, 16, 32), b.trunk(), strict=True):
        parts = [b.conv(x, inside, width, active=False) for width in (16, CLASSES)]
        levels.append(b.add("Reshape", b.add("Concat", *parts, axis=1), b.constant(np.array([1, 16 + CLASSES, -1]))))
        rows, columns = np.mgrid[: SIDE // stride, : SIDE // stride]
        centres.append(np.stack([columns.ravel(), rows.ravel()]) + 0.5)
        strides.append(np.full((1, rows.size), stride))
    b.nodes.append(
        b.onnx.helper.make_node(
            "Split", [b.add("Concat", *levels, axis=2), b.constant(np.array([16, CLASSES]))], ["box", "kind"], axis=1
        )
    )
    sides = b.add("Transpose", b.add("Reshape", "box", b.constant(np.array([1, 4, 4, 84]))), perm=[0, 2, 1, 3])
    mean = b.constant(np.arange(4, dtype="f4").reshape(1, 4, 1, 1))
    sides = b.add("Reshape", b.add("Conv", b.add("Softmax", sides, axis=1), mean), b.constant(np.array([1, 4, 84])))
    b.nodes.append(b.onnx.helper.make_node("Split", [sides], ["before", "after"], axis=1))
    anchors = b.constant(np.concatenate(centres, axis=1, dtype="f4")[None])
    low, high = b.add("Sub", anchors, "before"), b.add("Add", anchors, "after")
    middle = b.add("Div", b.add("Add", low, high), b.constant(np.float32(2)))
    boxes = b.add("Concat", middle, b.add("Sub", high, low), axis=1)
    boxes = b.add("Mul", boxes, b.constant(np.concatenate(strides, axis=1, dtype="f4")))
    b.add("Concat", boxes, b.add("Sigmoid", "kind"), axis=1)
    return b.save(path, [1, 4 + CLASSES, 84])
