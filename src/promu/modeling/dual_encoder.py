"""The dual encoder of the self-trained teacher: L_CIT alone, no fusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import SharedSpace
from promu.modeling.encoders import build_encoder, encode_picture, pooled
from promu.modeling.losses import contrastive_image_text_loss


@dataclass
class DualEncoderOutput(ModelOutput):
    """Loss and unit vectors of the matched pairs, (N_m, D) each."""

    loss: torch.Tensor | None = None
    visual: torch.Tensor | None = None
    text: torch.Tensor | None = None


class PromuDualEncoder(PromuPreTrainedModel):
    """Text and vision encoder in one space (Eq 4, 5), trained on matched pairs and then frozen as the teacher."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.text_encoder = build_encoder(config.text_config)  # type: ignore[arg-type]
        self.vision_encoder = build_encoder(config.vision_config)  # type: ignore[arg-type]
        self.space = SharedSpace(config)
        self.post_init()

    def encode_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Word pieces (B, N) to unit vectors (B, D)."""
        hidden = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.space.project_text(pooled(hidden, attention_mask, self.config.pooling))

    def encode_pictures(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255 to unit vectors (B, D)."""
        hidden = encode_picture(self.vision_encoder, pixel_values, self.config)
        return self.space.project_visual(pooled(hidden, None, self.config.pooling))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        picture_ids: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
    ) -> DualEncoderOutput:
        """L_CIT of a batch of matched pairs (shapes as in `PromuModel.forward`; ids (B,) as in the loss)."""
        visual = self.encode_pictures(pixel_values)
        text = self.encode_text(input_ids, attention_mask)
        loss = contrastive_image_text_loss(visual, text, self.space.temperature, picture_ids, caption_ids)
        return DualEncoderOutput(loss=loss, visual=visual, text=text)
