"""A convolutional ONNX graph as a PyTorch module: the detector's trunk, trained and saved like any other layer.

Reading the file takes the `onnx` package; once read, the graph is plain data (JSON for the nodes, tensors for the
weights) and neither onnx nor onnxruntime is needed to run, train, save or load it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init

from promu.errors import InputError, needs_extra
from promu.files import absent

Values = list[Any]
"""A node's inputs: tensors, Python numbers or lists where the graph holds a constant, None where one is left out."""


def _window(node: dict[str, Any]) -> dict[str, Any]:
    """Stride, padding and dilation as PyTorch takes them: ONNX pads both ends of a side, which have to agree."""
    sizes = node["attributes"]
    top, left, bottom, right = sizes.get("pads", [0] * 4)
    if (top, left) != (bottom, right):
        raise InputError(f"{node['op']} {node['outputs'][0]!r} of the graph is padded unevenly, which promu cannot run")
    return {"stride": sizes.get("strides", 1), "padding": [top, left], "dilation": sizes.get("dilations", 1)}


def _conv(values: Values, node: dict[str, Any]) -> Tensor:
    x, weight, bias = [*values, None][:3]
    return functional.conv2d(x, weight, bias, **_window(node), groups=node["attributes"].get("group", 1))


def _max_pool(values: Values, node: dict[str, Any]) -> Tensor:
    sizes = node["attributes"]
    ceil_mode = bool(sizes.get("ceil_mode", 0))
    return functional.max_pool2d(values[0], sizes["kernel_shape"], **_window(node), ceil_mode=ceil_mode)


def _resize(values: Values, node: dict[str, Any]) -> Tensor:
    scales = (values[2] if len(values) > 2 else None) or []
    nearest = node["attributes"].get("mode", "nearest") == "nearest"
    if not nearest or len(scales) != 4 or any(scale != int(scale) for scale in scales):
        raise InputError(f"Resize {node['outputs'][0]!r} of the graph is not by the nearest and a whole factor")
    return functional.interpolate(values[0], scale_factor=[float(scale) for scale in scales[2:]], mode="nearest")


def _slice(values: Values, node: dict[str, Any]) -> Tensor:
    x, starts, ends, axes, steps = [*values, None, None][:5]
    where = [slice(None)] * x.dim()
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[place] if axes else place
        where[axis] = slice(start, end, steps[place] if steps else 1)
    return x[tuple(where)]


def _split(values: Values, node: dict[str, Any]) -> tuple[Tensor, ...]:
    x, axis = values[0], node["attributes"].get("axis", 0)
    parts = values[1] if len(values) > 1 else node["attributes"].get("split")
    return torch.split(x, parts or -(-x.shape[axis] // len(node["outputs"])), dim=axis)


def _reshape(values: Values, _: dict[str, Any]) -> Tensor:
    x, shape = values
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(shape)])


def _softmax(values: Values, node: dict[str, Any]) -> Tensor:
    x, attributes = values[0], node["attributes"]
    if attributes["opset"] >= 13:
        return x.softmax(attributes.get("axis", -1))
    # before opset 13 the dimensions from the axis on were one
    return x.flatten(attributes.get("axis", 1)).softmax(-1).view_as(x)


def _silu(values: Values, node: dict[str, Any]) -> Tensor:
    # in place where the plan says that nobody else reads the input, and no gradient will
    return functional.silu(values[0], inplace="last_reader" in node["attributes"] and not torch.is_grad_enabled())


OPERATIONS: dict[str, Callable[[Values, dict[str, Any]], Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda values, _: values[0] + values[1],
    "Clip": lambda values, _: values[0].clamp(*[*values, None, None][1:3]),
    "Concat": lambda values, node: torch.cat(values, dim=node["attributes"]["axis"]),
    "Conv": _conv,
    "Div": lambda values, _: values[0] / values[1],
    "Exp": lambda values, _: values[0].exp(),
    "HardSwish": lambda values, _: functional.hardswish(values[0]),
    "Identity": lambda values, _: values[0],
    "LeakyRelu": lambda values, node: functional.leaky_relu(values[0], node["attributes"].get("alpha", 0.01)),
    "MatMul": lambda values, _: values[0] @ values[1],
    "MaxPool": _max_pool,
    "Mul": lambda values, _: values[0] * values[1],
    "Pow": lambda values, _: values[0] ** values[1],
    "Relu": lambda values, _: values[0].relu(),
    "Reshape": _reshape,
    "Resize": _resize,
    "SiLU": _silu,
    "Sigmoid": lambda values, _: values[0].sigmoid(),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sub": lambda values, _: values[0] - values[1],
    "Transpose": lambda values, node: values[0].permute(node["attributes"]["perm"]),
}
"""What can be run. `SiLU` is not ONNX's: `read_onnx` writes it for x * sigmoid(x), at half the memory traffic."""

_CONSTANT_INPUTS = {"Clip": (1, 2), "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,)}
"""Inputs that fix shapes: they must be constants of the graph, and are kept as numbers."""


class OnnxGraph(nn.Module):
    """Runs a graph that `read_onnx` has read.

    Args:
        graph: The graph as data: `input`, `outputs`, `size` [height, width] of the images, `nodes` (op, inputs,
            outputs, attributes), `constants` by name, `weights` (shape by name).
        train: Names of values to be trained: the weights that lead to them are parameters, the others buffers, which no
            optimiser sees. Names and saved files are the same either way.

    Example:
        ```python
        graph = OnnxGraph.from_onnx("yolox_nano.onnx")
        graph(pixels)["output"]  # (B, 3549, 85)
        ```
    """

    def __init__(self, graph: dict[str, Any], train: Sequence[str] = ()) -> None:
        super().__init__()
        self.graph = graph
        self._plan = lru_cache(maxsize=8)(self._make_plan)
        self._slots = {name: f"w{number}" for number, name in enumerate(graph["weights"])}
        trained = {name for node, _ in self._plan(tuple(train)) for name in node["inputs"]}
        for name, shape in graph["weights"].items():
            tensor = torch.zeros(shape)
            if name in trained:
                self.register_parameter(self._slots[name], nn.Parameter(tensor))
            else:
                self.register_buffer(self._slots[name], tensor)

    @classmethod
    def from_onnx(cls, path: str | Path, train: Sequence[str] = ()) -> Self:
        """The graph of a file with its weights; raises as `read_onnx`."""
        graph, weights = read_onnx(path)
        module = cls(graph, train)
        module.load_weights(weights)
        return module

    @torch.no_grad()
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take over the weights that `read_onnx` gave, by their names in the graph."""
        for name, slot in self._slots.items():
            getattr(self, slot).copy_(weights[name])

    def start_weights(self) -> None:
        """Small random weights where no checkpoint holds them; a trunk is meant to be loaded."""
        for slot in self._slots.values():
            tensor = getattr(self, slot)
            if tensor.dim() > 1:
                init.normal_(tensor, std=(2.0 / max(1, tensor[0].numel())) ** 0.5)
            else:
                init.zeros_(tensor)

    def forward(self, pixels: Tensor, maps: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Values of the graph by name, its outputs unless `maps` names others, of pixels (B, 3, H, W).

        Raises:
            InputError: The graph has no such value.
        """
        wanted = tuple(self.graph["outputs"] if maps is None else maps)
        values: dict[str, Any] = {name: getattr(self, slot) for name, slot in self._slots.items()}
        values |= {**self.graph["constants"], "": None}  # an input that is left out has no name
        # convolutions are fastest this way round: half the time on a CPU
        values[self.graph["input"]] = pixels.contiguous(memory_format=torch.channels_last)
        for node, finished in self._plan(wanted):
            results = OPERATIONS[node["op"]]([values[name] for name in node["inputs"]], node)
            values.update(zip(node["outputs"], results if isinstance(results, tuple) else (results,), strict=True))
            for name in finished:
                del values[name]
        return {name: values[name] for name in wanted}

    def _make_plan(self, wanted: tuple[str, ...]) -> list[tuple[dict[str, Any], list[str]]]:
        """The nodes that lead to `wanted`, in order, each with the values that nobody needs after it."""
        makers = {name: node["op"] for node in self.graph["nodes"] for name in node["outputs"]}
        made = {*makers, self.graph["input"]}
        for name in wanted:
            if name not in made:
                raise InputError(f"the detector's graph has no map {name!r}; name an output of one of its nodes")
        needed = set(wanted)
        plan: list[tuple[dict[str, Any], list[str]]] = []
        for node in reversed(self.graph["nodes"]):
            if needed.isdisjoint(node["outputs"]):
                continue
            # going backwards, what is met for the first time is used here for the last
            finished = sorted(({*node["inputs"]} & made) - needed)
            unused = [name for name in node["outputs"] if name not in needed]
            needed.update(node["inputs"])
            # only a convolution's own result: others may be views of what is still needed
            if node["op"] == "SiLU" and finished and makers.get(finished[0]) == "Conv":
                node = {**node, "attributes": {"last_reader": True}}
            plan.append((node, finished + unused))
        return plan[::-1]


def read_onnx(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A graph as data for `OnnxGraph`, for any number of images, and its weights by name, in fp32.

    Raises:
        InputError: The onnx package is missing, the file is no ONNX model, or its graph holds what promu cannot run.
    """
    path = Path(path)
    onnx, model = _load(path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    to_array = onnx.numpy_helper.to_array
    tensors = {entry.name: to_array(entry) for entry in model.graph.initializer}
    nodes: list[dict[str, Any]] = []
    for entry in model.graph.node:
        attributes = {item.name: _plain(onnx.helper.get_attribute_value(item)) for item in entry.attribute}
        if entry.op_type == "Constant":
            tensors[entry.output[0]] = to_array(entry.attribute[0].t)
            continue
        if entry.op_type not in OPERATIONS or attributes.get("auto_pad", "NOTSET") != "NOTSET":
            raise InputError(
                f"its graph uses {entry.op_type} ({entry.output[0]!r}), which promu cannot run as a vision encoder; "
                "export it simplified and without post-processing",
                path,
            )
        if entry.op_type == "Softmax":
            attributes["opset"] = opset
        ends = {"inputs": list(entry.input), "outputs": list(entry.output)}
        nodes.append({"op": entry.op_type, **ends, "attributes": attributes})
    inputs = [entry for entry in model.graph.input if entry.name not in tensors]
    if len(inputs) != 1:
        raise InputError(f"its graph takes {len(inputs)} inputs; a detector of images takes one", path)
    sizes = [size.dim_value for size in inputs[0].type.tensor_type.shape.dim]
    constants = _constants(nodes, tensors, path, one_image=sizes[:1] == [1])
    used = {name for node in nodes for name in node["inputs"]} - constants.keys()
    weights = {name: torch.tensor(value, dtype=torch.float32) for name, value in tensors.items() if name in used}
    outputs = [entry.name for entry in model.graph.output]
    graph = {
        "input": inputs[0].name,
        "outputs": outputs,
        "size": sizes[2:] if len(sizes) == 4 and min(sizes[2:]) > 0 else None,
        "nodes": _fuse_silu(nodes, outputs),
        "constants": constants,
        "weights": {name: list(value.shape) for name, value in weights.items()},
    }
    return graph, weights


def _load(path: Path) -> tuple[Any, Any]:
    """The onnx package, and the model in a file."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise needs_extra("reading an ONNX file", "onnx", "onnx") from None
    try:
        return onnx, onnx.load(path)
    except FileNotFoundError:
        raise absent(path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); name one ONNX file", path) from None
    except DecodeError:
        raise InputError("not an ONNX model, or one cut short; fetch or export it again", path) from None


def _plain(value: Any) -> Any:
    """An attribute as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str | int | float):
        return value
    return [_plain(item) for item in value] if isinstance(value, Sequence) else None


def _constants(nodes: list[dict[str, Any]], tensors: dict[str, Any], path: Path, one_image: bool) -> dict[str, Any]:
    """The tensors that fix shapes, as numbers; a shape that says "one image" comes to say "as many as come"."""
    constants: dict[str, Any] = {}
    for node in nodes:
        places = _CONSTANT_INPUTS.get(node["op"], ())
        for name in filter(None, (node["inputs"][place] for place in places if place < len(node["inputs"]))):
            if name not in tensors:
                raise InputError(
                    f"the {node['op']} {node['outputs'][0]!r} of its graph is computed from the image's shape; "
                    "export it for a fixed size, simplified",
                    path,
                )
            constants[name] = tensors[name].tolist()
            if node["op"] == "Reshape" and one_image and constants[name][:1] == [1]:
                constants[name] = [0, *constants[name][1:]]
    return constants


def _fuse_silu(nodes: list[dict[str, Any]], outputs: Sequence[str]) -> list[dict[str, Any]]:
    """Write Mul(x, Sigmoid(x)) as SiLU(x) where nothing else reads the sigmoid."""
    readers = Counter(name for node in nodes for name in node["inputs"])
    gates = {
        node["outputs"][0]: node["inputs"][0]
        for node in nodes
        if node["op"] == "Sigmoid" and readers[node["outputs"][0]] == 1 and node["outputs"][0] not in outputs
    }
    fused: set[str] = set()
    result = []
    for node in nodes:
        gate = next((name for name in node["inputs"] if node["op"] == "Mul" and name in gates), None)
        if gate is not None and sorted(node["inputs"]) == sorted([gate, gates[gate]]):
            fused.add(gate)
            node = {"op": "SiLU", "inputs": [gates[gate]], "outputs": node["outputs"], "attributes": {}}
        result.append(node)
    return [node for node in result if fused.isdisjoint(node["outputs"])]
