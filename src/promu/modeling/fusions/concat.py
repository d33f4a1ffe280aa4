"""PROMU's fusion (Eq 2): one transformer over text and picture."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import Fused, Fusion, Pictures, visual_map


class ConcatFusion(Fusion):
    """A transformer over the concatenation [text tokens ; visual CLS ; patches] (Eq 2).

    A post without a picture is masked out on the visual side, so that its text attends to text alone.
    """

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        self.visual_map = visual_map(config)

    def forward(
        self,
        text: torch.Tensor,
        text_mask: torch.Tensor,
        pictures: Pictures | None,
        output_attentions: bool = False,
    ) -> Fused:
        """As `Fusion.forward`; the fused visual tokens are the upper part of the sequence."""
        hidden, mask = text, text_mask
        if pictures is not None:
            tokens = pictures.tokens
            hidden = torch.cat([text, self.visual_map(tokens).to(text.dtype)], dim=1)
            seen = pictures.shown()[:, None].expand(-1, tokens.shape[1]).to(text_mask.dtype)
            mask = torch.cat([text_mask, seen], dim=1)
        hidden, maps = self.run_layers(hidden, mask, output_attentions)
        length = text.shape[1]
        return Fused(hidden[:, :length], hidden[:, length:] if pictures is not None else None, maps)
