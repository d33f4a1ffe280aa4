"""A detector of YOLOX's build with a few thousand random weights, for tests that must not need the real one."""

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

    def head(self, x: str, inside: int) -> str:
        box, thing, kind = (self.conv(x, inside, width, active=False) for width in (4, 1, CLASSES))
        said = self.add("Concat", box, self.add("Sigmoid", thing), self.add("Sigmoid", kind), axis=1)
        return self.add("Reshape", said, self.constant(np.array([1, 5 + CLASSES, -1])))


def save_tiny_yolox(path: Path) -> Path:
    """Write the detector: 64 x 64 pixels in, strides 8, 16 and 32, three classes, exported for one picture at a time.

    Its nine maps have 4, 6, 8 (backbone), 4, 6, 8 (neck) and 3, 3, 3 (scores) channels: 45 together.
    """
    b = Builder()
    x = b.conv("images", 3, 4, size=3, stride=2)
    x = b.conv(x, 4, 4, size=3, stride=2)
    fine = b.block(b.conv(x, 4, 4, size=3, stride=2), 4, 4)
    middle = b.block(b.conv(fine, 4, 6, size=3, stride=2), 6, 6)
    coarse = b.block(b.conv(middle, 6, 8, size=3, stride=2), 8, 8)
    up = b.join(b.enlarge(coarse), middle, 14, 6)
    heads = [(b.join(b.enlarge(up), fine, 10, 4), 4)]
    heads.append((b.join(b.conv(heads[0][0], 4, 6, size=3, stride=2), up, 12, 6), 6))
    heads.append((b.join(b.conv(heads[1][0], 6, 8, size=3, stride=2), coarse, 16, 8), 8))
    together = b.add("Concat", *(b.head(x, width) for x, width in heads), axis=2)
    b.nodes.append(b.onnx.helper.make_node("Transpose", [together], ["output"], perm=[0, 2, 1]))
    helper, kind = b.onnx.helper, b.onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        b.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", kind, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", kind, [1, 84, 5 + CLASSES])],
        b.constants,
    )
    b.onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
