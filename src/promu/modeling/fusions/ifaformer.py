"""IFAformer's fusion: text and image in two transformers that read each other's keys (Li et al., AAAI 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import (
    Fused,
    Fusion,
    Prefix,
    VisualFeatures,
    run_layer,
    seen_by_cls,
    visual_map,
    with_keys,
)
from promu.modeling.fusions.objects import Objects


class DualFusion(Fusion):
    """Two transformers, a layer of one beside a layer of the other.

    In layer l the queries of the text attend to [K_t ; K_v], the keys of both sides, and read [V_t ; V_v]; those of the
    image likewise. So each vector is refined by both modalities, and their alignment is implicit. The image's sequence
    is its visual tokens and its objects (`Objects`), each the mean of its patches.

    Text is not read from the image's last layer, so the visual stack has one layer less, and then keys and values
    alone. A post without an image has no keys of an image.
    """

    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        self.check_keys(text_encoder)
        if config.vision_config is None:
            return
        own = self.own_layer_config(text_encoder, len(self.layers) - 1)
        self.visual_map = visual_map(config)
        self.visual_layers = nn.ModuleList(BertLayer(own) for _ in range(own.num_hidden_layers))
        self.last_keys_values = nn.Linear(config.hidden_size, 2 * config.hidden_size)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; what is read of an object is spread over its patches."""
        if images is None:
            hidden, maps = self.run_layers(text, text_mask, output_attentions)
            return Fused(hidden, attentions=maps)
        tokens, objects = self.visual_map(images.tokens).to(text.dtype), Objects.of(images, self.config.grid)
        count, length = tokens.shape[1], text.shape[1]
        visual = torch.cat([tokens, objects.vectors(tokens)], dim=1)
        shown = torch.cat([images.present()[:, None].expand(-1, count), objects.mask], dim=1).to(text_mask.dtype)
        to_text = self.attention_mask(text, with_keys(text_mask, shown))
        # an image sees its own tokens, also where it stands for none, and what [CLS] sees of the text
        own = torch.cat([torch.ones_like(shown[:, :count]), shown[:, count:]], dim=1)
        to_visual = self.attention_mask(visual, with_keys(own, seen_by_cls(text_mask)))
        maps = ()
        for number, layer in enumerate(self.layers):
            of_visual = self._keys(number, visual)
            if number < len(self.visual_layers):
                of_text = self._prefix(layer, text)
                visual, _ = run_layer(self.visual_layers[number], visual, to_visual, of_text)
            text, weights = run_layer(layer, text, to_text, of_visual, output_attentions)
            if weights is not None:
                on_tokens, on_objects = weights[..., : length + count], weights[..., length + count :]
                spread = on_objects @ objects.shares[:, None].to(weights.dtype)
                maps = (*maps, on_tokens + torch.nn.functional.pad(spread, (length, 0)))
        return Fused(text, visual[:, :count], maps)

    def _keys(self, number: int, visual: Tensor) -> Prefix:
        """K_v and V_v of the layer with this number."""
        if number < len(self.visual_layers):
            return self._prefix(self.visual_layers[number], visual)
        return Prefix.of(self.last_keys_values(visual), self.layer_config.num_attention_heads)

    def _prefix(self, layer: Any, hidden: Tensor) -> Prefix:
        """The keys and values that a layer makes of `hidden` (B, N, d)."""
        attention = layer.attention.self
        both = torch.cat([attention.key(hidden), attention.value(hidden)], dim=-1)
        return Prefix.of(both, self.layer_config.num_attention_heads)
