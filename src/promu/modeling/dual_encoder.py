"""The dual encoder of the self-trained teacher: L_CIT alone, no fusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import HasEncoders
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import ContrastFeatures, SharedSpace
from promu.modeling.encoders import build_encoder, encode_picture, pooled


@dataclass
class DualEncoderOutput(ModelOutput):
    """Loss and what it compares; the features alone where only they are asked for."""

    loss: torch.Tensor | None = None
    features: ContrastFeatures | None = None


class PromuDualEncoder(HasEncoders):
    """Text and vision encoder in one space (Eq 4, 5), trained on matched pairs and then frozen as the teacher."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.text_encoder = build_encoder(config.text_config)  # type: ignore[arg-type]
        self.vision_encoder = build_encoder(config.vision_config)  # type: ignore[arg-type]
        self.space = SharedSpace(config)
        self.freeze()
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        """The text encoder's word-piece embeddings."""
        return self.text_encoder.get_input_embeddings()

    def encode_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Word pieces (B, N) to unit vectors (B, D)."""
        return self.space.project_text(self._text(input_ids, attention_mask))

    def encode_pictures(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255 to unit vectors (B, D)."""
        return self.project_pictures(self.encode_visual(pixel_values))

    def encode_visual(
        self, pixel_values: torch.Tensor | None, picture_features: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255, or kept features in their place, to vectors (B, K+1, d_v)."""
        assert self.vision_encoder is not None
        return encode_picture(self.vision_encoder, pixel_values, self.config, picture_features)

    def project_pictures(self, visual: torch.Tensor) -> torch.Tensor:
        """What `encode_visual` returned to unit vectors (B, D)."""
        return self.space.project_visual(pooled(visual, None, self.config.pooling))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        picture_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        picture_ids: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
        row_mask: torch.Tensor | None = None,
        batch_features: ContrastFeatures | None = None,
        features_only: bool = False,
    ) -> DualEncoderOutput:
        """L_CIT of a batch of matched pairs (arguments as in `PromuForPreTraining.forward`)."""
        visual = pooled(self.encode_visual(pixel_values, picture_features), None, self.config.pooling)
        text = self._text(input_ids, attention_mask, text_features)
        matched = torch.ones(len(text), dtype=torch.bool, device=text.device) if row_mask is None else row_mask.bool()
        features = self.space.features(visual, text, matched, picture_ids, caption_ids)
        if features_only:
            return DualEncoderOutput(features=features)
        return DualEncoderOutput(loss=self.space.loss(features, batch_features), features=features)

    def _text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        if kept is not None:
            return pooled(kept.float(), attention_mask, self.config.pooling)
        hidden = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pooled(hidden, attention_mask, self.config.pooling)
