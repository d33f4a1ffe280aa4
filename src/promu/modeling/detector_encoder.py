"""A vision encoder made of a detector: one pass over an image gives regions and patch tokens.

A detector's inner feature maps know what things look like long before any caption is read. Maps of its backbone, its
neck and its class scores are pooled to one grid, standardised, and read by a small transformer. The detector's trunk is
frozen, so that its features can be computed once and kept.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel, ViTConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.vit.modeling_vit import ViTLayer

from promu.errors import InputError
from promu.hub import weights_checksum
from promu.modeling.onnx_graph import OnnxGraph
from promu.modeling.yolo_layout import LAYOUTS

_ACTIVATIONS = {"SiLU", "Relu", "LeakyRelu", "HardSwish", "Clip"}


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


DETECTOR_NORMALISATION = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
"""`PromuConfig`'s normalisation for this encoder, which takes pixels in 0..1 and knows its detector's own scale."""


@strict
class DetectorEncoderConfig(ViTConfig):
    """Settings of the transformer as ViT's, plus the detector's; made by `detector_encoder_from_onnx`.

    Args:
        graph: The detector's graph, JSON of what `OnnxGraph` takes.
        layout: The detector's layout, a name in `promu.modeling.yolo_layout.LAYOUTS`.
        maps: Names of the graph's values that become features.
        channels: C, the channels of these maps together.
        grid: Patches along a side; a map of any size is pooled to grid x grid.
        train_trunk: Train what leads to the maps too. Otherwise the detector's weights are buffers, which no optimiser
            sees.
    """

    model_type = "promu_detector"
    derived = ("graph", "layout", "channels", "patch_size")  # no settings: the file says them
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    image_size: int | list[int] | tuple[int, int] = 416
    graph: str = ""
    layout: str = "yolox-grid"
    maps: list[str] | tuple[str, ...] = ()
    channels: int = 0
    grid: int = 7
    train_trunk: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        size, grid, width, heads = self.image_size, self.grid, self.hidden_size, self.num_attention_heads
        # what is of the wrong kind is found out, and said, after this
        if isinstance(size, int) and isinstance(grid, int):
            if grid < 1 or size // grid < grid:
                raise InputError(
                    f"image_size {size} of a promu_detector encoder is too small for a grid of {grid}; "
                    f"use at least {max(1, grid) ** 2} (and a grid of 1 or more)"
                )
            # what others divide image_size by to learn the grid
            self.patch_size = size // grid
        if isinstance(width, int) and isinstance(heads, int) and (heads < 1 or width % heads):
            raise InputError(f"hidden_size {width} of a promu_detector encoder is no multiple of its {heads} heads")
        super().__post_init__(**kwargs)


class DetectorEmbeddings(nn.Module):
    """Features (B, K, C) to tokens (B, K+1, d): standardised by channel, projected, a CLS token in front, positions."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DetectorEncoderConfig) -> None:
        super().__init__()
        self.initializer_range = config.initializer_range
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("std", torch.ones(config.channels))
        self.projection = nn.Linear(config.channels, config.hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, config.grid**2 + 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def start_weights(self) -> None:
        """Small random tokens and no standardisation, where no checkpoint holds them."""
        init.zeros_(self.mean)
        init.ones_(self.std)
        init.trunc_normal_(self.cls_token, std=self.initializer_range)
        init.trunc_normal_(self.position_embeddings, std=self.initializer_range)

    def forward(self, features: Tensor) -> Tensor:
        """(B, K, C) to (B, K+1, d)."""
        patches = self.projection(((features - self.mean) / self.std).to(self.projection.weight.dtype))
        first = self.cls_token.to(patches.dtype).expand(len(patches), -1, -1)
        return self.dropout(torch.cat([first, patches], dim=1) + self.position_embeddings)


class DetectorEncoderModel(PreTrainedModel):
    """The encoder: detector trunk, standardised features, transformer.

    Example:
        ```python
        encoder = detector_encoder_from_onnx("yolox_nano.onnx", num_hidden_layers=2)
        features = encoder.features(pixels)  # (B, 49, C), to be kept
        encoder.fit_normalisation(features)
        encoder(features=features).last_hidden_state  # (B, 50, 256), as encoder(pixel_values=pixels)
        ```
    """

    config_class = DetectorEncoderConfig
    config: DetectorEncoderConfig
    base_model_prefix = "detector_encoder"
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: DetectorEncoderConfig) -> None:
        super().__init__(config)
        if not config.graph:
            raise InputError("a promu_detector encoder is made from a detector's ONNX file; name it as onnx: PATH")
        self.trunk = OnnxGraph(json.loads(config.graph), train=config.maps if config.train_trunk else ())
        self.embeddings = DetectorEmbeddings(config)
        self.layers = nn.ModuleList([ViTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, OnnxGraph | DetectorEmbeddings):
            module.start_weights()

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(K, C) of an image's features."""
        return self.config.grid**2, self.config.channels

    @property
    def is_fitted(self) -> bool:
        """Whether the standardisation was fitted, here or before this model was saved."""
        return bool(self.embeddings.mean.any())

    def trunk_checksum(self) -> str:
        """Of all that an image's features depend on: the detector's graph and weights, the maps and the grid."""
        settings = [self.config.graph, self.config.layout, list(self.config.maps), self.config.grid]
        weights = {name: tensor.float() for name, tensor in self.trunk.state_dict().items()}
        return weights_checksum(weights, settings)

    def features(self, pixel_values: Tensor) -> Tensor:
        """What the trunk makes of images (B, 3, S, S), RGB in 0..1: K = grid * grid patches of C channels, (B, K, C).

        They are in fp32, not yet standardised, and without gradient unless the trunk is trained.
        """
        with torch.set_grad_enabled(self.config.train_trunk and torch.is_grad_enabled()):
            return self._pool(self.trunk(self._as_trained(pixel_values), self.config.maps))

    def outputs(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Features as `features` gives them, and what the detector says, from one pass and without gradient.

        Returns:
            (B, K, C), and the detector's output (B, N, columns), which `promu.alignment.yolo.find_regions` turns into
            regions by `config.layout`.

        Raises:
            InputError: The detector can only say something of images of the size that it was exported for.
        """
        said = self.trunk.graph["outputs"][0]
        with torch.no_grad():
            try:
                values = self.trunk(self._as_trained(pixel_values), [*self.config.maps, said])
            except RuntimeError as error:
                if list(pixel_values.shape[2:]) == self.trunk.graph["size"]:
                    raise
                raise InputError(
                    f"this detector finds regions only in images of {self.trunk.graph['size']} pixels, which it was "
                    f"exported for, not {list(pixel_values.shape[2:])}; set image_size to that, or export it again"
                ) from error
            return self._pool(values), values[said].float()

    def forward(
        self, pixel_values: Tensor | None = None, features: Tensor | None = None, output_hidden_states: bool = False
    ) -> BaseModelOutput:
        """Images (B, 3, S, S), RGB in 0..1, or features (B, K, C) that were stored, to `last_hidden_state` (B, K+1, d).

        CLS comes first. With `output_hidden_states` also what goes into each layer, and what leaves the last.
        """
        if features is None:
            assert pixel_values is not None, "images or features are needed"
            features = self.features(pixel_values)
        states = [self.embeddings(features)]
        for layer in self.layers:
            states.append(layer(states[-1], None))
        hidden = tuple(states) if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=self.layernorm(states[-1]), hidden_states=hidden)

    @torch.no_grad()
    def fit_normalisation(self, features: Tensor) -> None:
        """Set the standardisation to the mean and spread of features (N, K, C); a channel that never varies stays."""
        flat = features.reshape(-1, features.shape[-1]).float()
        spread = flat.std(0)
        self.embeddings.mean.copy_(flat.mean(0))
        self.embeddings.std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def _as_trained(self, pixel_values: Tensor) -> Tensor:
        layout = LAYOUTS[self.config.layout]
        return (pixel_values.flip(1) if layout.bgr else pixel_values) * layout.pixel_scale

    def _pool(self, values: dict[str, Tensor]) -> Tensor:
        grid = self.config.grid
        pooled = [functional.adaptive_avg_pool2d(values[name].float(), grid).flatten(2) for name in self.config.maps]
        return torch.cat(pooled, dim=1).transpose(1, 2)


AutoConfig.register("promu_detector", DetectorEncoderConfig, exist_ok=True)
AutoModel.register(DetectorEncoderConfig, DetectorEncoderModel, exist_ok=True)
