"""The networks whose feature maps a `promu_maps` encoder reads: detectors from ONNX files, and backbones by name.

A detector's inner maps know what things look like long before any caption is read; those of a network trained on
ImageNet know even more kinds. Each source is plain data in the encoder's configuration and weights beside its own.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from promu.errors import InputError
from promu.modeling.onnx_graph import OnnxGraph
from promu.modeling.yolo_layout import LAYOUTS

_ACTIVATIONS = {"SiLU", "Relu", "LeakyRelu", "HardSwish", "Clip"}


class MapSource(nn.Module):
    """One network whose maps are read.

    Args:
        settings: What it is made from, as JSON data: its network; `channels`, those of its maps together; and `size`,
            the side to which images are resized for it, or None where it takes them as they come.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The maps (B, C, H, W), each of its own size, of RGB pixels (B, 3, S, S) in 0..1."""
        return self.maps(self.resized(pixels))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """As `forward`, of pixels in this source's own size."""
        raise NotImplementedError

    def resized(self, pixels: Tensor) -> Tensor:
        """Pixels in this source's own size."""
        size = self.settings.get("size")
        if size is None or list(pixels.shape[2:]) == [size, size]:
            return pixels
        return functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)


class DetectorSource(MapSource):
    """Maps of a YOLO-family detector. Settings: `graph` (JSON of `OnnxGraph`), `layout`, `maps` by name."""

    def __init__(self, settings: dict[str, Any], train: bool = False) -> None:
        super().__init__(settings)
        self.names: list[str] = settings["maps"]
        self.layout = LAYOUTS[settings["layout"]]
        self.graph = OnnxGraph(json.loads(settings["graph"]), train=self.names if train else ())

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """As `MapSource.maps`."""
        values = self.graph(self._as_trained(pixels), self.names)
        return [values[name] for name in self.names]

    def outputs(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps, and what the detector says, (B, N, columns), from one pass.

        Raises:
            InputError: The detector can only say something of images of the size that it was exported for.
        """
        said = self.graph.graph["outputs"][0]
        pixels = self.resized(pixels)
        try:
            values = self.graph(self._as_trained(pixels), [*self.names, said])
        except RuntimeError as error:
            size = self.graph.graph["size"]
            if list(pixels.shape[2:]) == size:
                raise
            raise InputError(
                f"this detector finds regions only in images of {size} pixels, which it was exported for, not "
                f"{list(pixels.shape[2:])}; set image_size to that, or export it again"
            ) from error
        return [values[name] for name in self.names], values[said].float()

    def _as_trained(self, pixels: Tensor) -> Tensor:
        return (pixels.flip(1) if self.layout.bgr else pixels) * self.layout.pixel_scale


class NetworkSource(MapSource):
    """The last map of a backbone that transformers loads by name, convolutional or a vision transformer.

    Settings: `network` (its configuration), `mean` and `std` of its normalisation.
    """

    def __init__(self, settings: dict[str, Any], train: bool = False) -> None:
        super().__init__(settings)
        network = dict(settings["network"])
        self.network: PreTrainedModel = bare_model(AutoConfig.for_model(network.pop("model_type"), **network))
        self.faster: Callable[[Tensor], Tensor] | None = None
        self.trained = train
        self.train()

    def train(self, mode: bool = True) -> Self:
        """A frozen network learns nothing and stays in evaluation mode."""
        super().train(mode)
        if not self.trained:
            self.network.requires_grad_(False).eval()
        return self

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """As `MapSource.maps`."""
        mean, std = (pixels.new_tensor(self.settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        return [(self.faster or self.last_map)((pixels - mean) / std)]

    def last_map(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) of normalised pixels; of a vision transformer, its patches without what stands before them."""
        hidden = self.network(pixel_values=pixels).last_hidden_state
        if hidden.ndim == 4:
            return hidden
        side = math.isqrt(hidden.shape[1])
        return hidden[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))


def bare_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of `config` with random weights and without the pooler that promu never uses."""
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # architectures without a pooler do not know the argument
        return AutoModel.from_config(config)


def build_source(settings: dict[str, Any], train: bool = False) -> MapSource:
    """The source that these settings describe; its weights are random until they are loaded."""
    return (DetectorSource if "graph" in settings else NetworkSource)(settings, train)


def gives_patches(config: PreTrainedConfig) -> bool:
    """Whether an encoder of `config` gives CLS and one vector a patch, as ViT does, and not a map; text encoders do."""
    if hasattr(config, "vocab_size"):
        return True
    whole = all(isinstance(getattr(config, name, None), int) for name in ("hidden_size", "num_hidden_layers"))
    return whole and getattr(config, "patch_size", None) is not None and not hasattr(config, "depths")


@contextmanager
def on_onnxruntime(sources: Sequence[nn.Module], rows: int) -> Iterator[None]:
    """Within it onnxruntime computes frozen networks on the CPU, up to seven times faster; where it is not installed,
    PyTorch goes on.

    Args:
        sources: Of one encoder.
        rows: Images that are computed at once, at most.
    """
    networks = [source for source in sources if isinstance(source, NetworkSource) and not source.trained]
    if any(find_spec(package) is None for package in ("onnx", "onnxruntime", "onnxscript")):
        networks = []
    try:
        for network in networks:
            if network.network.device.type == "cpu":
                network.faster = _OnFirstUse(network, rows)
        yield
    finally:
        for network in networks:
            network.faster = None


class _OnFirstUse:
    """What `_session` makes of a source, made when an image comes."""

    def __init__(self, source: NetworkSource, rows: int) -> None:
        self.made_from = source, rows
        self.compute: Callable[[Tensor], Tensor] | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        self.compute = self.compute or _session(*self.made_from)
        return self.compute(pixels)


def _session(source: NetworkSource, rows: int) -> Callable[[Tensor], Tensor]:
    """The network of a source as a function that onnxruntime computes."""
    import onnxruntime

    side = source.settings["size"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _LastMap(source).eval(),
            (torch.zeros(min(2, rows), 3, side, side),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: Dim("rows", min=1, max=max(2, rows))},),
        )
    assert program is not None
    program.optimize()
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: torch.from_numpy(session.run(None, {name: pixels.float().numpy()})[0])


class _LastMap(nn.Module):
    def __init__(self, source: NetworkSource) -> None:
        super().__init__()
        self.source = source

    def forward(self, pixels: Tensor) -> Tensor:
        return self.source.last_map(pixels)


def choose_maps(trunk: OnnxGraph, size: tuple[int, int], classes: int | None) -> list[str]:
    """The maps of a YOLO-family detector: last of the backbone, last of the neck, and class scores, at each stride.

    Every block of these detectors ends with a convolution over what it has concatenated; the neck begins where a map
    is first enlarged; class scores come from convolutions that no other one follows, of as many channels as there are
    classes, or else of the most.

    Args:
        trunk: The detector with its weights.
        size: (height, width) of the images that it can take.
        classes: How many classes it tells apart, where that is known.

    Returns:
        Names of the maps: backbone, neck, scores, each from the finest to the coarsest.

    Raises:
        InputError: The graph is not built like that.
    """
    nodes: list[dict[str, Any]] = trunk.graph["nodes"]
    last, blocks = _last_convolutions(trunk), _block_ends(nodes)
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
    backbone = {tuple(shapes[name][2:]): name for name, number in blocks.items() if number < neck_starts}
    neck = {tuple(shapes[name][2:]): name for name, number in blocks.items() if number >= neck_starts}
    strides = sorted(scores, reverse=True)
    if not strides or not all(stride in backbone and stride in neck for stride in strides):
        raise InputError("its graph is not built like a YOLO detector's; name the maps to be read (maps: [...])")
    return [part[stride] for part in (backbone, neck, scores) for stride in strides]


def _last_convolutions(trunk: OnnxGraph) -> list[str]:
    """The outputs of the convolutions that lead to the graph's outputs through no other one, in the graph's order."""
    wanted, found = set(trunk.graph["outputs"]), []
    for node in reversed(trunk.graph["nodes"]):
        if wanted.isdisjoint(node["outputs"]):
            continue
        if node["op"] == "Conv":
            found += node["outputs"]
        else:
            wanted.update(node["inputs"])
    return found[::-1]


def _block_ends(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """The activated outputs of the convolutions over a concatenation, each with its place in the graph."""
    joined = {node["outputs"][0] for node in nodes if node["op"] == "Concat"}
    activated = {node["inputs"][0]: node["outputs"][0] for node in nodes if node["op"] in _ACTIVATIONS}
    ends: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if node["op"] == "Conv" and node["inputs"][0] in joined:
            ends[activated.get(node["outputs"][0], node["outputs"][0])] = number
    return ends
