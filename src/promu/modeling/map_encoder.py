"""A vision encoder made of other networks' feature maps, side by side.

Maps of detectors and of backbones (`promu.modeling.map_sources`) are pooled to one grid, standardised, joined, and
read by a small transformer. The networks are frozen unless `train_trunk` says otherwise, so that features can be
computed once and kept. Of a detector one pass over an image gives regions and patch tokens.
"""

from __future__ import annotations

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
from promu.modeling.map_sources import DetectorSource, build_source
from promu.modeling.onnx_graph import OnnxGraph
from promu.pytorch import weights_checksum

MAP_NORMALISATION = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
"""`PromuConfig`'s normalisation for this encoder, which takes pixels in 0..1 and knows its sources' own scales."""


@strict
class MapEncoderConfig(ViTConfig):
    """Settings of the transformer as ViT's, plus the sources; made by `promu.modeling.encoders.map_encoder`.

    Args:
        sources: Of each source, the settings that `promu.modeling.map_sources.build_source` takes.
        grid: Patches along a side; a map of any size is pooled to grid x grid.
        train_trunk: Train the sources too. Otherwise their weights are buffers, which no optimiser sees.
    """

    model_type = "promu_maps"
    derived = ("patch_size",)  # no setting: image_size and grid say it
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    image_size: int | list[int] | tuple[int, int] = 416
    sources: list[dict[str, Any]] | tuple[dict[str, Any], ...] = ()
    grid: int = 7
    train_trunk: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        size, grid, width, heads = self.image_size, self.grid, self.hidden_size, self.num_attention_heads
        # what is of the wrong kind is found out, and said, after this
        if isinstance(size, int) and isinstance(grid, int):
            if grid < 1 or size // grid < grid:
                raise InputError(
                    f"image_size {size} of a promu_maps encoder is too small for a grid of {grid}; "
                    f"use at least {max(1, grid) ** 2} (and a grid of 1 or more)"
                )
            # what others divide image_size by to learn the grid
            self.patch_size = size // grid
        if isinstance(width, int) and isinstance(heads, int) and (heads < 1 or width % heads):
            raise InputError(f"hidden_size {width} of a promu_maps encoder is no multiple of its {heads} heads")
        super().__post_init__(**kwargs)

    @property
    def channels(self) -> int:
        """C, the channels of all maps together."""
        return sum(int(source["channels"]) for source in self.sources)


class MapEmbeddings(nn.Module):
    """Features (B, K, C) to tokens (B, K+1, d): standardised by channel, projected, a CLS token in front, positions."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MapEncoderConfig) -> None:
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


class MapEncoderModel(PreTrainedModel):
    """The encoder: sources, standardised features, transformer.

    Example:
        ```python
        encoder = map_encoder(["yolox_nano.onnx", "efficientnet-lite2"], num_hidden_layers=2)
        features = encoder.features(pixels)  # (B, 49, C), to be kept
        encoder.fit_normalisation(features)
        encoder(features=features).last_hidden_state  # (B, 50, 256), as encoder(pixel_values=pixels)
        ```
    """

    config_class = MapEncoderConfig
    config: MapEncoderConfig
    base_model_prefix = "map_encoder"
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: MapEncoderConfig) -> None:
        super().__init__(config)
        if not config.sources:
            raise InputError("a promu_maps encoder needs networks whose maps it reads; name them as sources: [...]")
        self.sources = nn.ModuleList([build_source(source, config.train_trunk) for source in config.sources])
        self.embeddings = MapEmbeddings(config)
        self.layers = nn.ModuleList([ViTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, OnnxGraph | MapEmbeddings):
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
        """Of all that an image's features depend on: the sources with their weights, and the grid."""
        weights = {name: tensor.float() for name, tensor in self.sources.state_dict().items()}
        return weights_checksum(weights, list(self.config.sources), self.config.grid)

    def features(self, pixel_values: Tensor) -> Tensor:
        """What the sources make of images (B, 3, S, S), RGB in 0..1: K = grid * grid patches of C channels, (B, K, C).

        They are in fp32, not yet standardised, and without gradient unless the sources are trained.
        """
        with torch.set_grad_enabled(self.config.train_trunk and torch.is_grad_enabled()):
            return self._pool([value for source in self.sources for value in source(pixel_values)])

    def outputs(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Features as `features` gives them, and what the first detector says, from one pass and without gradient.

        Returns:
            (B, K, C), and the detector's output (B, N, columns), which `promu.alignment.yolo.find_regions` turns into
            regions by the source's layout.

        Raises:
            InputError: No source is a detector, or it can only say something of images of another size.
        """
        detector = next((source for source in self.sources if isinstance(source, DetectorSource)), None)
        if detector is None:
            raise InputError("none of this encoder's sources is a detector; name one to find regions")
        with torch.no_grad():
            maps, said = detector.outputs(pixel_values)
            values = [maps if source is detector else source(pixel_values) for source in self.sources]
            return self._pool([value for maps in values for value in maps]), said

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

    def _pool(self, maps: list[Tensor]) -> Tensor:
        pooled = [functional.adaptive_avg_pool2d(value.float(), self.config.grid).flatten(2) for value in maps]
        return torch.cat(pooled, dim=1).transpose(1, 2)


AutoConfig.register("promu_maps", MapEncoderConfig, exist_ok=True)
AutoModel.register(MapEncoderConfig, MapEncoderModel, exist_ok=True)
