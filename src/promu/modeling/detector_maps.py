"""Which of a detector's many inner values are worth reading: chosen from the shape of its graph."""

from __future__ import annotations

from typing import Any

import torch

from promu.errors import InputError
from promu.modeling.onnx_graph import OnnxGraph

_ACTIVATIONS = {"SiLU", "Relu", "LeakyRelu", "HardSwish", "Clip"}


def choose_maps(trunk: OnnxGraph, size: tuple[int, int], classes: int | None) -> list[str]:
    """The maps of a YOLO-family detector: last of the backbone, last of the neck, and class scores, at each stride.

    Every block of these detectors ends with a convolution over what it has concatenated; the neck begins where a map
    is first enlarged; class scores come from convolutions that no other one follows, of as many channels as there are
    classes, or else of the most.

    Args:
        trunk: The detector with its weights.
        size: (height, width) of the pictures that it can take.
        classes: How many classes it tells apart, where that is known.

    Returns:
        Names of the maps: backbone, neck, scores, each from the finest to the coarsest. Nine for three strides.

    Raises:
        InputError: The graph is not built like that.
    """
    nodes: list[dict[str, Any]] = trunk.graph["nodes"]
    last = _last_convolutions(trunk)
    blocks = _block_ends(nodes)
    with torch.no_grad():
        values = trunk(torch.zeros(1, 3, *size), [*last, *blocks])
    shapes = {name: value.shape for name, value in values.items()}
    scores: dict[tuple[int, int], str] = {}
    for name in last:
        channels, height, width = shapes[name][1:]
        # also here: the convolution by which v8 adds up its distances, over all cells at once
        if size[0] % height or size[0] // height * width != size[1]:
            continue
        rival = shapes[scores[height, width]][1] if (height, width) in scores else -1
        if rival != classes and (channels == classes or channels > rival):
            scores[height, width] = name
    neck_starts = next((number for number, node in enumerate(nodes) if node["op"] == "Resize"), len(nodes))
    backbone: dict[Any, str] = {}
    neck: dict[Any, str] = {}
    for name, number in blocks.items():
        (backbone if number < neck_starts else neck)[tuple(shapes[name][2:])] = name
    strides = sorted(scores, reverse=True)
    if not strides or not all(stride in backbone and stride in neck for stride in strides):
        raise InputError("its graph is not built like a YOLO detector's; name the maps to be read (maps: [...])")
    return [part[stride] for part in (backbone, neck, scores) for stride in strides]


def _last_convolutions(trunk: OnnxGraph) -> list[str]:
    """The outputs of the convolutions that lead to the graph's outputs through no other one, in the graph's order."""
    makers = {name: node for node in trunk.graph["nodes"] for name in node["outputs"]}
    waiting, seen, found = list(trunk.graph["outputs"]), set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        if makers[name]["op"] == "Conv":
            found.add(name)
        else:
            waiting += makers[name]["inputs"]
    return [name for name in makers if name in found]


def _block_ends(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """The activated outputs of the convolutions over a concatenation, each with its place in the graph."""
    joined = {node["outputs"][0] for node in nodes if node["op"] == "Concat"}
    activated = {node["inputs"][0]: node["outputs"][0] for node in nodes if node["op"] in _ACTIVATIONS}
    ends: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if node["op"] == "Conv" and node["inputs"][0] in joined:
            ends[activated.get(node["outputs"][0], node["outputs"][0])] = number
    return ends
