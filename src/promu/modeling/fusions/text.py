"""No fusion: the text-only twin of the others."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from promu.modeling.encoders import has_text_layers
from promu.modeling.fusions.base import Fused, Fusion, Pictures


class TextFusion(Fusion):
    """Text alone passes the upper layers; a picture is never looked at.

    No fused vector knows of the picture, so that L_ITM, L_COE and L_CIR have nothing to learn from; L_CIT and masked
    language modelling do. A text encoder of another kind than BERT's, or of one layer, keeps its layers.
    """

    sees_pictures: ClassVar[bool] = False

    def text_layers(self, text_encoder: PreTrainedModel) -> tuple[Any, nn.ModuleList]:
        """None, where the text encoder has none to give."""
        if self.config.fusion_layers is None and not has_text_layers(text_encoder, 2):
            return text_encoder.config, nn.ModuleList()
        return super().text_layers(text_encoder)

    def forward(
        self,
        text: torch.Tensor,
        text_mask: torch.Tensor,
        pictures: Pictures | None,
        output_attentions: bool = False,
    ) -> Fused:
        """As `Fusion.forward`, without fused visual tokens."""
        hidden, maps = self.run_layers(text, text_mask, output_attentions)
        return Fused(hidden, attentions=maps)
