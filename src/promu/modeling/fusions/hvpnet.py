"""HVPNeT's fusion: the image as a prefix of the text's self-attention (Chen et al., NAACL 2022 Findings)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import level_layers
from promu.modeling.fusions.base import Fused, Fusion, Prefix, VisualFeatures, with_keys
from promu.modeling.fusions.objects import box_shares, quarters

LEVELS = 4
"""Levels of the vision encoder that are read, if it has as many."""


class PrefixFusion(Fusion):
    """Multi-level visual features, pooled, projected, and mixed by a gate for each text layer into its prefix.

    Each level of the vision encoder (`promu.modeling.encoders.level_layers`) is normalised and projected to text width.
    A softmax over the levels, one for each text layer and computed from the image's mean, mixes them. What stands
    before the patches (the visual CLS), the means of the image's four quarters and those of a detector's regions,
    where a batch brings boxes, then give one key and one value each to that layer's self-attention. Text is masked off
    the prefix where there is no image, and off a region that covers no patch.

    The fused visual tokens are the tokens mixed by the last layer's gate: pooling and mixing are both linear, so that
    L_COE's region vector is exactly the vector whose key and value the last layer reads.
    """

    levels: ClassVar[int | None] = LEVELS
    masks_pairs: ClassVar[bool] = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        self.check_keys(text_encoder)
        self.heads = int(self.layer_config.num_attention_heads)
        vision: Any = config.vision_config
        if vision is None:
            return
        width, levels = config.hidden_size, len(level_layers(vision, LEVELS))
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(vision.hidden_size), nn.Linear(vision.hidden_size, width)) for _ in range(levels)
        )
        self.gate = nn.Linear(width, len(self.layers) * levels)
        self.keys_values = nn.ModuleList(nn.Linear(width, 2 * width) for _ in self.layers)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; what a prefix is read is spread over the tokens that were pooled into it."""
        if images is None:
            hidden, maps = self.run_layers(text, text_mask, output_attentions)
            return Fused(hidden, attentions=maps)
        projected = [project(images.tokens[:, level]) for level, project in enumerate(self.projections)]
        levels = torch.stack(projected, dim=1).to(text.dtype)
        gates, shares = self.gates(levels), self.shares(images)
        pooled = shares.to(levels.dtype)[:, None] @ levels
        prefixes = [self._prefix(number, mix(pooled, gates[:, number])) for number in range(len(self.layers))]
        mask = ((shares.sum(-1) > 0) & images.present()[:, None]).to(text_mask.dtype)
        hidden, maps = self.run_layers(text, with_keys(text_mask, mask), output_attentions, prefixes)
        length = text.shape[1]
        maps = tuple(torch.cat([m[..., :length], m[..., length:] @ shares[:, None].to(m.dtype)], -1) for m in maps)
        return Fused(hidden, mix(levels, gates[:, -1]), maps)

    def gates(self, levels: Tensor) -> Tensor:
        """The share of each level in each text layer's prefix, (B, layers, V), of projected tokens (B, V, K+1, d)."""
        scores = self.gate(functional.leaky_relu(levels.mean((1, 2))))
        return scores.view(len(levels), len(self.layers), -1).float().softmax(-1).to(levels.dtype)

    def shares(self, images: VisualFeatures) -> Tensor:
        """What a prefix is made of, (B, P, K+1): the share of each visual token in visual CLS, quarters and regions.

        The shares of a region that covers no patch are 0.
        """
        rows, tokens = len(images.tokens), images.tokens.shape[2]
        boxes = quarters(images.tokens)
        if images.boxes is not None:
            boxes = torch.cat([boxes, images.boxes.float()], dim=1)
        means = box_shares(boxes, self.config.grid, tokens)
        alone = torch.eye(tokens - self.config.grid**2, tokens, device=means.device).expand(rows, -1, -1)
        return torch.cat([alone, means], dim=1)

    def _prefix(self, number: int, mixed: Tensor) -> Prefix:
        """Key and value of each mixed vector (B, P, d) for the layer of this number."""
        return Prefix.of(self.keys_values[number](mixed), self.heads)


def mix(levels: Tensor, gate: Tensor) -> Tensor:
    """Levels (B, V, P, d) by their shares (B, V): (B, P, d)."""
    return torch.einsum("bvpd,bv->bpd", levels, gate)
