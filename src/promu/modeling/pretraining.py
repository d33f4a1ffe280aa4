"""Joint pre-training: the backbone under the four losses of Eq 11."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils.generic import ModelOutput

from promu.errors import InputError
from promu.modeling import losses
from promu.modeling.backbone import PromuModel, PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import SharedSpace
from promu.modeling.encoders import pooled
from promu.modeling.regions import pool_regions

LOSS_NAMES = ("itm", "cit", "coe", "cir", "mlm")
PAPER_WEIGHTS = {"itm": 1.0, "cit": 1.0, "coe": 1.0, "cir": 1.0, "mlm": 0.0}


@dataclass
class PreTrainingOutput(ModelOutput):
    """The joint loss and its parts by name; logits where their loss is on.

    Attributes:
        loss: Eq 11.
        parts: The unweighted losses by name.
        itm_logits: (B, 2).
        entity_logits: (B, R, M), the COE head on every region.
        relation_logits: (B, L), the CIR head on the fused CLS.
    """

    loss: torch.Tensor | None = None
    parts: dict[str, torch.Tensor] | None = None
    itm_logits: torch.Tensor | None = None
    entity_logits: torch.Tensor | None = None
    relation_logits: torch.Tensor | None = None


class PromuForPreTraining(PromuPreTrainedModel):
    """Backbone plus the heads of L_ITM, L_CIT, L_COE and L_CIR (Eq 3-11).

    A loss of weight 0 is neither computed nor given weights of its own to learn.
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        self.weights = {**PAPER_WEIGHTS, **(config.loss_weights or {})}
        unknown = sorted(set(self.weights) - set(LOSS_NAMES))
        if unknown:
            raise InputError(f"loss {unknown[0]!r} is unknown; the losses are {', '.join(LOSS_NAMES)}")
        if not any(self.weights.values()):
            raise InputError(f"every loss has weight 0; give at least one of {', '.join(LOSS_NAMES)} a weight")
        width = config.hidden_size
        if self.weights["itm"]:
            self.itm_head = nn.Linear(width, 2)
        if self.weights["cit"]:
            self.space = SharedSpace(config)
        if self.weights["coe"]:
            self.entity_head = nn.Linear(width, config.num_entity_candidates)
        if self.weights["cir"]:
            self.relation_head = nn.Linear(width, config.num_relation_candidates)
        if self.weights["mlm"]:
            self.mlm_transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        matched: torch.Tensor,
        picture_ids: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        box_mask: torch.Tensor | None = None,
        entity_labels: torch.Tensor | None = None,
        relation_labels: torch.Tensor | None = None,
        relation_mask: torch.Tensor | None = None,
        mlm_labels: torch.Tensor | None = None,
    ) -> PreTrainingOutput:
        """The joint loss of a batch of caption pairs.

        Args:
            input_ids, attention_mask: (B, N+2) captions.
            pixel_values: (B, 3, S, S) in 0..255, the view that the boxes are given in.
            matched: (B,), 1 where the caption belongs to the picture.
            picture_ids, caption_ids: (B,) equal where picture or caption is the same.
            boxes: (B, R, 4) in 0..1 of the view.
            box_mask: (B, R), 0 for padding, for a box that has left the view, and for one without a label.
            entity_labels: (B, R, M) soft pseudo-labels of the regions (Eq 6).
            relation_labels: (B, L) soft pseudo-labels of the pictures (Eq 9).
            relation_mask: (B,), 0 for a picture without a label.
            mlm_labels: (B, N+2) masked pieces, -100 elsewhere.
        """
        backbone = self.promu(input_ids, attention_mask, pixel_values)
        output = PreTrainingOutput()
        parts: dict[str, torch.Tensor] = {}
        fused_cls = backbone.fused_text[:, 0]
        if self.weights["itm"]:
            output.itm_logits = self.itm_head(fused_cls)
            parts["itm"] = losses.image_text_matching_loss(output.itm_logits, matched)
        if self.weights["cit"]:
            parts["cit"] = self._contrastive(
                backbone.text, backbone.visual, attention_mask, matched.bool(), picture_ids, caption_ids
            )
        if self.weights["coe"] and boxes is not None and entity_labels is not None and box_mask is not None:
            patches = backbone.fused_visual[:, -(self.config.grid**2) :]
            output.entity_logits = self.entity_head(pool_regions(patches, boxes, self.config.grid))
            parts["coe"] = losses.soft_label_loss(output.entity_logits, entity_labels, box_mask)
        if self.weights["cir"] and relation_labels is not None:
            output.relation_logits = self.relation_head(fused_cls)
            seen = torch.ones_like(matched) if relation_mask is None else relation_mask
            parts["cir"] = losses.soft_label_loss(output.relation_logits, relation_labels, seen)
        if self.weights["mlm"] and mlm_labels is not None:
            parts["mlm"] = losses.masked_language_loss(*self._mask_logits(backbone.fused_text, mlm_labels))
        output.parts = {name: part.detach() for name, part in parts.items()}
        output.loss = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return output

    def _contrastive(
        self,
        text: torch.Tensor,
        visual: torch.Tensor,
        attention_mask: torch.Tensor,
        matched: torch.Tensor,
        picture_ids: torch.Tensor | None,
        caption_ids: torch.Tensor | None,
    ) -> torch.Tensor:
        how = self.config.pooling
        if int(matched.sum()) < 2 and self.config.projection_norm and self.training:
            # batch statistics need two rows; one pair has no negative, so its loss is 0 in any case
            matched = torch.zeros_like(matched)
        if not bool(matched.any()):
            return text.sum() * 0.0
        return losses.contrastive_image_text_loss(
            self.space.project_visual(pooled(visual, None, how)[matched]),
            self.space.project_text(pooled(text, attention_mask, how)[matched]),
            self.space.temperature,
            None if picture_ids is None else picture_ids[matched],
            None if caption_ids is None else caption_ids[matched],
        )

    def _mask_logits(self, fused_text: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (P, 1, V) and labels (P, 1) of the masked places alone: the rest is never multiplied out."""
        places = labels != -100
        embeddings = self.promu.get_input_embeddings().weight
        logits = self.mlm_transform(fused_text[places]) @ embeddings.T
        return logits[:, None], labels[places][:, None]
